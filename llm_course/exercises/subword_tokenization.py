"""Exercises of notebook 10: merging, encoding, and a fair measure."""

import math
from collections import Counter
from itertools import pairwise

import torch

from llm_course.exercises.exercise import Exercise, Question

NOTEBOOK = "10_subword_tokenization"
Pair = tuple[int, int]


def _numbers(generator: torch.Generator, n: int, below: int) -> list[int]:
    return torch.randint(below, (n,), generator=generator).tolist()


# --- most_frequent_pair -------------------------------------------------------------------------------


def _most_frequent_pair(tokens: list[int]) -> Pair:
    counts = Counter(pairwise(tokens))
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _with_a_favourite(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens in which one pair is the most frequent."""
    noise = _numbers(generator, 12, 90)
    tokens = [95, 94]
    for number in noise:
        tokens += [7, 3, 10 + number % 80]
    return ([*tokens, 94],)


def _with_a_tie(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens with three equally frequent pairs: the smallest comes last, the largest second."""
    a, b, c = (10 * n + k for n, k in zip((3, 6, 1), _numbers(generator, 3, 10), strict=True))
    fillers = iter(range(200, 400))
    tokens = []
    for _ in range(3 + _numbers(generator, 1, 3)[0]):
        for number in (a, b, c):
            tokens += [number, number + 100, next(fillers)]
    return (tokens,)


def _with_a_swap(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens in which a pair is frequent only if its order is ignored, or a circle is closed."""
    x, y = 20 + _numbers(generator, 1, 5)[0], 40
    tokens = [y]
    for n in range(4):
        tokens += [x, y, 50 + n, y, x, 60 + n]
    tokens += [1, 2, 70, 1, 2, 71, 1, 2, 72, 1, 2, 73, 1, 2, x]
    return (tokens,)


def _tie_of_one_first_token(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens with three equally frequent pairs: the smallest is neither first nor last."""
    x, tokens = 3 + _numbers(generator, 1, 10)[0], []
    for n in range(100, 109, 3):
        tokens += [x, 90, n, x, 40, n + 1, x + 1, 30, n + 2]
    return (tokens,)


def _decided_at_the_end(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens whose last pair makes one the most frequent."""
    x = 3 + _numbers(generator, 1, 10)[0]
    often, less = [x + 50, x + 60], [x, x + 1]
    return ([*often, 90, *less, 91, *less, 92, *often, 93, *often],)


def _open_circle(generator: torch.Generator) -> tuple[list[int]]:
    """Return tokens whose last and first are no pair, and would make another one the most frequent."""
    x = 3 + _numbers(generator, 1, 10)[0]
    often, less = [x + 50, x + 60], [x, x + 1]
    return ([x + 1, 90, *less, 91, *often, 92, *less, 93, *often, 94, *often, 95, x],)


def _smallest_of_the_most_frequent(counts: Counter[Pair]) -> Pair:
    return min(counts, key=lambda pair: (-counts[pair], pair))


most_frequent_pair = Exercise(
    name="most_frequent_pair",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=1,
    reference=_most_frequent_pair,
    inputs=(
        _with_a_favourite,
        _with_a_tie,
        _with_a_swap,
        _tie_of_one_first_token,
        _decided_at_the_end,
        _open_circle,
    ),
    hint="`Counter(pairwise(tokens))` counts; then `min` with a key that is smaller for a larger count, "
    "and for equal counts is the pair itself.",
)


@most_frequent_pair.mistake(
    "of equally frequent pairs this is the one that comes first in the text. Take the smallest pair."
)
def first_of_a_tie(tokens):
    return Counter(pairwise(tokens)).most_common(1)[0][0]


@most_frequent_pair.mistake(
    "of equally frequent pairs this is the one that turns up last. Take the smallest pair."
)
def last_of_a_tie(tokens):
    counts = Counter(pairwise(tokens))
    return sorted(counts, key=counts.get)[-1]


@most_frequent_pair.mistake(
    "of equally frequent pairs this is the largest, as `max` of (count, pair) gives it. Take the smallest."
)
def largest_of_a_tie(tokens):
    counts = Counter(pairwise(tokens))
    return max(counts, key=lambda pair: (counts[pair], pair))


@most_frequent_pair.mistake(
    "this looks at every second pair only: (0, 1), (2, 3) … The pair (1, 2) counts, too."
)
def every_second(tokens):
    return _smallest_of_the_most_frequent(Counter(zip(tokens[::2], tokens[1::2], strict=False)))


@most_frequent_pair.mistake("(a, b) and (b, a) are counted as one. They are two different pairs.")
def order_ignored(tokens):
    return _smallest_of_the_most_frequent(Counter(tuple(sorted(pair)) for pair in pairwise(tokens)))


@most_frequent_pair.mistake("this is the rarest pair: with `min`, a count needs a minus.")
def rarest(tokens):
    counts = Counter(pairwise(tokens))
    return min(counts, key=lambda pair: (counts[pair], pair))


@most_frequent_pair.mistake(
    "these are the two most frequent *tokens*. Count the pairs of neighbours."
)
def frequent_tokens(tokens):
    counts = Counter(tokens)
    return tuple(sorted(counts, key=lambda token: (-counts[token], token))[:2])


# --- merge --------------------------------------------------------------------------------------------


def _merge(tokens: list[int], pair: Pair, new: int) -> list[int]:
    merged, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def _pair_in_text(generator: torch.Generator) -> tuple[list[int], Pair, int]:
    left, right = 1, 2
    tokens = _numbers(generator, 8, 4)
    return (
        [left, left, right, 0, *tokens, 3, right, left, 3, left, right, 0, left],
        (left, right),
        100 + _numbers(generator, 1, 50)[0],
    )


def _three_alike(generator: torch.Generator) -> tuple[list[int], Pair, int]:
    token = 5 + _numbers(generator, 1, 5)[0]
    rest = _numbers(generator, 5, 4)
    return [3, token, token, token, 0, *rest, token, token], (token, token), 200


def _of_several_digits(generator: torch.Generator) -> tuple[list[int], Pair, int]:
    """Return tokens in which the pair stands also within others, if they are joined to a string."""
    return [1, 2, 1, 2, 1, 2, 0, 11, 2, 3, 1, 22, 0, 1], (1, 2), 300


merge = Exercise(
    name="merge",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_merge,
    inputs=(_pair_in_text, _three_alike, _of_several_digits),
    hint="Go through the places with a `while`: at the pair, add `new` and go on two places; else add the "
    "token and go on one.",
)


@merge.mistake("nothing is merged. A list never equals a tuple: tuple(tokens[i : i + 2]) == pair.")
def nothing_merged(tokens, pair, new):
    return list(tokens)


@merge.mistake("the last token is added in any case: it may be merged already.")
def last_one_twice(tokens, pair, new):
    merged = _merge(tokens, pair, new)
    return [*merged, tokens[-1]] if merged[-1] == new else merged


@merge.mistake("only the first place of the pair is merged. Go on to the end.")
def only_the_first(tokens, pair, new):
    for i in range(len(tokens) - 1):
        if tuple(tokens[i : i + 2]) == pair:
            return [*tokens[:i], new, *tokens[i + 2 :]]
    return list(tokens)


@merge.mistake(
    "the right half of the pair is still there, behind the new token: go on *two* places."
)
def right_half_stays(tokens, pair, new):
    follows = [*tokens[1:], None]
    return [new if (a, b) == pair else a for a, b in zip(tokens, follows, strict=True)]


@merge.mistake(
    "three alike in a row are merged from the right. Merging begins at the left: the first two go together."
)
def from_the_right(tokens, pair, new):
    left, right = pair
    return _merge(tokens[::-1], (right, left), new)[::-1]


@merge.mistake("every token of the pair is replaced, also where the other one is not beside it.")
def each_for_itself(tokens, pair, new):
    return [new if token in pair else token for token in tokens]


@merge.mistake("the last token is lost: a loop up to len(tokens) − 1 needs what is left behind it.")
def last_one_lost(tokens, pair, new):
    merged = _merge(tokens, pair, new)
    return merged if merged[-1] == new else merged[:-1]


@merge.mistake("the pair is taken in either order. Only left before right is merged.")
def either_order(tokens, pair, new):
    merged, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) in (pair, pair[::-1]):
            merged.append(new)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


# --- encode -------------------------------------------------------------------------------------------


def _encode(tokens: list[int], merges: list[tuple[Pair, int]]) -> list[int]:
    for pair, new in merges:
        tokens = _merge(tokens, pair, new)
    return tokens


def _word_and_merges(generator: torch.Generator) -> tuple[list[int], list[tuple[Pair, int]]]:
    """Return a word in which merges get in each other's way: their order decides."""
    merges = [
        ((2, 3), 10),
        ((1, 2), 11),
        ((10, 4), 12),
        ((1, 10), 13),
        ((4, 4), 14),
        ((13, 14), 15),
        ((3, 6), 16),
    ]
    word = [1, 2, 3, 4, 0, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 5, 1, 2, 3, 6]
    return [*word, *_numbers(generator, 6, 5), 4, 4, 0, 2, 3, 6, 0, 3, 6], merges


encode = Exercise(
    name="encode",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_encode,
    inputs=_word_and_merges,
    hint="One loop over the merges, in their order; each is applied to what the ones before have left.",
)


@encode.mistake("nothing is merged: is it merge(tokens, pair, new)?")
def nothing_merged_at_all(tokens, merges):
    return list(tokens)


@encode.mistake("the text is gone through once: finish one merge before the next.")
def one_pass(tokens, merges):
    new_of, merged, i = dict(merges), [], 0
    while i < len(tokens):
        new = new_of.get(tuple(tokens[i : i + 2]))
        merged.append(tokens[i] if new is None else new)
        i += 1 if new is None else 2
    return merged


@encode.mistake(
    "the merges are not applied in their own order, but from the left of the text, or sorted. What was "
    "learned first comes first: go through the list as it is."
)
def in_text_order(tokens, merges):
    new_of = dict(merges)
    tokens = list(tokens)
    while True:
        for i in range(len(tokens) - 1):
            if tuple(tokens[i : i + 2]) in new_of:
                tokens[i : i + 2] = [new_of[tuple(tokens[i : i + 2])]]
                break
        else:
            return tokens


@encode.mistake(
    "the merges are applied from the last one to the first: what they join is not there yet."
)
def last_to_first(tokens, merges):
    return _encode(tokens, merges[::-1])


@encode.mistake("only the first merge is applied: `return` stands within the loop.")
def one_merge(tokens, merges):
    return _merge(tokens, *merges[0])


@encode.mistake(
    "what a merge gives gets lost: the next begins again with the tokens as they came. Keep it: "
    "tokens = merge(tokens, …)."
)
def each_from_the_start(tokens, merges):
    return _merge(tokens, *merges[-1])


@encode.mistake("each merge is applied once in the text. It goes wherever its pair stands.")
def each_once(tokens, merges):
    for pair, new in merges:
        tokens = only_the_first(tokens, pair, new)
    return tokens


# --- bits_of_a_byte -----------------------------------------------------------------------------------


def _bits_of_a_byte(loss: float, n_tokens: int, n_bytes: int) -> float:
    return loss * n_tokens / n_bytes / math.log(2)


def _losses(generator: torch.Generator) -> tuple[float, int, int]:
    n_tokens = 100 + _numbers(generator, 1, 100)[0]
    loss = 2 + torch.rand((), generator=generator).item()
    return loss, n_tokens, int(2.3 * n_tokens) + _numbers(generator, 1, 20)[0]


bits_of_a_byte = Exercise(
    name="bits_of_a_byte",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_bits_of_a_byte,
    inputs=_losses,
    hint="All the nats of the text, over all its bytes; and a bit is ln 2 nats.",
)


@bits_of_a_byte.mistake("these are nats: a bit is ln 2 nats, so divide by math.log(2).")
def nats_of_a_byte(loss, n_tokens, n_bytes):
    return loss * n_tokens / n_bytes


@bits_of_a_byte.mistake("nats are more than bits, not less: divide by ln 2, do not multiply.")
def times_ln_2(loss, n_tokens, n_bytes):
    return loss * n_tokens / n_bytes * math.log(2)


@bits_of_a_byte.mistake("these are bits per *token*. A token stands for several bytes.")
def bits_of_a_token(loss, n_tokens, n_bytes):
    return loss / math.log(2)


@bits_of_a_byte.mistake("tokens and bytes are swapped: there are more bytes, so each bears less.")
def swapped(loss, n_tokens, n_bytes):
    return loss * n_bytes / n_tokens / math.log(2)


@bits_of_a_byte.mistake(
    "`loss` is the mean over the tokens: times n_tokens, it is the loss of the text."
)
def mean_taken_for_sum(loss, n_tokens, n_bytes):
    return loss / n_bytes / math.log(2)


# --- questions ----------------------------------------------------------------------------------------

which_is_better = Question(
    name="which_is_better",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=3,
    options={
        "a": (
            "the one on characters: 1.6 is less than 3.4",
            "3.4 nats are for a token of 2.4 characters. Divide before you compare.",
        ),
        "b": (
            "the one on subwords: 3.4 / 2.4 = 1.42 nats for each character",
            "Both now speak of the same thing, a character of the text.",
        ),
        "c": (
            "they cannot be compared, since their tokens differ",
            "Their losses for a token cannot. Those for a byte, or here a character, can.",
        ),
        "d": (
            "the one on subwords: more tokens in the vocabulary are better",
            "A vocabulary of whole words would leave each word too rare to be learned.",
        ),
    },
    right="b",
    hint="How many nats does each need for the same sentence?",
)

EXERCISES = [most_frequent_pair, merge, encode, bits_of_a_byte, which_is_better]
