"""Attempts that were taken for right once, or told of another mistake: on no seed may that come back."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from llm_course.exercises import find
from llm_course.exercises.check import examine

SEEDS = range(8)


def _first_loss_uses_up_patience(losses, patience):
    best, kept, waited = losses[0], 0, 0
    for i, loss in enumerate(losses):
        if loss < best:
            best, kept, waited = loss, i, 0
        else:
            waited += 1
            if waited == patience:
                break
    return kept


def _ties_are_best_and_one_too_patient(losses, patience):
    kept = bad = 0
    for i, loss in enumerate(losses):
        if loss <= losses[kept]:
            kept, bad = i, 0
        else:
            bad += 1
            if bad > patience:
                break
    return kept


def _merge_found(tokens, merges):
    """Encode with the merges in a dictionary, in one pass over the text."""
    merges, i, out = dict(merges), 0, []
    while i < len(tokens):
        pair = tuple(tokens[i : i + 2])
        out.append(merges.get(pair, tokens[i]))
        i += 2 if pair in merges else 1
    return out


def _frequent(pairs, key=lambda pair: pair):
    counts = Counter(pairs)
    return min(counts, key=lambda pair: (-counts[pair], key(pair)))


def _at_least_as_often(tokens):
    counts, most, best = Counter(pairwise(tokens)), 0, None
    for pair, count in counts.items():
        if count >= most:
            most, best = count, pair
    return best


def _merged_as_a_string(tokens, pair, new):
    text = " ".join(map(str, tokens)).replace(f"{pair[0]} {pair[1]}", str(new))
    return [int(token) for token in text.split()]


def _popped_on_the_way(tokens, pair, new):
    tokens = list(tokens)
    for i, two in enumerate(pairwise(tokens)):
        if two == pair:
            tokens[i] = new
            tokens.pop(i + 1)
    return tokens


def _one_skipped_after_a_merge(tokens, pair, new):
    merged, i = [], 0
    while i < len(tokens):
        is_pair = tuple(tokens[i : i + 2]) == pair
        merged += [new, *tokens[i + 2 : i + 3]] if is_pair else [tokens[i]]
        i += 3 if is_pair else 1
    return merged


def _last_always_added(tokens, pair, new, *, turned=tuple):
    merged, i = [], 0
    while i < len(tokens) - 1:
        is_pair = turned(tokens[i : i + 2]) == pair
        merged.append(new if is_pair else tokens[i])
        i += 2 if is_pair else 1
    return [*merged, tokens[-1]]


def _copy(text, source, shortest=1, is_in=lambda piece, source: piece in source):
    for length in range(len(text), shortest - 1, -1):
        for start in range(len(text) - length + 1):
            if is_in(text[start : start + length], source):
                return text[start : start + length]
    return ""


def _first_of_sorted(text, source):
    pieces = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return sorted((p for p in pieces if p in source), key=len, reverse=True)[0]


def _infinity_in_the_loop(seconds, losses, target):
    for time, loss in zip(seconds, losses, strict=True):
        if loss <= target:
            return time
        return float("inf")


def _one_hot(tokens, of_vectors, x, of_logits):
    return of_logits.T @ x + torch.nn.functional.one_hot(tokens).T.float() @ of_vectors


def _rows_up_to_the_largest(tokens, of_vectors, x, of_logits):
    return _one_hot(tokens, of_vectors, x, of_logits[:, : tokens.max() + 1])


def _one_digit_cut_off(name, weight):
    of_a_block = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    return weight.T if weight.ndim == 2 and name[4:].startswith(of_a_block) else weight


def _slope_without_sign(xs, ys):
    a, b = find("power_law").reference(xs, ys)
    return a, abs(b)


def _look(x, memory, hidden, w_q, w_k, w_v, filled=-math.inf):
    scores = x @ w_q @ (memory @ w_k).mT / math.sqrt(w_q.shape[1])
    return scores.masked_fill(hidden, filled).softmax(dim=-1) @ memory @ w_v


def _all_dimensions_turned(x, memory, hidden, w_q, w_k, w_v):
    return x @ w_q @ (memory @ w_k).permute(2, 1, 0) @ memory @ w_v  # as .T, which warns


def _asked_the_other_way(x, memory, *others):
    return _look(memory, x, *others)


def _padded_to_length(target, length, start, end, padding):
    row = [start, *target, end]
    row += [padding] * (length - len(row))
    return row[:-1], row[1:]


def _lora_not_transposed(x, weight, A, B, alpha):
    return x @ weight.T + alpha / len(A) * (x @ (B @ A))


def _modulo_without_brackets(pieces):
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n):
            held[r + 1 % n, (r - t) % n] += held[r, (r - t) % n]
    return held


def _mask_with_if(T, window):
    back = torch.arange(T)[:, None] - torch.arange(T)
    return back if back < 0 else back >= window


def _table_of_those_that_came(tokens, vocab_size):
    return find("bigram_chances").reference(tokens, int(tokens.max()) + 1)


def _shares_of_those_that_came(chances, tokens):
    return -(tokens.bincount() / len(tokens) * chances.log2()).sum()


def _one_hot_of_those_that_came(logits, targets):
    return -(F.one_hot(targets) * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def _returns_only_if_reached(chances, p):
    kept, reached = torch.zeros_like(chances), 0.0
    for i in chances.argsort(descending=True).tolist():
        if reached >= p:
            return kept / kept.sum()
        kept[i] = chances[i]
        reached += chances[i].item()


SLIPS = [  # exercise, attempt, and what its feedback says; "" where it need only be refused
    ("best_before_stop", _first_loss_uses_up_patience, "the first loss uses up patience"),
    ("best_before_stop", _ties_are_best_and_one_too_patient, ""),
    ("encode", lambda tokens, merges: find("encode").reference(tokens, merges[:-1]), ""),
    ("encode", lambda tokens, merges: tokens, "nothing is merged: is it merge(tokens, pair"),
    ("encode", _merge_found, "gone through once"),
    ("most_frequent_pair", _at_least_as_often, "the one that turns up last"),
    ("most_frequent_pair", lambda t: _frequent(pairwise(t), key=lambda pair: pair[0]), ""),
    ("most_frequent_pair", lambda t: _frequent(pairwise(t[:-1])), ""),
    ("most_frequent_pair", lambda t: _frequent((t[i - 1], t[i]) for i in range(len(t))), ""),
    ("merge", _merged_as_a_string, ""),
    ("merge", _popped_on_the_way, ""),
    ("merge", _one_skipped_after_a_merge, ""),
    ("merge", _last_always_added, "the last token is added in any case"),
    (
        "merge",
        lambda *inputs: _last_always_added(*inputs, turned=list),
        "A list never equals a tuple",
    ),
    ("longest_copy", lambda text, source: _copy(text, source, shortest=2), ""),
    ("longest_copy", lambda *inputs: _copy(*inputs, is_in=lambda p, s: s.find(p) > 0), ""),
    ("longest_copy", _first_of_sorted, "[0] of an empty list fails"),
    ("seconds_to", lambda t, y, goal: find("seconds_to").reference(t[:-1], y[:-1], goal), ""),
    ("seconds_to", _infinity_in_the_loop, "stands inside the loop"),
    ("tied_gradient", _one_hot, ""),
    ("tied_gradient", _rows_up_to_the_largest, ""),
    ("as_ours", _one_digit_cut_off, ""),
    ("power_law", _slope_without_sign, ""),
    ("without_leak", lambda *i: [n for n in find("without_leak").reference(*i) if n > 0], ""),
    ("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2, "math's functions take"),
    ("cross_attend", lambda *inputs: _look(*inputs, filled=math.inf), "what is hidden is inf"),
    ("cross_attend", _asked_the_other_way, "does not fit keys made from x"),
    ("cross_attend", _all_dimensions_turned, "`.T` turns"),
    ("to_read_and_say", _padded_to_length, "one too short"),
    ("lora_forward", _lora_not_transposed, "(B @ A).T"),
    ("count_lora", lambda shapes, r: sum(r * o + i for o, i in shapes), "brackets are missing"),
    ("ring_sum", _modulo_without_brackets, "without brackets, (r + 1) % n"),
    ("sliding_mask", _mask_with_if, "`if`, `or`"),
    ("top_p_chances", _returns_only_if_reached, ""),
    ("bigram_chances", _table_of_those_that_came, ""),
    ("loss_in_bits", _shares_of_those_that_came, ""),
    ("cross_entropy", _one_hot_of_those_that_came, ""),
    ("turn", lambda *inputs: torch.stack(find("turn").reference(*inputs)), "in one tensor"),
]


@pytest.mark.parametrize(("name", "attempt", "said"), SLIPS)
def test_a_slip_is_refused_whatever_is_drawn(name, attempt, said):
    for seed in SEEDS:
        result = examine(find(name), attempt, seed)
        assert not result.passed and said in result.feedback, result.feedback
        assert said or result.mistake is None, result.mistake
