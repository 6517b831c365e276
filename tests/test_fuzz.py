"""More than 10,000 inputs that nobody thought of: each works, or gets the documented error.

The count of every test stands in EXAMPLES; `make test` runs them, always the same ones, `make check`
none, and `make soak` ten times as many, drawn anew.
"""

import json
import math
import os
import re
from dataclasses import fields
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from llm_course.__main__ import main
from llm_course.attention_view import attention_view
from llm_course.checkpoint import load_checkpoint, save_checkpoint
from llm_course.data import load_corpus, split
from llm_course.download import CorpusError
from llm_course.evaluation import evaluate
from llm_course.exercises import progress
from llm_course.generation import generate, generate_text
from llm_course.models.modern_transformer import ModernConfig
from llm_course.recipes import RECIPES, build
from llm_course.sampling import Sampling
from llm_course.tensor_file import CheckpointError, read, write
from llm_course.tokenizers import CharTokenizer
from llm_course.training import TrainConfig

EXAMPLES = {
    "round trip": 2000,
    "unknown": 1000,
    "sizes": 1500,
    "trainings": 800,
    "sampling": 1500,
    "generation": 800,
    "evaluation": 600,
    "file": 1500,
    "header": 600,
    "own text": 600,
    "view": 400,
    "progress": 300,
    "command line": 500,
}
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def as_learners_run_it(request):
    if request.config.getoption("jaxtyping_packages"):
        pytest.skip(
            "checked types would answer in place of the package: make test runs this without"
        )


