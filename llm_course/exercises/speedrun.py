"""Exercises of notebook 12: the modern ideas, and who is faster."""

import bisect
import math

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "12_speedrun"

# --- root_mean_square ---------------------------------------------------------------------------------


def _root_mean_square(x: Float[Tensor, "B T C"], eps: float) -> Float[Tensor, "B T C"]:
    return x / ((x**2).mean(dim=-1, keepdim=True) + eps).sqrt()


def _places(generator: torch.Generator) -> tuple[Tensor, float]:
    B, T, C = sizes(generator, (2, 3), (4, 6), (7, 11))
    return 0.5 + floats(generator, B, T, C), 0.1  # a large eps shows where it stands


root_mean_square = Exercise(
    name="root_mean_square",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_root_mean_square,
    inputs=_places,
    hint="Square, mean over the last dimension with keepdim=True, + ε, root: divide x by it.",
)


@root_mean_square.mistake("this is LayerNorm: the mean is taken off first. RMSNorm leaves it.")
def layer_norm(x, eps):
    return _root_mean_square(x - x.mean(dim=-1, keepdim=True), eps)


@root_mean_square.mistake(
    "the standard deviation divides, which is measured from the mean. x² is not."
)
def by_deviation(x, eps):
    return x / (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()


@root_mean_square.mistake("the root is missing.")
def without_root(x, eps):
    return x / ((x**2).mean(dim=-1, keepdim=True) + eps)


@root_mean_square.mistake(
    "this divides by the length of x, the root of the *sum* of squares. Take their mean."
)
def by_norm(x, eps):
    return x / x.norm(dim=-1, keepdim=True)


@root_mean_square.mistake("the squares are added up. Take their mean.")
def by_length(x, eps):
    return x / ((x**2).sum(dim=-1, keepdim=True) + eps).sqrt()


@root_mean_square.mistake("the mean runs over the places (dim=1). Over the C numbers: dim=-1.")
def over_places(x, eps):
    return x / ((x**2).mean(dim=1, keepdim=True) + eps).sqrt()


@root_mean_square.mistake("one mean is taken of everything. Each place has its own.")
def over_everything(x, eps):
    return x / ((x**2).mean() + eps).sqrt()


@root_mean_square.mistake("ε stands outside of the root.")
def eps_outside(x, eps):
    return x / ((x**2).mean(dim=-1, keepdim=True).sqrt() + eps)


@root_mean_square.mistake("ε is not used.")
def without_eps(x, eps):
    return _root_mean_square(x, 0.0)


@root_mean_square.mistake(
    "this divides by `std`, which takes the mean off first, and divides by C − 1. Square x as it is."
)
def by_std(x, eps):
    return x / x.std(dim=-1, keepdim=True)


@root_mean_square.mistake(
    "the mean is taken before the square, so that signs cancel: square first."
)
def mean_before_square(x, eps):
    return x / (x.mean(dim=-1, keepdim=True) ** 2 + eps).sqrt()


# --- turn ---------------------------------------------------------------------------------------------


def _turn(first: Tensor, second: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = angle.cos(), angle.sin()
    return first * cos - second * sin, first * sin + second * cos


def _pairs(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    T, D = sizes(generator, (4, 6), (7, 10))
    return (
        floats(generator, T, D),
        floats(generator, T, D),
        0.3 + torch.rand(T, D, generator=generator),
    )


turn = Exercise(
    name="turn",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_turn,
    inputs=_pairs,
    hint="first · cos − second · sin, and first · sin + second · cos.",
)


@turn.mistake("the pairs are turned the other way: the signs before sin are swapped.")
def other_way(first, second, angle):
    return _turn(first, second, -angle)


@turn.mistake("both have a plus: lengths change. The first one is first · cos − second · sin.")
def both_plus(first, second, angle):
    cos, sin = angle.cos(), angle.sin()
    return first * cos + second * sin, first * sin + second * cos


@turn.mistake("sine and cosine are swapped.")
def swapped(first, second, angle):
    cos, sin = angle.sin(), angle.cos()
    return first * cos - second * sin, first * sin + second * cos


@turn.mistake(
    "the second one is made from the first one that was turned already. Both need the numbers as they were."
)
def one_after_the_other(first, second, angle):
    first, _ = _turn(first, second, angle)
    return first, first * angle.sin() + second * angle.cos()


@turn.mistake("the numbers are right, but in one tensor. Return two: first, second.")
def in_one_tensor(first, second, angle):
    return torch.stack(_turn(first, second, angle))


@turn.mistake("the two come in the wrong order.")
def wrong_order(first, second, angle):
    return _turn(first, second, angle)[::-1]


@turn.mistake("`math.cos` takes one number. A tensor has a cosine for each: angle.cos().")
def by_math(first, second, angle):
    return first * math.cos(angle) - second * math.sin(angle), first


@turn.mistake("in the second one, cosine and sine change places: first · sin + second · cos.")
def second_as_first(first, second, angle):
    cos, sin = angle.cos(), angle.sin()
    return first * cos - second * sin, first * cos + second * sin


# --- seconds_to ---------------------------------------------------------------------------------------


def _seconds_to(seconds: list[float], losses: list[float], target: float) -> float:
    for time, loss in zip(seconds, losses, strict=True):
        if loss <= target:
            return time
    return math.inf


def _curve(generator: torch.Generator) -> tuple[list[float], list[float]]:
    n = int(torch.randint(12, 18, (), generator=generator))
    seconds = (0.1 + torch.rand(n, generator=generator)).cumsum(0)
    return [0.0, *seconds.tolist()[1:]], (2.5 - torch.arange(n) / 20).tolist()


def _reached(generator: torch.Generator) -> tuple[list[float], list[float], float]:
    """Return a curve that reaches the target, loses it, and comes lower later."""
    seconds, losses = _curve(generator)
    target = losses[4]
    losses[5:10] = [target + 0.05] * 5
    return seconds, losses, target


def _never(generator: torch.Generator) -> tuple[list[float], list[float], float]:
    seconds, losses = _curve(generator)
    return seconds, losses, losses[-1] - 0.3


def _at_last(generator: torch.Generator) -> tuple[list[float], list[float], float]:
    seconds, losses = _curve(generator)
    return seconds, losses, losses[-1]


def _between(generator: torch.Generator) -> tuple[list[float], list[float], float]:
    """Return a curve that jumps over the target, comes back, and passes it again."""
    seconds, losses = _curve(generator)
    target = losses[4] - 0.01  # nearer to the one above it
    losses[7] = target + 0.05
    return seconds, losses, target


def _at_once(generator: torch.Generator) -> tuple[list[float], list[float], float]:
    """Return a curve that begins at the target, after 0 seconds."""
    seconds, losses = _curve(generator)
    losses[5] = losses[0] + 0.05
    return seconds, losses, losses[0]


seconds_to = Exercise(
    name="seconds_to",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_seconds_to,
    inputs=(_reached, _never, _between, _at_once, _at_last),
    hint="Go through both lists together; the first loss that is not above the target decides. Below the "
    "loop: return math.inf.",
)


@seconds_to.mistake("`return math.inf` stands inside the loop: it belongs below.")
def in_loop(seconds, losses, target):
    return seconds[0] if losses[0] <= target else math.inf


@seconds_to.mistake("it is right, except where the target is never reached: that is math.inf.")
def last_time_if_never(seconds, losses, target):
    return min(_seconds_to(seconds, losses, target), seconds[-1])


@seconds_to.mistake("a loss *equal* to the target has reached it: <=, and not <.")
def strictly_below(seconds, losses, target):
    return next((t for t, loss in zip(seconds, losses, strict=True) if loss < target), math.inf)


@seconds_to.mistake("this is the number of the measurement. Its seconds are wanted.")
def its_number(seconds, losses, target):
    return next((i for i, loss in enumerate(losses) if loss <= target), math.inf)


@seconds_to.mistake("this is when the loss is *least*. The first time at the target decides.")
def time_of_the_least(seconds, losses, target):
    return seconds[losses.index(min(losses))]


@seconds_to.mistake(
    "this is the time from which on the loss *stays* below the target. The first time at it decides."
)
def for_good(seconds, losses, target):
    above = [-1] + [i for i, loss in enumerate(losses) if loss > target]
    return seconds[above[-1] + 1] if above[-1] + 1 < len(seconds) else math.inf


@seconds_to.mistake(
    "this is the first time *above* the target: the comparison is the wrong way round."
)
def first_above(seconds, losses, target):
    return next((t for t, loss in zip(seconds, losses, strict=True) if loss > target), math.inf)


@seconds_to.mistake(
    "only a loss *equal* to the target counts here. One below it has reached it, too: <=, not ==."
)
def only_equal(seconds, losses, target):
    return next((t for t, loss in zip(seconds, losses, strict=True) if loss == target), math.inf)


@seconds_to.mistake(
    "this is when the loss is *nearest* to the target. It may still be above it then."
)
def nearest(seconds, losses, target):
    if min(losses) > target:
        return math.inf
    return seconds[min(range(len(losses)), key=lambda i: abs(losses[i] - target))]


@seconds_to.mistake(
    "a time of 0.0 seconds is lost: in `… or math.inf`, 0.0 counts as nothing. Ask for `is None`."
)
def zero_is_nothing(seconds, losses, target):
    return (
        next((t for t, loss in zip(seconds, losses, strict=True) if loss <= target), None)
        or math.inf
    )


@seconds_to.mistake("the first measurement is left out. It may be at the target already.")
def without_the_first(seconds, losses, target):
    return _seconds_to(seconds[1:], losses[1:], target)


@seconds_to.mistake(
    "this searches as if the losses only fell. They may rise again: go through them one by one."
)
def by_halving(seconds, losses, target):
    i = bisect.bisect_left(losses, -target, key=lambda loss: -loss)
    return seconds[i] if i < len(seconds) else math.inf


# --- questions ----------------------------------------------------------------------------------------

does_it_pay = Question(
    name="does_it_pay",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "yes: it ends lower after as many steps",
            "It was given a third more time for these steps. What would the other have done with that?",
        ),
        "b": (
            "no: a slower step is a loss of time",
            "A slower step pays if it takes fewer of them: Muon's are slower than AdamW's, too.",
        ),
        "c": (
            "it must be given three quarters of the steps, and compared again, with several seeds",
            "Equal time is what counts; and with one seed each, 0.02 may be chance.",
        ),
        "d": (
            "yes, if it is in many papers",
            "Papers measure at their sizes. What pays there may cost here, and the other way round.",
        ),
    },
    right="c",
    hint="What is short: steps, or seconds?",
)

EXERCISES = [root_mean_square, turn, seconds_to, does_it_pay]
