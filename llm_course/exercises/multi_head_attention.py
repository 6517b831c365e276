"""Exercises of notebook 04: many heads."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import causal_scores, floats, sizes

NOTEBOOK = "04_multi_head_attention"

# --- split_heads --------------------------------------------------------------------------------------


def _split_heads(x: Float[Tensor, "B T C"], n_head: int) -> Float[Tensor, "B H T D"]:
    return x.unflatten(-1, (n_head, -1)).transpose(1, 2)


def _places_and_heads(generator: torch.Generator) -> tuple[Tensor, int]:
    B, T, H, D = sizes(generator, (2, 3), (5, 8), (3, 4), (4, 9))
    return floats(generator, B, T, H * D), H


split_heads = Exercise(
    name="split_heads",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_split_heads,
    inputs=_places_and_heads,
    hint="Two moves: unflatten the last dimension into (n_head, D), then swap heads and places.",
)


@split_heads.mistake(
    "the shape is right, and the numbers are in the wrong places: reshape (or view) deals them out row by "
    "row. Cut the *last* dimension first, then transpose."
)
def reshaped_at_once(x, n_head):
    B, T, C = x.shape
    return x.reshape(B, n_head, T, C // n_head)


@split_heads.mistake(
    "heads and places still stand in the order (B, T, H, D). Swap dimensions 1 and 2, so that attention "
    "compares places within a head."
)
def not_transposed(x, n_head):
    return x.unflatten(-1, (n_head, -1))


@split_heads.mistake(
    "each head gets every n_head-th number, and not D numbers in a row: unflatten into (n_head, D), in "
    "this order."
)
def interleaved(x, n_head):
    return x.unflatten(-1, (-1, n_head)).permute(0, 3, 1, 2)


@split_heads.mistake("places and width are swapped: the last two dimensions must be (T, D).")
def width_before_places(x, n_head):
    return x.unflatten(-1, (n_head, -1)).permute(0, 2, 3, 1)


# --- merge_heads --------------------------------------------------------------------------------------


def _merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T C"]:
    return x.transpose(1, 2).flatten(2)


def _heads(generator: torch.Generator) -> tuple[Tensor]:
    return (floats(generator, *sizes(generator, (2, 3), (3, 4), (5, 8), (4, 9))),)


merge_heads = Exercise(
    name="merge_heads",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_merge_heads,
    inputs=_heads,
    hint="The way back: swap heads and places, then flatten the last two dimensions into one.",
)


@merge_heads.mistake(
    "the numbers are dealt out row by row, so that places and heads are mixed up. Transpose first, then "
    "flatten."
)
def flattened_without_transpose(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


@merge_heads.mistake(
    "the heads' numbers are interleaved: first all heads' first number, then all heads' second. The D "
    "numbers of a head belong side by side."
)
def interleaved_back(x):
    return x.permute(0, 2, 3, 1).flatten(2)


@merge_heads.mistake(
    "the heads are added up. Then nobody can tell them apart any more: lay them side by side."
)
def added_up(x):
    return x.sum(dim=1)


@merge_heads.mistake("this is the mean of the heads. Lay them side by side.")
def averaged(x):
    return x.mean(dim=1)


# --- head_weights -------------------------------------------------------------------------------------


def _head_weights(
    q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H T D"]
) -> Float[Tensor, "B H T T"]:
    T, D = q.shape[-2:]
    is_future = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return scores.masked_fill(is_future, -torch.inf).softmax(dim=-1)


def _queries_and_keys(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = sizes(generator, (2, 3), (3, 4), (5, 8), (9, 16))
    return floats(generator, *shape), floats(generator, *shape)


head_weights = Exercise(
    name="head_weights",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_head_weights,
    inputs=_queries_and_keys,
    hint="As for one head: @ and transpose(-2, -1) work on the last two dimensions, and softmax runs over "
    "the last. D is what a single head has.",
)


@head_weights.mistake(
    "the scores are divided by √C, the root of the whole width H · D. A score is a sum of D products only."
)
def divided_by_root_C(q, k):
    C = q.shape[1] * q.shape[-1]
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(C)).softmax(dim=-1)


@head_weights.mistake("the division by √D is missing.")
def not_divided(q, k):
    return causal_scores(q @ k.transpose(-2, -1)).softmax(dim=-1)


@head_weights.mistake(
    "the mask is inverted: in masked_fill, True is what gets *hidden*, the future, and not what stays."
)
def mask_inverted(q, k):
    is_past = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril()
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(is_past, -torch.inf).softmax(dim=-1)


@head_weights.mistake("the mask is missing: every place sees the later ones.")
def without_mask(q, k):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


@head_weights.mistake(
    "softmax runs over the heads (dim=1), which makes them compete. Each head's *rows* must sum to 1: "
    "dim=-1."
)
def softmax_over_heads(q, k):
    scores = causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    return scores.softmax(dim=1)


@head_weights.mistake(
    "softmax runs over the queries (dim=-2): the columns sum to 1, and the rows must."
)
def softmax_over_places_that_look(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-2)


@head_weights.mistake("the scores are divided by D. Divide by its square root.")
def divided_by_D(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / q.shape[-1]).softmax(dim=-1)


@head_weights.mistake(
    "the scores are divided by √T, the root of the number of places. D is the last dimension of q."
)
def divided_by_root_T(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-2])).softmax(dim=-1)


@head_weights.mistake(
    "queries and keys are swapped: row t must hold what place t looks at. It is q @ kᵀ."
)
def keys_look(q, k):
    return _head_weights(k, q)


@head_weights.mistake(
    "the future is set to 0 *after* the softmax, so that the rows no longer sum to 1. Fill the scores with "
    "−inf before it."
)
def mask_after_softmax(q, k):
    return without_mask(q, k).tril()


@head_weights.mistake(
    "the future's scores are set to 0 before the softmax, and e⁰ is 1: it still gets weight. Use −inf."
)
def filled_with_zero(q, k):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).tril().softmax(dim=-1)


@head_weights.mistake(
    "the mask hides the diagonal, too, so that the first place sees nothing (nan). A place sees itself: "
    "diagonal=1."
)
def diagonal_hidden(q, k):
    scores = causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), diagonal=0)
    return scores.softmax(dim=-1)


@head_weights.mistake(
    "the mask is the wrong way round: each place sees itself and the *later* ones. triu(diagonal=1) is "
    "what must be hidden."
)
def past_hidden(q, k):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return causal_scores(scores.flip(-2, -1)).flip(-2, -1).softmax(dim=-1)


@head_weights.mistake("the softmax is missing: these are scores still.")
def scores_only(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))


# --- questions ----------------------------------------------------------------------------------------

first_column = Question(
    name="first_column",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "it tells every place how the text begins, so the guesses depend on it strongly",
            "Every place gets the first character's value, that much is right. But it is the same at every "
            "place, and so tells nothing about what comes next *there*.",
        ),
        "b": (
            "nearly nothing: every place gets the same value",
            "A sum to which everyone adds the same changes little. Such heads are common: weights must sum "
            "to 1, so a head with nothing to look for has to look somewhere.",
        ),
        "c": (
            "it averages the whole text",
            "For a mean of all, each row would spread its weight evenly over its columns.",
        ),
        "d": (
            "it copies the character before",
            "For that, the weight would lie one place left of the diagonal.",
        ),
    },
    right="b",
    hint="What does row 5 hand over, and what row 20?",
)

EXERCISES = [split_heads, merge_heads, head_weights, first_column]
