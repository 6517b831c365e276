import pytest
import torch
from torch import nn

from llm_course.generation import (
    generate,
    generate_text,
    next_chances,
    stream,
    stream_texts,
    window_start,
)
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.sampling import Sampling
from llm_course.tokenizers import BPETokenizer, CharTokenizer


class Counter(nn.Module):
    """Sure that t is followed by t + 1, and remembers how many tokens it was shown."""

    def __init__(self, context_length=4):
        super().__init__()
        self.config = BigramConfig(10, context_length)
        self.shown = []

    def forward(self, tokens, targets=None):
        self.shown.append(tokens.shape[1])
        return 50 * torch.nn.functional.one_hot((tokens + 1) % 10, 10).float(), None


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BigramLM(BigramConfig(3))


def test_it_goes_on_from_each_prompt(generator):
    written = generate(Counter(), torch.tensor([[1, 2], [7, 8]]), 4, generator=generator)
    assert written.tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 1, 2]]


def test_the_model_is_shown_its_window_and_no_more(generator):
    model = Counter(context_length=4)
    generate(model, torch.tensor([[1, 2]]), 5, generator=generator)
    assert model.shown == [2, 3, 4, 3, 4]


def test_draws_follow_the_models_distribution(model, generator):
    n_draws = 20_000
    prompt = torch.ones(n_draws, 1, dtype=torch.long)
    for temperature in (1.0, 0.5):
        drawn = generate(
            model, prompt, 1, generator=generator, sampling=Sampling(temperature=temperature)
        )[:, 1]
        probs = torch.softmax(model(prompt[:1])[0][0, 0] / temperature, -1)
        expected = probs * n_draws
        chi_squared = ((torch.bincount(drawn, minlength=3) - expected) ** 2 / expected).sum()
        assert chi_squared < 13.8  # 2 degrees of freedom, 0.1 %


def test_text_in_text_out(model):
    tokenizer = CharTokenizer("abc")
    text = generate_text(model, tokenizer, "ab", 50, seed=3)
    assert text.startswith("ab") and len(text) == 52 and set(text) <= set("abc")
    assert text == generate_text(model, tokenizer, "ab", 50, seed=3)
    assert text != generate_text(model, tokenizer, "ab", 50, seed=4)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_given_back(model, mode):
    model.train(mode)
    generate_text(model, CharTokenizer("abc"), "a", 2)
    assert model.training is mode


def test_bad_requests_are_named(model, generator):
    with pytest.raises(ValueError, match="empty prompt"):
        generate_text(model, CharTokenizer("abc"), "")
    with pytest.raises(ValueError, match="'z' .* at position 1"):
        generate_text(model, CharTokenizer("abc"), "az")


def test_next_chances_are_the_likeliest_first(model):
    tokenizer = CharTokenizer("abc")
    chances, characters = next_chances(model, tokenizer, "ab", top=3)
    expected = model(tokenizer.encode("ab")[None])[0][0, -1].softmax(-1)
    torch.testing.assert_close(chances, expected[tokenizer.encode(characters)])
    assert chances.tolist() == sorted(chances.tolist(), reverse=True)
    assert next_chances(model, tokenizer, "ab", top=2)[1] == characters[:2]
    assert next_chances(model, tokenizer, "ab", top=50)[1] == characters


@pytest.mark.parametrize("mode", [True, False])
def test_it_writes_without_dropout_and_without_gradients(mode):
    class Watched(BigramLM):
        def forward(self, tokens, targets=None):
            assert not self.training and not torch.is_grad_enabled()
            return super().forward(tokens, targets)

    model = Watched(BigramConfig(3)).train(mode)
    text = generate_text(model, CharTokenizer("\nab"), n_tokens=5)
    assert text.startswith("\n") and model.training is mode


