"""Byte-pair encoding: Hugging Face's, merge by merge and token by token, ties included."""

import json
import random
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as TheirTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from llm_course.byte_pairs import BYTE_TOKENS, SIGN_OF, learn_merges, pieces
from llm_course.tokenizers import BPETokenizer


def theirs(text, vocab_size):
    tokenizer = TheirTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def sign(token):
    return "".join(SIGN_OF[byte] for byte in token)


def assert_equal(ours, other):
    model = json.loads(other.to_str())["model"]
    assert [[sign(left), sign(right)] for left, right in ours.merges] == model["merges"]
    assert {sign(token): number for number, token in enumerate(ours.tokens)} == model["vocab"]


def test_bytes_are_named_as_theirs():
    assert sorted(SIGN_OF.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(BYTE_TOKENS, key=sign) == BYTE_TOKENS and len(set(BYTE_TOKENS)) == 256


@pytest.mark.slow
def test_the_corpus_gives_the_same_merges_and_tokens(tiny_shakespeare):
    ours, other = BPETokenizer.train(tiny_shakespeare, 1024), theirs(tiny_shakespeare, 1024)
    assert_equal(ours, other)
    tokens = ours.encode(tiny_shakespeare)
    assert tokens.tolist() == other.encode(tiny_shakespeare).ids
    assert ours.decode(tokens) == tiny_shakespeare


@pytest.mark.parametrize("seed", range(80))
def test_ties_and_repetitions(seed):
    luck = random.Random(seed)
    alphabet = luck.choice(["a", "ab", "abc", "ab ", "a b'sé", "aAb1 \n", "한글 é"])
    texts = ["".join(luck.choices(alphabet, k=luck.randint(1, 300))) for _ in range(2)]
    vocab_size = 256 + luck.randint(0, 60)
    ours, other = BPETokenizer.train(texts[0], vocab_size), theirs(texts[0], vocab_size)
    assert_equal(ours, other)
    for text in texts:
        assert ours.encode(text).tolist() == other.encode(text).ids


@pytest.fixture(scope="module")
def pair():
    luck = random.Random(0)
    words = ["".join(luck.choices("aeiounrstl", k=luck.randint(1, 6))) for _ in range(300)]
    text = " ".join(luck.choices(words, k=4000)) + " naïve café 漢字 don't 123 \t\n  \n"
    return BPETokenizer.train(text, 600), theirs(text, 600)


fuzzed = settings(max_examples=400, deadline=None, derandomize=True, database=None)


def assert_same_tokens(pair, text):
    ours, other = pair
    tokens = ours.encode(text)
    assert tokens.tolist() == other.encode(text).ids
    assert ours.decode(tokens) == text
    assert "".join(pieces(text)) == text


@fuzzed
@given(text=st.text(st.sampled_from("aeioun rst'l123\n \t.é漢")))
def test_lively_texts_have_the_same_tokens_and_come_back(pair, text):
    assert_same_tokens(pair, text)


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0",
    reason="of characters after Unicode 14, libraries of different age do not agree what they are",
)
@fuzzed
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cn"))))
def test_so_do_texts_of_all_characters(pair, text):
    assert_same_tokens(pair, text)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(numbers=st.lists(st.integers(0, 599), max_size=30))
def test_any_tokens_have_the_same_text(pair, numbers):
    ours, other = pair
    assert ours.decode(numbers) == other.decode(numbers, skip_special_tokens=False)


def test_files_go_both_ways(pair, tmp_path):
    ours, other = pair
    text = "nut une't 漢 é"
    ours.save(tmp_path / "ours.json")
    read_by_them = TheirTokenizer.from_file(str(tmp_path / "ours.json"))
    assert read_by_them.encode(text).ids == ours.encode(text).tolist()
    assert read_by_them.decode(ours.encode(text).tolist()) == text
    other.save(str(tmp_path / "theirs.json"))
    again = BPETokenizer.load(tmp_path / "theirs.json")
    assert again.merges == ours.merges and again.tokens == ours.tokens
    again = BPETokenizer.load(tmp_path / "ours.json")
    assert again.merges == ours.merges and again.vocab_size == 600


