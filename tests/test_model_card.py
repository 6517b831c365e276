"""The model card: every fact is on it, and what a text holds cannot break it."""

from dataclasses import fields, replace
from hashlib import sha256
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llm_course.data import Corpus
from llm_course.memorization import Passage
from llm_course.model_card import NOT_STATED, ModelCard

CARD = ModelCard(
    name="Our sonnets",
    corpus=Corpus("sonnets.txt", "From fairest creatures", "here"),
    sizes="DecoderConfig(vocab_size=1024)",
    n_parameters=865_792,
    tokenizer="1,024 subwords",
    training="TrainConfig(steps=400)",
    seconds=12.3,
    losses={"this model": 1.5, "table of order 5": 1.66},
    judged_on="the last 10 %, never looked at before",
    passages=[Passage("fairest creat ", 3, 5)],
    longest_unseen=9,
    sample="O my love",
    author="Class 7b",
    rights="in the public domain",
    purpose="a school project",
    limits="It knows nothing of the world.",
)


def test_every_fact_is_on_the_card():
    text = CARD.markdown()
    for fact in ("Our sonnets", "865,792", "1,024 subwords", "steps=400", "12 s", "sonnets.txt"):
        assert fact in text
    for fact in (
        "22 characters, 13 different",
        "| **this model** | 1.500 |",
        "| table of order 5 | 1.660 |",
    ):
        assert fact in text
    for fact in (
        "O my love",
        "O my love",
        "Class 7b",
        "public domain",
        "school",
    ):
        assert fact in text
    assert "nothing of the world" in text and "never looked at before" in text
    assert "up to 9 characters.\n\n- 14 characters: `'fairest creat '`\n" in text
    assert sha256(b"From fairest creatures").hexdigest() in text
    assert NOT_STATED not in text


def test_what_nobody_said_is_shown_as_missing():
    said_by_people = ("author", "rights", "purpose", "limits")
    assert replace(CARD, **dict.fromkeys(said_by_people, "")).markdown().count(NOT_STATED) == 4
    assert "Nothing was looked for." in replace(CARD, passages=[], sample="").markdown()
    assert set(said_by_people) < {field.name for field in fields(ModelCard)}


@given(
    st.text("`\n a#<|-", max_size=20).filter(str.strip),
    st.text("`\n b#<|-", min_size=1, max_size=20),
)
def test_whatever_a_text_holds_stays_within_its_place(passage, sample):
    card = replace(CARD, passages=[Passage(passage, 0, 0)], sample=f"x{sample}")
    tokens = MarkdownIt().enable("table").parse(card.markdown())
    headings = [b.content for a, b in pairwise(tokens) if a.type == "heading_open"]
    assert headings == [
        "Our sonnets", "The model", "The text", "How good it is", "What it knows by heart",
        "What it is not for", "What it writes",
    ]  # fmt: skip
    assert [t.content for t in tokens if t.type == "fence"] == [f"x{sample}".rstrip() + "\n"]
    assert not any(t.type.startswith("html") for t in tokens)
