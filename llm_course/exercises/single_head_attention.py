"""Exercises of notebook 03: attention with one head."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import causal_scores, floats, sizes
from llm_course.models.single_head_attention import future_mask

# --- causal_means -------------------------------------------------------------------------------------


def _causal_means(x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
    weights = torch.ones(x.shape[1], x.shape[1]).tril()
    return weights / weights.sum(dim=1, keepdim=True) @ x


causal_means = Exercise(
    name="causal_means",
    notebook="03_single_head_attention",
    minutes=5,
    difficulty=1,
    reference=_causal_means,
    inputs=lambda g: (floats(g, *sizes(g, (2, 4), (5, 8), (3, 9))),),
    hint="Steps 1 and 2: a lower triangle of ones, each row divided by its sum, times x. @ does it for "
    "every text of the batch.",
    causal=True,
)


@causal_means.mistake(
    "each place gets the mean of the *whole* text, later places included. Keep only the lower triangle."
)
def mean_of_all(x):
    return x.mean(dim=1, keepdim=True).expand_as(x)


@causal_means.mistake("these are sums. Divide each row of the weights by its own sum.")
def sums(x):
    return torch.ones(x.shape[1], x.shape[1]).tril() @ x


@causal_means.mistake(
    "all rows are divided by T. The first place has one number in its mean, the second two, and so on."
)
def divided_by_T(x):
    return torch.ones(x.shape[1], x.shape[1]).tril() / x.shape[1] @ x


@causal_means.mistake(
    "each place gets the mean of itself and all *later* places. tril keeps the lower triangle, and triu "
    "the upper."
)
def upper_triangle(x):
    weights = torch.ones(x.shape[1], x.shape[1]).triu()
    return weights / weights.sum(dim=1, keepdim=True) @ x


@causal_means.mistake(
    "the columns of your weights sum to 1, and not the rows: sum over dim=1, with keepdim=True."
)
def columns_sum_to_one(x):
    weights = torch.ones(x.shape[1], x.shape[1]).tril()
    return weights / weights.sum(dim=0, keepdim=True) @ x


@causal_means.mistake(
    "the columns are divided, and not the rows: without keepdim=True the sums are a row, and broadcasting "
    "divides column by column."
)
def without_keepdim(x):
    weights = torch.ones(x.shape[1], x.shape[1]).tril()
    return weights / weights.sum(dim=1) @ x


@causal_means.mistake("the place itself is left out: x[:, : t + 1] are the places up to t.")
def itself_left_out(x):
    weights = torch.ones(x.shape[1], x.shape[1]).tril(-1)
    return weights / weights.sum(dim=1, keepdim=True) @ x


# --- attention_weights --------------------------------------------------------------------------------


def _attention_weights(
    q: Float[Tensor, "B T D"], k: Float[Tensor, "B T D"]
) -> Float[Tensor, "B T T"]:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(future_mask(q.shape[1], q.device), -torch.inf).softmax(dim=-1)


def _queries_and_keys(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    B, T, D = sizes(generator, (2, 4), (5, 8), (9, 16))
    return floats(generator, B, T, D), floats(generator, B, T, D)


attention_weights = Exercise(
    name="attention_weights",
    notebook="03_single_head_attention",
    minutes=10,
    difficulty=2,
    reference=_attention_weights,
    inputs=_queries_and_keys,
    hint="Step 5, for a batch: scores = q @ k.transpose(-2, -1) / √D; fill the future with −inf; softmax "
    "over the last dimension.",
    causal=True,
)


@attention_weights.mistake(
    "your weights are those of a softmax over the queries (dim −2): the columns sum to 1. Each *row* must."
)
def softmax_over_queries(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-2)


@attention_weights.mistake("the mask is missing: every place sees the later ones.")
def no_mask(q, k):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


@attention_weights.mistake("the division by √D is missing.")
def no_scale(q, k):
    return causal_scores(q @ k.transpose(-2, -1)).softmax(dim=-1)


@attention_weights.mistake("the scores are divided by D. Divide by its square root.")
def divided_by_D(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / q.shape[-1]).softmax(dim=-1)


@attention_weights.mistake(
    "the scores are divided by √T, the root of the number of places. D is the last dimension of q."
)
def divided_by_root_T(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[1])).softmax(dim=-1)


@attention_weights.mistake(
    "the future is set to 0 *after* the softmax, so that the rows no longer sum to 1. Fill the scores with "
    "−inf before it."
)
def mask_after_softmax(q, k):
    return no_mask(q, k).tril()


@attention_weights.mistake(
    "the future's scores are set to 0 before the softmax, and e⁰ is 1: it still gets weight. Use −inf."
)
def filled_with_zero(q, k):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).tril().softmax(dim=-1)


@attention_weights.mistake(
    "queries and keys are swapped: row t must hold what place t looks at. It is q @ kᵀ."
)
def keys_look(q, k):
    return _attention_weights(k, q)


@attention_weights.mistake(
    "the mask hides the diagonal, too, so that the first place sees nothing (nan). A place sees itself: "
    "diagonal=1."
)
def diagonal_hidden(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), diagonal=0).softmax(
        dim=-1
    )


@attention_weights.mistake(
    "the mask is the wrong way round: each place sees itself and the *later* ones. triu(diagonal=1) is "
    "what must be hidden."
)
def past_hidden(q, k):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return causal_scores(scores.flip(-2, -1)).flip(-2, -1).softmax(dim=-1)


@attention_weights.mistake(
    "the mask is inverted: in masked_fill, True is what gets *hidden*, the future, and not what stays."
)
def mask_inverted(q, k):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~future_mask(q.shape[1], q.device), -torch.inf).softmax(dim=-1)


@attention_weights.mistake("the softmax is missing: these are scores still.")
def scores_only(q, k):
    return causal_scores(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))


# --- attend -------------------------------------------------------------------------------------------


def _attend(weights: Float[Tensor, "B T T"], v: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    return weights @ v


def _weights_and_values(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    B, T, D = sizes(generator, (2, 4), (5, 8), (9, 16))
    return causal_scores(floats(generator, B, T, T)).softmax(dim=-1), floats(generator, B, T, D)


attend = Exercise(
    name="attend",
    notebook="03_single_head_attention",
    minutes=5,
    difficulty=1,
    reference=_attend,
    inputs=_weights_and_values,
    hint="Row t of the result is the sum of weights[t, s] · v[s] over all s. Which product does that?",
)


@attend.mistake(
    "the weights are transposed: place t gets what the others pay *to* t. Rows are those who look."
)
def transposed(weights, v):
    return weights.transpose(-2, -1) @ v


@attend.mistake("every place gets the plain mean of all values. Use its row of the weights.")
def plain_mean(weights, v):
    return v.mean(dim=1, keepdim=True).expand_as(v)


@attend.mistake(
    "each value is multiplied by how much its place looks at *itself*, and nothing is gathered. Sum over "
    "all places that are looked at."
)
def only_itself(weights, v):
    return weights.diagonal(dim1=-2, dim2=-1)[..., None] * v


# --- questions ----------------------------------------------------------------------------------------

diagonal_head = Question(
    name="diagonal_head",
    notebook="03_single_head_attention",
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "the unigram model",
            "It looks at nothing. Here each place still sees its own character.",
        ),
        "b": (
            "the bigram model",
            "Each place takes its own value only, so the guess depends on the last character (and on where "
            "it stands).",
        ),
        "c": (
            "the 3-gram table",
            "That one sees two characters. For this, some weight would have to lie one place left of the "
            "diagonal.",
        ),
        "d": (
            "a model without a mask",
            "The mask hides what lies *right* of the diagonal; the diagonal itself is the present.",
        ),
    },
    right="b",
    hint="Which columns may row t use, and which one does it use?",
)

EXERCISES = [causal_means, attend, attention_weights, diagonal_head]