ADDED = {
    "id": 600,
    "content": "<end>",
    "special": True,
    **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
}
ALONE = {"Sequence": {"id": "A", "type_id": 0}}
MARKED = {
    "type": "TemplateProcessing",
    "single": [ALONE, {"SpecialToken": {"id": "<end>", "type_id": 0}}],
    "pair": [ALONE],
    "special_tokens": {"<end>": {"id": "<end>", "ids": [600], "tokens": ["<end>"]}},
}


@pytest.mark.parametrize(
    "processor",
    [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},  # GPT-2's
        MARKED | {"single": [ALONE], "special_tokens": {}},  # as transformers writes it
    ],
)
def test_what_adds_nothing_is_passed_over(pair, tmp_path, processor):
    pair[0].save(tmp_path / "a.json")
    whole = json.loads((tmp_path / "a.json").read_text())
    whole |= {"post_processor": processor, "added_tokens": [ADDED | {"normalized": True}]}
    whole["model"]["vocab"]["<end>"] = 600
    (tmp_path / "a.json").write_text(json.dumps(whole))
    text = "nut <end> une"
    other = TheirTokenizer.from_file(str(tmp_path / "a.json"))
    assert BPETokenizer.load(tmp_path / "a.json").encode(text).tolist() == other.encode(text).ids


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda whole: whole.clear(), "model"),
        (lambda whole: whole["model"].update(type="Unigram"), "no byte-level BPE"),
        (lambda whole: whole["pre_tokenizer"].update(add_prefix_space=True), "no byte-level BPE"),
        (lambda whole: whole["model"]["merges"].reverse(), "which no merge before it makes"),
        (lambda whole: whole["model"]["merges"].append(["a"]), "not enough values"),
        (lambda whole: whole["model"]["merges"].append(["€", "a"]), "€"),
        (lambda whole: whole["model"]["vocab"].update(a=3), "not what its merges make"),
        (lambda whole: whole["model"].update(merges=7), "not iterable"),
        (lambda whole: whole.update(added_tokens=[ADDED | {"lstrip": True}]), "beside them"),
        (lambda whole: whole.update(added_tokens=[ADDED | {"rstrip": True}]), "beside them"),
        (lambda whole: whole.update(added_tokens=[ADDED | {"single_word": True}]), "beside them"),
        (lambda whole: whole.update(post_processor=MARKED), "adds tokens"),
    ],
)
def test_other_files_are_refused(pair, tmp_path, change, complaint):
    path = tmp_path / "a.json"
    pair[0].save(path)
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=f"a.json is not a tokenizer that .*{complaint}"):
        BPETokenizer.load(path)
    path.write_text("no JSON")
    with pytest.raises(ValueError, match=r"a.json is not a tokenizer"):
        BPETokenizer.load(path)


def test_without_merges_it_is_the_bytes():
    plain = BPETokenizer([])
    assert plain.vocab_size == 256
    tokens = plain.encode("aé")
    assert len(tokens) == 3 and plain.decode(tokens) == "aé"
    assert plain.decode(tokens[:2]) == "a\ufffd"
    assert plain.encode("").dtype == torch.long


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match="256 bytes are tokens, and vocab_size is 255"):
        BPETokenizer.train("abc", 255)
    with pytest.raises(ValueError, match="position 1 is half a character"):
        BPETokenizer([]).encode("a\ud800")
    with pytest.raises(ValueError, match="token 256 at position 1 is not in the vocabulary"):
        BPETokenizer([]).decode([0, 256])
    with pytest.raises(ValueError, match=r"merge 0 joins b'xy'"):
        BPETokenizer([(b"xy", b"z")])


def test_a_text_with_few_pairs_has_few_tokens():
    assert BPETokenizer.train("ab", 999).vocab_size == 257
    assert list(learn_merges("", 999)) == []


def test_a_long_piece_takes_no_square_of_time():
    tokens = BPETokenizer.train("ab" * 50, 300).encode("ab" * 100_000)
    assert len(tokens) < 20_000
