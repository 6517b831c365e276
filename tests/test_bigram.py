import math

import pytest
import torch
import torch.nn.functional as F

from llm_course.data import get_batch
from llm_course.evaluation import evaluate
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.ngram import NgramTable
from llm_course.practice_corpus import best_loss
from llm_course.recipes import RECIPES, build
from llm_course.training import train


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BigramLM(BigramConfig(vocab_size=11, context_length=5, n_embd=3))


def test_it_is_a_table_in_two_factors(model, generator):
    tokens = torch.randint(11, (4, 5), generator=generator)
    table = model.token_embedding.weight @ model.output.weight.T + model.output.bias
    logits, loss = model(tokens)
    torch.testing.assert_close(logits, table[tokens])
    assert loss is None
    assert sum(p.numel() for p in model.parameters()) == 11 * 3 + 3 * 11 + 11


def test_the_loss_is_the_mean_cross_entropy(model, generator):
    tokens, targets = torch.randint(11, (2, 4, 5), generator=generator)
    logits, loss = model(tokens, targets)
    by_hand = -torch.log_softmax(logits, -1).gather(-1, targets[..., None]).mean()
    torch.testing.assert_close(loss, by_hand)


def test_only_the_last_token_counts(model, generator):
    tokens = torch.randint(11, (4, 5), generator=generator)
    shuffled = torch.cat([tokens[:, [2, 0, 3, 1]], tokens[:, 4:]], dim=1)
    torch.testing.assert_close(model(tokens)[0][:, -1], model(shuffled)[0][:, -1])


def test_it_begins_near_the_uniform_guess(generator):
    model = build("bigram", 65)
    tokens, targets = torch.randint(65, (2, 64, 8), generator=generator)
    assert abs(model(tokens, targets)[1].item() - math.log(65)) < 0.05


def test_it_can_learn_one_batch_by_heart():
    torch.manual_seed(0)
    model = BigramLM(BigramConfig(vocab_size=9, context_length=8))
    inputs, targets = get_batch(torch.arange(9), 4, 8, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(200):
        _, loss = model(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("name", ["vocab_size", "context_length", "n_embd"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 on, and is 0"):
        BigramConfig(**({"vocab_size": 5} | {name: 0}))


def trained(data, tokenizer):
    """Return the losses of the recipe's model and of the counted bigram table."""
    history = train(build("bigram", tokenizer.vocab_size), data, RECIPES["bigram"].training)
    counts = evaluate(NgramTable(data.train, tokenizer.vocab_size, 2), data.val)
    return history.val_loss[-1], counts


def test_it_arrives_where_counting_does(shakespeare_data):
    learned, counts = trained(*shakespeare_data)
    assert abs(learned - counts) < 0.02
    assert abs(learned - 2.48) < 0.02


@pytest.mark.slow
def test_on_the_practice_corpus_too_and_above_its_best_loss(practice_data):
    learned, counts = trained(*practice_data)
    assert abs(learned - counts) < 0.02
    assert learned > best_loss(len(practice_data[0].train))


def test_gradients_are_those_of_the_library(model, generator):
    model = model.double()
    tokens, targets = torch.randint(11, (2, 4, 5), generator=generator)
    model(tokens, targets)[1].backward()
    weight = model.output.weight.detach().clone().requires_grad_()
    hidden = F.embedding(tokens, model.token_embedding.weight.detach())
    F.nll_loss(
        F.log_softmax(hidden @ weight.T + model.output.bias.detach(), -1).flatten(0, 1),
        targets.flatten(),
    ).backward()
    torch.testing.assert_close(model.output.weight.grad, weight.grad, rtol=0, atol=1e-10)


def test_building_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second, other = build("bigram", 5), build("bigram", 5), build("bigram", 5, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.output.weight, second.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)
    assert (first.output.bias == 0).all()
    assert first.config == BigramConfig(5, context_length=8, n_embd=32)
