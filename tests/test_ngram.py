import math
from collections import Counter, defaultdict

import pytest
import torch

from llm_course.evaluation import evaluate
from llm_course.models.ngram import NgramConfig, NgramTable

# ../shared/data/README.md's figures, measured with another program; nats per character.
REFERENCE = {1: 3.347, 2: 2.486, 3: 2.049, 4: 1.774, 5: 1.669, 6: 1.698, 7: 1.779, 8: 1.876}


def by_the_formula(
    tokens: list[int], vocab_size: int, order: int, history: list[int]
) -> list[float]:
    """The formula with dictionaries, one history at a time: slow, and plain to read."""
    followers = defaultdict(Counter)
    for n in range(order):
        for i in range(n, len(tokens)):
            followers[tuple(tokens[i - n : i])][tokens[i]] += 1
    probs = [1 / vocab_size] * vocab_size
    for n in range(order):
        seen = followers.get(tuple(history[len(history) - n :])) if n <= len(history) else None
        if not seen:
            break
        c, u = sum(seen.values()), len(seen)
        probs = [(seen[x] + u * probs[x]) / (c + u) for x in range(vocab_size)]
    return probs


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocab_size", [2, 5])
def test_equal_to_the_formula(order, vocab_size, generator):
    tokens = torch.randint(vocab_size, (60,), generator=generator)
    queries = torch.randint(vocab_size, (4, 7), generator=generator)
    logits, _ = NgramTable(tokens, vocab_size, order)(queries)
    for b in range(4):
        for t in range(7):
            expected = by_the_formula(
                tokens.tolist(), vocab_size, order, queries[b, : t + 1].tolist()
            )
            torch.testing.assert_close(logits[b, t].exp(), torch.tensor(expected))


def test_rows_are_distributions_even_for_tokens_never_seen():
    logits, loss = NgramTable(torch.tensor([0, 1, 0, 1, 2]), 6, 3)(torch.tensor([[5, 4, 0, 1]]))
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(1, 4))
    assert (logits > -math.inf).all() and loss is None


def test_the_future_is_not_seen(generator):
    table = NgramTable(torch.randint(4, (300,), generator=generator), 4, 4)
    tokens = torch.randint(4, (3, 9), generator=generator)
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 4
    assert torch.equal(table(tokens)[0][:, :5], table(changed)[0][:, :5])


def test_n_counts_are_the_different_runs():
    text = [0, 1, 0, 1, 2]  # runs of one: 0 1 2; of two: 01 10 12
    assert NgramTable(torch.tensor(text), 3, 2).n_counts == 6


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="order must be a whole number from 1 on, and is 0"):
        NgramConfig(5, 0)
    with pytest.raises(ValueError, match="2 tokens are too few to count runs of 3"):
        NgramTable(torch.tensor([0, 1]), 2, 3)


@pytest.mark.slow
def test_the_reference_table(shakespeare_data):
    data, tokenizer = shakespeare_data
    losses = {
        n: evaluate(NgramTable(data.train, tokenizer.vocab_size, n), data.val) for n in REFERENCE
    }
    assert losses == pytest.approx(REFERENCE, abs=0.001)
    assert min(losses, key=losses.get) == 5


def test_the_loss_is_the_mean_cross_entropy(generator):
    table = NgramTable(torch.randint(4, (300,), generator=generator), 4, 3)
    tokens, targets = torch.randint(4, (2, 3, 9), generator=generator)
    logits, loss = table(tokens, targets)
    torch.testing.assert_close(loss, -logits.gather(2, targets[..., None]).mean())


def test_half_a_window_is_history_enough():
    assert NgramConfig(65, 5).context_length == 10


def test_as_many_tokens_as_the_order_are_enough():
    assert NgramTable(torch.tensor([0, 1, 2]), 3, 3).n_counts == 6  # 0 1 2, 01 12, 012


def test_tokens_out_of_range_are_named():
    with pytest.raises(ValueError, match="must go from 0 to 4, and go to 9"):
        NgramTable(torch.tensor([0, 9, 1]), 5, 2)
