import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_course.evaluation import evaluate
from llm_course.models.ngram import NgramTable

FILE = Path(__file__).parent.parent / "tools" / "kneser_ney.py"
spec = importlib.util.spec_from_file_location("kneser_ney", FILE)
kneser_ney = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kneser_ney)


@settings(deadline=None, max_examples=40)
@given(st.text("abc", min_size=8, max_size=60), st.text("abc", max_size=6), st.integers(1, 4))
def test_the_chances_of_all_characters_sum_to_one(text, history, order):
    table = kneser_ney.KneserNeyTable(text, 4, order)  # "d" was never seen
    chances = [table.chance(x, history) for x in "abcd"]
    assert sum(chances) == pytest.approx(1) and min(chances) > 0


def test_the_formula_by_hand():
    table = kneser_ney.KneserNeyTable("abab", 2, 2)
    # Pairs: ab twice, ba once, so that n₁ = n₂ = 1, Y = 1/3, D₁ = 1 − 2/3 = 1/3, D₂ = 2.
    # Below: a and b each stand behind one different character; n₁ = 2, n₂ = 0, Y = 1, D₁ = 1.
    assert table.levels[1].discounts[:2] == pytest.approx([1 / 3, 2])
    assert table.chance("b", "") == pytest.approx(1 / 2)
    assert table.chance("b", "a") == pytest.approx((2 - 2 + 2 * 1 / 2) / 2)
    assert table.chance("a", "b") == pytest.approx((1 - 1 / 3 + 1 / 3 * 1 / 2) / 1)


def test_it_counts_better_than_witten_bell(shakespeare_data):
    data, tokenizer = shakespeare_data
    train, val = data.train[:60_000], data.val[:5_000]
    table = kneser_ney.KneserNeyTable(tokenizer.decode(train), tokenizer.vocab_size, 4)
    loss = table.loss(tokenizer.decode(val))
    assert 0.5 < loss < evaluate(NgramTable(train, tokenizer.vocab_size, 4), val) - 0.01
