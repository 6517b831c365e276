"""Exercises of notebook 05: the transformer block."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "05_transformer_block"

# --- layer_norm ---------------------------------------------------------------------------------------


def _layer_norm(
    x: Float[Tensor, "B T C"], gamma: Float[Tensor, " C"], beta: Float[Tensor, " C"], eps: float
) -> Float[Tensor, "B T C"]:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return gamma * centred / (variance + eps).sqrt() + beta


def _places(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    B, T, C = sizes(generator, (2, 3), (4, 6), (7, 11))
    x = 1 + 0.5 * floats(generator, B, T, C)
    return (
        x,
        1 + floats(generator, C),
        floats(generator, C),
        0.1,
    )  # a large eps shows where it stands


layer_norm = Exercise(
    name="layer_norm",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=1,
    reference=_layer_norm,
    inputs=_places,
    hint="Mean and variance over the last dimension, with keepdim=True; then the formula, with ε inside "
    "the root.",
)


@layer_norm.mistake(
    "the mean and variance are taken over the places (dim=1). Each place is normalised by itself, over its "
    "C numbers: dim=-1."
)
def over_places(x, gamma, beta, eps):
    return _normal(x, gamma, beta, eps, dim=1)


@layer_norm.mistake(
    "the mean and variance are taken over the batch (dim=0). Each place is normalised by itself: dim=-1."
)
def over_batch(x, gamma, beta, eps):
    return _normal(x, gamma, beta, eps, dim=0)


@layer_norm.mistake(
    "one mean and variance is taken of each whole text (dim=(1, 2)). Each *place* has its own: dim=-1."
)
def over_each_text(x, gamma, beta, eps):
    return _normal(x, gamma, beta, eps, dim=(1, 2))


@layer_norm.mistake("ε is a fixed number. Use the one that is given: eps.")
def eps_fixed(x, gamma, beta, eps):
    return _layer_norm(x, gamma, beta, 1e-5)


@layer_norm.mistake(
    "one mean and variance is taken of everything. Each place has its own: dim=-1, keepdim=True."
)
def over_everything(x, gamma, beta, eps):
    return _normal(x, gamma, beta, eps, dim=(0, 1, 2))


@layer_norm.mistake(
    "the variance is divided by C − 1, as x.var() does. The formula divides by C: correction=0."
)
def divided_by_C_minus_1(x, gamma, beta, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return gamma * centred / (x.var(dim=-1, keepdim=True) + eps).sqrt() + beta


@layer_norm.mistake("ε stands outside of the root. It belongs to the variance, inside.")
def eps_outside(x, gamma, beta, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return gamma * centred / ((centred**2).mean(dim=-1, keepdim=True).sqrt() + eps) + beta


@layer_norm.mistake(
    "x.std() divides by C − 1, and ε is added outside of the root. Take x.var(…, correction=0), add ε, and "
    "then the root."
)
def eps_beside_std(x, gamma, beta, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return gamma * centred / (x.std(dim=-1, keepdim=True) + eps) + beta


@layer_norm.mistake("the root is missing: divide by the standard deviation, not by the variance.")
def without_root(x, gamma, beta, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return gamma * centred / ((centred**2).mean(dim=-1, keepdim=True) + eps) + beta


@layer_norm.mistake("the mean is not taken off: the numerator is x − μ.")
def not_centred(x, gamma, beta, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return gamma * x / ((centred**2).mean(dim=-1, keepdim=True) + eps).sqrt() + beta


@layer_norm.mistake("γ and β are missing.")
def without_scale_and_shift(x, gamma, beta, eps):
    return _layer_norm(x, torch.ones_like(gamma), torch.zeros_like(beta), eps)


@layer_norm.mistake("β is missing: it is added last.")
def without_shift(x, gamma, beta, eps):
    return _layer_norm(x, gamma, torch.zeros_like(beta), eps)


@layer_norm.mistake("γ is missing: it multiplies what is normalised, before β is added.")
def without_scale(x, gamma, beta, eps):
    return _layer_norm(x, torch.ones_like(gamma), beta, eps)


@layer_norm.mistake("ε is not used. It stands inside the root, beside the variance.")
def without_eps(x, gamma, beta, eps):
    return _layer_norm(x, gamma, beta, 0.0)


@layer_norm.mistake("γ multiplies β, too: it is γ · (x − μ) / √(σ² + ε), and then + β.")
def scaled_shift(x, gamma, beta, eps):
    return _layer_norm(x, gamma, gamma * beta, eps)


def _normal(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, dim: int | tuple) -> Tensor:
    centred = x - x.mean(dim=dim, keepdim=True)
    return gamma * centred / ((centred**2).mean(dim=dim, keepdim=True) + eps).sqrt() + beta


# --- only_both ----------------------------------------------------------------------------------------


def _only_all_three(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return (a + b + c - 2).relu()


def _three_signs(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    signs = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    more = int(torch.randint(1, 9, (), generator=generator))  # each case once, and some again
    chosen = torch.cat([torch.arange(8), torch.randint(8, (more,), generator=generator)])
    signs = signs[chosen[torch.randperm(8 + more, generator=generator)]]
    return signs[:, 0].clone(), signs[:, 1].clone(), signs[:, 2].clone()


only_all_three = Exercise(
    name="only_all_three",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_only_all_three,
    inputs=_three_signs,
    hint="For two signs it was (a + b − 1).relu(). How large is the sum of three when one is missing?",
)


@only_all_three.mistake("this is above 0 when any two of the three are there. Take off 2.")
def any_two(a, b, c):
    return (a + b + c - 1).relu()


@only_all_three.mistake("the bend is missing: a sum alone goes below 0. Cut that off with relu.")
def without_bend(a, b, c):
    return a + b + c - 2


@only_all_three.mistake(
    "this is 0 always: the sum of all three is 3, so 3 is too much to take off."
)
def takes_off_three(a, b, c):
    return (a + b + c - 3).relu()


@only_all_three.mistake("c is not used: this is above 0 whenever a and b are there.")
def ignores_c(a, b, c):
    return (a + b - 1).relu()


# --- block --------------------------------------------------------------------------------------------

Part = Callable[[Tensor], Tensor]


def _block(x: Tensor, attention: Part, feed_forward: Part, norm1: Part, norm2: Part) -> Tensor:
    x = x + attention(norm1(x))
    return x + feed_forward(norm2(x))


def _parts(generator: torch.Generator) -> tuple[Tensor, Part, Part, Part, Part]:
    B, T, C = sizes(generator, (2, 3), (4, 6), (7, 11))
    parts = [nn.Linear(C, C), nn.Linear(C, C), nn.LayerNorm(C), nn.LayerNorm(C)]
    with torch.no_grad():
        for part in parts:
            for parameter in part.parameters():
                parameter.copy_(0.7 * floats(generator, *parameter.shape))
    return floats(generator, B, T, C), *(part.requires_grad_(False) for part in parts)


block = Exercise(
    name="block",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_block,
    inputs=_parts,
    hint="Two lines. Each adds to x what a part makes of the *normalised* x, and the second begins with "
    "the result of the first.",
)


@block.mistake("the residuals are missing: each part's answer must be *added* to x.")
def replacing(x, attention, feed_forward, norm1, norm2):
    return feed_forward(norm2(attention(norm1(x))))


@block.mistake(
    "this is post-norm: the sums are normalised. In our block the parts read through the norm, and the "
    "stream itself is never normalised."
)
def post_norm(x, attention, feed_forward, norm1, norm2):
    x = norm1(x + attention(x))
    return norm2(x + feed_forward(x))


@block.mistake("the norms are missing: each part reads norm(x).")
def without_norms(x, attention, feed_forward, norm1, norm2):
    x = x + attention(x)
    return x + feed_forward(x)


@block.mistake(
    "what you add to is the *normalised* x. The stream goes on as it was: x + attention(norm1(x))."
)
def adds_to_the_normalised(x, attention, feed_forward, norm1, norm2):
    x = norm1(x)
    x = x + attention(x)
    x = norm2(x)
    return x + feed_forward(x)


@block.mistake(
    "the feed-forward part reads the x from before attention. It should think about what was just gathered."
)
def side_by_side(x, attention, feed_forward, norm1, norm2):
    return x + attention(norm1(x)) + feed_forward(norm2(x))


@block.mistake("the first residual is missing: attention's answer replaces x.")
def first_replaces(x, attention, feed_forward, norm1, norm2):
    x = attention(norm1(x))
    return x + feed_forward(norm2(x))


@block.mistake("the second residual is missing: the feed-forward part's answer replaces x.")
def second_replaces(x, attention, feed_forward, norm1, norm2):
    return feed_forward(norm2(x + attention(norm1(x))))


@block.mistake("the parts come in the wrong order: first gather (attention), then think about it.")
def thinks_first(x, attention, feed_forward, norm1, norm2):
    return _block(x, feed_forward, attention, norm2, norm1)


@block.mistake("the norms are swapped: norm1 belongs to attention, norm2 to feed-forward.")
def norms_swapped(x, attention, feed_forward, norm1, norm2):
    return _block(x, attention, feed_forward, norm2, norm1)


@block.mistake("norm1 is used for both parts. Feed-forward has a norm of its own: norm2.")
def one_norm_for_both(x, attention, feed_forward, norm1, norm2):
    return _block(x, attention, feed_forward, norm1, norm1)


@block.mistake(
    "feed-forward has no effect. Is its sum computed, and not returned or not given a name?"
)
def second_sum_lost(x, attention, feed_forward, norm1, norm2):
    return x + attention(norm1(x))


@block.mistake(
    "attention has no effect: the second line begins with the x from before. Is the first sum given the "
    "name x?"
)
def first_sum_lost(x, attention, feed_forward, norm1, norm2):
    return x + feed_forward(norm2(x))


@block.mistake(
    "attention's part is lost from the stream: only feed-forward reads it. Name the first sum x, and add "
    "to *that*."
)
def first_sum_only_read(x, attention, feed_forward, norm1, norm2):
    return x + feed_forward(norm2(x + attention(norm1(x))))


# --- questions ----------------------------------------------------------------------------------------

shrinking_gradient = Question(
    name="shrinking_gradient",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    options={
        "a": (
            "by 2 a layer; about 10⁻⁷ is left",
            "2²³ is about 10⁷. But read the picture: over eight layers it falls by seven powers of ten.",
        ),
        "b": (
            "by 10 a layer; about 10⁻²³ is left",
            "Seven steps, seven powers of ten. With 23 steps, 23 powers: nothing to learn from.",
        ),
        "c": (
            "by 10 a layer; about 10⁻⁸ is left",
            "The factor is right. But a layer more divides by 10 once more: 24 layers make 23 steps.",
        ),
        "d": ("not at all", "That is the line with sums. The question is about the other one."),
    },
    right="b",
    hint="Count the powers of ten between the first point and the last, and the steps between them.",
)

EXERCISES = [layer_norm, only_all_three, block, shrinking_gradient]