def fuzz(name, /, **strategies):
    """Run a test on so many inputs; a failing one is shown in its smallest form."""
    options = settings(
        max_examples=EXAMPLES[name] * (10 if "LLM_COURSE_SOAK" in os.environ else 1),
        deadline=None,
        database=None,
        derandomize="LLM_COURSE_SOAK" not in os.environ,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda test: options(given(**strategies)(test))


def test_there_are_ten_thousand():
    assert sum(EXAMPLES.values()) >= 10_000


texts = st.text(max_size=60)
odd_numbers = st.one_of(
    st.integers(-3, 40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([None, True, "8", 10**12, 2.0, (), 1e-300]),
)


@fuzz("round trip", text=st.text(min_size=1, max_size=200), more=texts)
def test_every_text_comes_back(text, more):
    tokenizer = CharTokenizer(text + more)
    for part in (text, more, text + more):
        tokens = tokenizer.encode(part)
        assert tokenizer.decode(tokens) == part and len(tokens) == len(part)


@fuzz(
    "unknown", known=st.text(min_size=1, max_size=20), text=texts, numbers=st.lists(st.integers())
)
def test_what_is_not_in_the_vocabulary_is_named(known, text, numbers):
    tokenizer = CharTokenizer(known)
    strangers = [i for i, character in enumerate(text) if character not in known]
    if strangers:
        with pytest.raises(
            ValueError, match=rf"U\+{ord(text[strangers[0]]):04X}\).* {strangers[0]} "
        ):
            tokenizer.encode(text)
    else:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    outside = [n for n in numbers if not 0 <= n < tokenizer.vocab_size]
    if outside:
        with pytest.raises(ValueError, match=f"token {outside[0]} at"):
            tokenizer.decode(numbers)


sizes = st.one_of(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), odd_numbers)


@fuzz(
    "sizes",
    name=st.sampled_from(sorted(RECIPES)),
    values=st.fixed_dictionaries(
        {
            "vocab_size": sizes,
            "context_length": sizes,
            "n_embd": st.one_of(st.sampled_from([4, 8, 12]), sizes),
            "n_head": st.one_of(st.sampled_from([1, 2, 4]), sizes),
            "n_layer": st.one_of(st.integers(1, 2), sizes),
            "dropout": st.one_of(st.just(0.0), odd_numbers),
        }
    ),
    length=st.integers(1, 14),
)
def test_sizes_build_a_working_model_or_are_named(name, values, length):
    recipe = RECIPES[name]
    config = getattr(recipe.config, "func", recipe.config)
    values = {field.name: values[field.name] for field in fields(config) if field.name in values}
    assume(all(value != 10**12 for value in values.values()) or "n_embd" not in values)
    always = getattr(recipe.config, "keywords", {})  # what a variant is
    try:
        made = config(**{**always, **values})
    except ValueError as error:
        named = [
            key for key, value in values.items() if key in str(error) and f"{value}" in str(error)
        ]
        assert named or ("n_embd / n_head" in str(error) and config is ModernConfig), str(error)
        return
    assert all(type(value) in (int, float) for value in values.values())
    if max(value for value in values.values()) > 100:
        return  # a machine may be large enough for it
    model = recipe.model(made).eval()
    tokens = torch.randint(made.vocab_size, (2, length))
    if length > made.context_length and name != "bigram":
        with pytest.raises(ValueError, match=f"{length} tokens .* window of {made.context_length}"):
            model(tokens)
        return
    logits, loss = model(tokens, tokens)
    assert logits.shape == (2, length, made.vocab_size)
    assert logits.isfinite().all() and loss.isfinite()


@fuzz(
    "trainings",
    values=st.dictionaries(
        st.sampled_from([field.name for field in fields(TrainConfig)]), odd_numbers
    ),
)
def test_a_training_is_sensible_or_its_fault_is_named(values):
    try:
        config = TrainConfig(**values)
    except ValueError as error:
        assert any(key in str(error) and f"{value}" in str(error) for key, value in values.items())
        return
    rates = [config.learning_rate_at(step) for step in range(1, min(config.steps, 50) + 1)]
    assert all(math.isfinite(rate) and 0 < rate <= config.learning_rate for rate in rates)


numbers = st.floats(-40, 40, width=32)
samplings = {
    "temperature": st.one_of(st.floats(0.01, 20), odd_numbers),
    "top_k": st.one_of(st.none(), st.integers(1, 9), odd_numbers),
    "top_p": st.one_of(st.none(), st.floats(0, 1), odd_numbers),
}


@fuzz("sampling", logits=st.lists(numbers, min_size=1, max_size=8), **samplings)
def test_chances_are_chances(logits, **dials):
    try:
        sampling = Sampling(**dials)
    except ValueError as error:
        assert any(name in str(error) for name in dials)
        return
    logits = torch.tensor([logits])
    scaled = logits / sampling.temperature
    assume(scaled.isfinite().all())
    chances = sampling.probs(logits)
    assert chances.isfinite().all() and (chances >= 0).all()
    torch.testing.assert_close(chances.sum(), torch.tensor(1.0))
    if sampling.top_k is not None:
        assert (chances > 0).sum() <= sampling.top_k
    assert chances[0, scaled[0].argmax()] > 0, "the likeliest one always stays"


CHARACTERS = "abc <script>\n"


@pytest.fixture(scope="module")
def small_model():
    tokenizer = CharTokenizer(CHARACTERS)
    torch.manual_seed(0)
    recipe = RECIPES["decoder"]
    sizes = {"context_length": 6, "n_embd": 8, "n_head": 2, "n_layer": 1}
    return recipe.model(recipe.config(tokenizer.vocab_size, **sizes)).eval(), tokenizer


@fuzz(
    "generation",
    prompt=st.one_of(st.text(alphabet=CHARACTERS, max_size=20), st.text(max_size=5)),
    n_tokens=st.integers(-2, 15),
    cached=st.sampled_from([True, False, None]),
    top_k=st.one_of(st.none(), st.integers(1, 99)),
)
def test_writing_gives_as_many_or_says_why_not(small_model, prompt, n_tokens, cached, top_k):
    model, tokenizer = small_model
    unknown = any(character not in CHARACTERS for character in prompt)
    write_it = lambda: generate_text(  # noqa: E731
        model, tokenizer, prompt, n_tokens, cached=cached, sampling=Sampling(top_k=top_k)
    )
    if n_tokens < 0 or unknown or (not prompt and n_tokens):
        with pytest.raises(ValueError, match="n_tokens must|is not in the vocabulary|empty prompt"):
            write_it()
        return
    text = write_it()
    assert text.startswith(prompt) and len(text) == len(prompt) + n_tokens
    assert set(text) <= set(CHARACTERS)


@fuzz("evaluation", n=st.integers(0, 60), n_windows=st.one_of(st.none(), st.integers(1, 9)))
def test_any_text_is_judged_or_found_too_short(small_model, n, n_windows):
    model, tokenizer = small_model
    tokens = torch.randint(tokenizer.vocab_size, (n,), generator=torch.Generator().manual_seed(n))
    if n < 2:
        with pytest.raises(ValueError, match=f"{n} tokens leave nothing to predict"):
            evaluate(model, tokens, n_windows)
        return
    assert 0 < evaluate(model, tokens, n_windows) < 10
    assert sum(len(part) for part in split(tokens)) == n


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    tokenizer = CharTokenizer("abc")
    save_checkpoint(path, "bigram", build("bigram", 3), tokenizer, {"corpus": "a text"})
    return path, path.read_bytes()


@fuzz(
    "file",
    cut=st.one_of(st.none(), st.integers(0, 3000)),
    changes=st.dictionaries(st.integers(0, 3000), st.integers(0, 255), max_size=4),
    added=st.binary(max_size=3),
)
def test_a_damaged_file_is_an_error(saved, cut, changes, added):
    path, whole = saved
    damaged = bytearray(whole)
    for place, value in changes.items():
        damaged[place % len(damaged)] = value
    damaged = bytes(damaged[:cut]) + added
    path.write_bytes(damaged)
    if damaged == whole:
        load_checkpoint(path)
        return
    with pytest.raises(CheckpointError, match="is not a model of this course, or is damaged"):
        load_checkpoint(path)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=6,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "recipe": st.one_of(st.sampled_from(sorted(RECIPES)), st.text(max_size=8)),
        "characters": st.text(max_size=5),
        "about": st.one_of(json_values.map(json.dumps), st.text(max_size=8)),
        "config": st.one_of(
            json_values.map(json.dumps),
            st.dictionaries(
                st.sampled_from(["vocab_size", "context_length", "n_embd", "n_head", "n_layer"]),
                st.one_of(st.integers(0, 99), st.integers(10**6, 10**18)),
            ).map(json.dumps),
        ),
    },
)


