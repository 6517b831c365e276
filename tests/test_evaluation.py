import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llm_course.evaluation import (
    bits,
    bits_per_byte,
    evaluate,
    nats_per_character,
    perplexity,
)
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.tokenizers import BPETokenizer, CharTokenizer


class Clairvoyant(nn.Module):
    """Reads 0, 1, 2, … and loses `cost(next token, how many tokens it saw)` on each prediction."""

    def __init__(self, n_tokens, context_length, cost):
        super().__init__()
        self.config = BigramConfig(n_tokens, context_length)
        self.cost = cost

    def forward(self, tokens, targets=None):
        n_seen = torch.arange(1, tokens.shape[1] + 1).expand_as(tokens)
        cost = self.cost(tokens + 1, n_seen)
        logits = torch.full((*tokens.shape, self.config.vocab_size), -math.inf)
        logits.scatter_(2, (tokens + 1)[..., None], -cost[..., None])
        logits.scatter_(2, tokens[..., None], torch.log1p(-torch.exp(-cost))[..., None])
        return logits, None


sizes = {"n_tokens": st.integers(2, 90), "context_length": st.integers(1, 20)}


@settings(deadline=None)
@given(**sizes)
def test_each_token_is_scored_exactly_once(n_tokens, context_length):
    costs = torch.rand(n_tokens, generator=torch.Generator().manual_seed(n_tokens)) + 0.1
    model = Clairvoyant(n_tokens, context_length, lambda token, n_seen: costs[token])
    loss = evaluate(model, torch.arange(n_tokens))
    assert loss == pytest.approx(costs[1:].mean().item(), rel=1e-5)


@settings(deadline=None)
@given(**sizes)
def test_each_prediction_sees_half_a_window_where_there_is_one(n_tokens, context_length):
    def cost(token, n_seen):
        return (n_seen < torch.minimum(token, torch.tensor(math.ceil(context_length / 2)))).float()

    assert evaluate(Clairvoyant(n_tokens, context_length, cost), torch.arange(n_tokens)) == 0


def test_some_windows_estimate_all():
    torch.manual_seed(0)
    model = BigramLM(BigramConfig(7, 8))
    tokens = torch.randint(7, (20_000,), generator=torch.Generator().manual_seed(0))
    assert evaluate(model, tokens, n_windows=2000) == pytest.approx(
        evaluate(model, tokens), abs=0.01
    )
    assert evaluate(model, tokens, n_windows=10**6) == evaluate(model, tokens)


def test_one_token_leaves_nothing_to_predict():
    with pytest.raises(ValueError, match="1 tokens leave nothing to predict"):
        evaluate(BigramLM(BigramConfig(7)), torch.tensor([3]))


@pytest.mark.parametrize("mode", [True, False])
def test_evaluating_changes_nothing(mode):
    model = BigramLM(BigramConfig(7)).train(mode)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    evaluate(model, torch.arange(7))
    assert model.training is mode
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_units():
    assert bits(math.log(8)) == pytest.approx(3)
    assert perplexity(math.log(65)) == pytest.approx(65)


class Dropping(BigramLM):
    """A bigram model with dropout, which tells whether it runs in training mode, and with gradients."""

    def forward(self, tokens, targets=None):
        assert not self.training and not torch.is_grad_enabled()
        return super().forward(tokens, targets)


def test_a_model_is_judged_as_it_will_be_used():
    model = Dropping(BigramConfig(7)).train()
    evaluate(model, torch.arange(7))
    assert model.training


def test_an_estimate_takes_windows_from_everywhere():
    seen = []

    def cost(token, n_seen):
        seen.append(token)
        return torch.ones(token.shape)

    evaluate(Clairvoyant(1000, 8, cost), torch.arange(1000), n_windows=5)
    first_tokens = torch.cat(seen)[:, 0] - 1
    assert first_tokens.tolist() == [0, 248, 496, 744, 991]


class WithoutFloat64(torch.Tensor):
    """As on a Mac's GPU: numbers have to be on the CPU before they can be float64."""

    def double(self):
        raise TypeError("the MPS framework doesn't support float64")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_the_device_needs_no_float64():
    tokens = torch.arange(30)
    model = Clairvoyant(30, 8, lambda token, n_seen: 0.5 + token / 10)
    expected = evaluate(model, tokens)
    model.register_forward_hook(lambda *call: (call[2][0].as_subclass(WithoutFloat64), None))
    assert evaluate(model, tokens) == expected


def test_windows_longer_than_a_batch_are_no_problem():
    loss = evaluate(
        BigramLM(BigramConfig(3, context_length=9000)), torch.zeros(10_000, dtype=torch.long)
    )
    assert loss == pytest.approx(math.log(3), abs=0.2)


def test_the_mode_is_given_back_when_something_stops_it():
    class Stopping(BigramLM):
        def forward(self, tokens, targets=None):
            raise KeyboardInterrupt

    model = Stopping(BigramConfig(7)).train()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, torch.arange(7))
    assert model.training


def test_a_hopeless_loss_has_a_perplexity_too():
    assert perplexity(800.0) == math.inf


def test_bits_per_byte_do_not_depend_on_the_tokens():
    text = "naïve " * 50
    by_characters, by_bytes = CharTokenizer(text).encode(text), BPETokenizer([]).encode(text)
    nats = 300.0  # for the whole text, however it is cut
    one, other = (
        bits_per_byte(nats / len(tokens), tokens, text) for tokens in (by_characters, by_bytes)
    )
    assert one == pytest.approx(other) == pytest.approx(nats / math.log(2) / 350)


def test_nats_per_character_do_not_depend_on_the_tokens():
    text = "naïve 猫"
    by_characters, by_bytes = CharTokenizer(text).encode(text), BPETokenizer([]).encode(text)
    losses = [
        nats_per_character(12 / len(tokens), tokens, text) for tokens in (by_characters, by_bytes)
    ]
    assert losses == pytest.approx([12 / 7, 12 / 7])
