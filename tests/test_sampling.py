import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_course.sampling import Sampling, keep_top_k, keep_top_p

LOGITS = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()


def test_by_default_the_chances_are_the_models_own():
    torch.testing.assert_close(Sampling().probs(LOGITS), LOGITS.exp())


def test_temperature_sharpens_and_flattens():
    cold = Sampling(temperature=0.5).probs(LOGITS)
    torch.testing.assert_close(cold, torch.tensor([[0.25, 0.04, 0.04, 0.01]]) / 0.34)
    assert Sampling(temperature=2.0).probs(LOGITS)[0, 0] < 0.5


@pytest.mark.parametrize(
    ("k", "kept"), [(1, [0.5]), (2, [0.5, 0.2]), (3, [0.5, 0.2, 0.2]), (9, [0.5, 0.2, 0.2, 0.1])]
)
def test_top_k_keeps_exactly_k_of_equals_the_first(k, kept):
    probs = keep_top_k(LOGITS, k).softmax(-1)[0]
    expected = torch.tensor(kept + [0.0] * (4 - len(kept)))
    torch.testing.assert_close(probs, expected / expected.sum())


@pytest.mark.parametrize(
    ("p", "n"), [(0.01, 1), (0.45, 1), (0.55, 2), (0.72, 3), (0.95, 4), (1.0, 4)]
)
def test_top_p_keeps_the_token_that_reaches_p(p, n):
    assert keep_top_p(LOGITS, p).isfinite().sum() == n


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30), st.integers(1, 30), st.floats(0.01, 1), st.integers(0, 2**16))
def test_what_stays_is_the_likeliest_with_its_odds(V, k, p, seed):
    logits = 3 * torch.randn(3, V, generator=torch.Generator().manual_seed(seed)).double()
    for kept in (keep_top_k(logits, k), keep_top_p(logits, p)):
        stays = kept.isfinite()
        torch.testing.assert_close(kept[stays], logits[stays])
        for row, staying in zip(logits, stays, strict=True):
            assert staying.any()
            if not staying.all():
                assert row[staying].min() > row[~staying].max()
    assert (keep_top_k(logits, k).isfinite().sum(-1) == min(k, V)).all()

    probs = logits.softmax(-1)
    stays = keep_top_p(logits, p).isfinite()
    kept_mass = (probs * stays).sum(-1)
    least = torch.where(stays, probs, math.inf).amin(-1)
    assert (kept_mass >= p - 1e-9).all(), "enough"
    assert (kept_mass - least < p + 1e-9).all(), "and none too many"


def test_top_p_comes_after_temperature_and_top_k():
    probs = Sampling(top_k=2, top_p=0.71).probs(LOGITS)[0]  # of 5/7 and 2/7 the first is enough
    torch.testing.assert_close(probs, torch.tensor([1.0, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0 and finite, and is 0.0; top_k=1"),
        ({"temperature": math.nan}, "temperature must be above 0"),
        ({"temperature": math.inf}, "temperature must be above 0"),
        ({"top_k": 0}, "top_k must be a whole number from 1 on, and is 0"),
        ({"top_p": 0.0}, "top_p must lie above 0 and at most at 1, and is 0.0"),
        ({"top_p": 1.1}, "top_p must lie above 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


def test_top_p_of_one_keeps_all_however_small(generator):
    logits = 20 * torch.randn(50, 65, generator=generator)
    assert torch.equal(keep_top_p(logits, 1.0), logits)