def test_the_window_starts_over_from_its_later_half():
    assert [window_start(n, 4) for n in range(1, 11)] == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6]
    assert [window_start(n, 1) for n in (1, 2, 3)] == [0, 1, 2]
    assert [window_start(n, 5) for n in (5, 6, 7, 8, 9)] == [0, 2, 2, 4, 4]


def test_writing_on_is_writing_at_once(generator):
    def written(prompt, n_tokens):
        return generate(Counter(5), prompt, n_tokens, generator=generator)

    prompt = torch.tensor([[3]])
    assert torch.equal(written(written(prompt, 4), 9), written(prompt, 13))


def test_prompts_of_different_lengths_go_on_from_their_own_ends(generator):
    prompts = [torch.tensor([1]), torch.tensor([4, 5, 6, 7, 8, 9])]
    drawn = torch.stack(list(stream(Counter(), prompts, 3, generator=generator)))
    assert drawn.T.tolist() == [[2, 3, 4], [0, 1, 2]]


def test_texts_come_character_by_character(model):
    tokenizer = CharTokenizer("abc")
    pieces = list(stream_texts(model, tokenizer, ["a", "bca"], 5, seed=1))
    assert len(pieces) == 5
    assert all(len(piece) == 2 and set(piece) <= set("abc") for piece in pieces)
    assert pieces == list(stream_texts(model, tokenizer, ["a", "bca"], 5, seed=1))


def test_a_text_in_place_of_a_list_of_texts_is_named(model):
    with pytest.raises(ValueError, match="prompts must be a list of texts"):
        next(stream_texts(model, CharTokenizer("abc"), "abc", 1))


def test_between_two_draws_the_model_is_as_it_was(model, generator):
    model.train()
    for _ in stream(model, [torch.tensor([1])], 2, generator=generator):
        assert model.training and torch.is_grad_enabled()


class Writes(nn.Module):
    """Sure to write these tokens behind a prompt of one."""

    def __init__(self, tokens, vocab_size):
        super().__init__()
        self.tokens, self.config = tokens, BigramConfig(vocab_size, 99)

    def forward(self, read, targets=None):
        logits = torch.full((*read.shape, self.config.vocab_size), -1e9)
        place = read.shape[1] - 1
        logits[0, place, self.tokens[place % len(self.tokens)]] = 0
        return logits, None


def written_with(tokenizer, tokens, n_tokens):
    model = Writes(tokens, tokenizer.vocab_size)
    return [piece for (piece,) in stream_texts(model, tokenizer, [" "], n_tokens)]


def test_a_character_of_several_tokens_is_written_whole():
    """The bytes of a character come one by one, and show when the last of them is there."""
    tokenizer = BPETokenizer([])
    tokens = tokenizer.encode("aé漢b")
    assert written_with(tokenizer, tokens, len(tokens)) == ["a", "", "é", "", "", "漢", "b"]
    assert written_with(tokenizer, tokens, 2) == ["a", "\ufffd"]  # it ends within a character


def test_tokens_may_begin_and_end_within_characters():
    """Merges know no borders of characters: what is whole is written, the rest waits for its end."""
    text = (
        "この文は試すために書いた。字の途中で切れる語があるので、字が揃うまで待たなければならない。"
    )
    tokenizer = BPETokenizer.train(text, 290)
    tokens = tokenizer.encode(" " + text)[1:]
    pieces = written_with(tokenizer, tokens, len(tokens))
    assert "".join(pieces) == text
    in_threes = zip(pieces, pieces[1:], pieces[2:], strict=False)
    assert all(map(any, in_threes)), "it waits too long"


def test_bytes_that_are_no_characters_are_written_one_later():
    tokenizer = BPETokenizer([])
    tokens = [tokenizer.tokens.index(bytes([byte])) for byte in b"\xff\xff\x80\xe5\xffa\xff"]
    assert written_with(tokenizer, tokens, 7) == ["", *["\ufffd"] * 4, "\ufffda", "\ufffd"]