@fuzz("header", header=headers)
def test_a_hostile_header_with_the_right_digest_is_an_error_or_a_model(saved, header):
    path, whole = saved
    path.write_bytes(whole)
    true_header, weights = read(path, "model")
    header = {
        name: true_header[name] for name in ("recipe", "config", "characters", "about")
    } | header
    write(path, "model", weights, header, keep_previous=False)
    try:
        model, tokenizer, about = load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert tokenizer.vocab_size == model.config.vocab_size == 3
    assert isinstance(about["corpus"], str)


@fuzz("own text", data=st.one_of(st.binary(max_size=80), st.text(max_size=40).map(str.encode)))
def test_any_file_is_a_text_or_says_why_not(tmp_path, data):
    path = tmp_path / "own.txt"
    path.write_bytes(data)
    try:
        corpus = load_corpus(path)
    except CorpusError as error:
        assert str(path) in str(error)
        return
    assert corpus.text and "\r" not in corpus.text
    tokenizer = CharTokenizer(corpus.text)
    assert tokenizer.decode(tokenizer.encode(corpus.text)) == corpus.text


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
        assert {name for name, _ in attributes} <= {"style", "title", "open"}


@fuzz(
    "view",
    text=st.one_of(
        st.text(min_size=1, max_size=9),
        st.lists(
            st.sampled_from(
                ["<script>", "</code>", "<img src=x onerror=y>", '"', "'", "&lt;", "<", ">"]
            ),
            min_size=1,
            max_size=4,
        ).map("".join),
    ),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_html_of_any_text_holds_no_tags_of_the_text(text, weight):
    text = text[:24]
    page = attention_view(torch.full((1, 1, len(text), len(text)), weight), text).data
    tags = Tags()
    tags.feed(page)
    assert tags.found <= {"div", "details", "summary", "code", "span"}
    assert "<script" not in page and not re.search(r"<[^>]*onerror", page)


@fuzz(
    "progress",
    data=st.one_of(st.binary(max_size=60), json_values.map(lambda v: json.dumps(v).encode())),
)
def test_a_damaged_list_of_exercises_is_none(tmp_path, monkeypatch, data):
    file = tmp_path / "progress.json"
    file.write_bytes(data)
    monkeypatch.setenv("LLM_COURSE_PROGRESS", str(file))
    assert all(isinstance(name, str) for name in progress.done())
    progress.remember("mix")
    assert "mix" in progress.done()


words = st.one_of(
    st.sampled_from(
        [
            "train",
            "generate",
            "evaluate",
            "scoreboard",
            "data",
            "bigram",
            "decoder",
            "--steps",
            "--seed",
        ]
    ),
    st.sampled_from(
        ["--prompt", "--length", "--temperature", "--top-k", "--top-p", "--model", "--text"]
    ),
    st.sampled_from(
        ["--set", "steps=2", "batch_size=3", "decay=True", "--device", "cuda", "--strategy"]
    ),
    st.sampled_from(["--history", "--bfloat16", "--compile", "micro_batches=", "steps=[", "ddp"]),
    st.sampled_from(
        ["0", "-1", "1", "nan", "inf", "1e999", "--out", "", " ", "no such file", "--to"]
    ),
    st.text(
        alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6
    ),
)


@fuzz("command line", arguments=st.lists(words, max_size=5))
def test_any_command_line_is_done_or_refused_in_one_line(away, capsys, monkeypatch, arguments):
    monkeypatch.setattr("llm_course.commands.train", refuse)  # what may be asked for takes minutes
    monkeypatch.setattr("llm_course.commands.stream_texts", refuse)
    assume("-h" not in arguments and not any(a.startswith("--h") for a in arguments))
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err
    assert status in (0, 2)
    if status == 2:
        lines = [line for line in said.splitlines() if not line.startswith("Note: ")]
        assert len(lines) == 1 and lines[0].startswith("error: ")


def refuse(*arguments, **options):
    raise ValueError("not in this test")


def test_generate_takes_no_prompt_at_all(small_model):
    model, _ = small_model
    empty = torch.zeros(0, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="empty prompt"):
        generate(model, empty, 3, generator=torch.Generator())
