"""Exercises of notebook 08: dropout, clipping, early stopping, and differences over seeds."""

import math
import statistics

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "08_regularization"

# --- drop ---------------------------------------------------------------------------------------------


def _drop(x: Float[Tensor, "..."], draws: Float[Tensor, "..."], p: float) -> Float[Tensor, "..."]:
    return x * (draws >= p) / (1 - p)


def _numbers_and_draws(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    shape = sizes(generator, (2, 3), (4, 6), (7, 11))
    sixteenths = int(torch.randint(3, 7, (), generator=generator))  # exact in every precision
    draws = torch.rand(*shape, generator=generator)
    return 0.5 + floats(generator, *shape), draws, sixteenths / 16


def _equal_to_p(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    x, draws, p = _numbers_and_draws(generator)
    draws[:, 1] = p
    return x, draws, p


drop = Exercise(
    name="drop",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_drop,
    inputs=(_numbers_and_draws, _equal_to_p),
    hint="(draws >= p) is True where a number stays, and True counts as 1: multiply x by it. Then divide "
    "by 1 − p, in brackets.",
)


@drop.mistake("the right ones are dropped, but those that stay are not divided by 1 − p.")
def not_divided(x, draws, p):
    return x * (draws >= p)


@drop.mistake("those that stay are *multiplied* by 1 − p: they shrink. Divide, so that they grow.")
def multiplied_by_the_rest(x, draws, p):
    return x * (draws >= p) * (1 - p)


@drop.mistake("those that stay are divided by p. The share that stays is 1 − p.")
def divided_by_p(x, draws, p):
    return x * (draws >= p) / p


@drop.mistake("those with draws < p must go. Here they stay, and all others go.")
def others_stay(x, draws, p):
    return x * (draws < p) / (1 - p)


@drop.mistake("two things: draws < p must go, not stay; and what stays is divided by 1 − p.")
def others_stay_not_divided(x, draws, p):
    return x * (draws < p)


@drop.mistake("here p is the chance to *stay*. It is the chance to be dropped.")
def p_is_the_chance_to_stay(x, draws, p):
    return x * (draws < p) / p


@drop.mistake("this drops where draws >= 1 − p: as many, but others. Asked for is draws < p.")
def upper_end_dropped(x, draws, p):
    return x * (draws < 1 - p) / (1 - p)


@drop.mistake("a draw *equal* to p must stay. Only those below p go, so that p = 0 drops none.")
def equal_dropped(x, draws, p):
    return x * (draws > p) / (1 - p)


@drop.mistake("all is divided, nothing dropped. masked_fill returns a *new* tensor: is it used?")
def nothing_dropped(x, draws, p):
    return x / (1 - p)


@drop.mistake("x[…] picks out those that stay: the shape is lost. Multiply by 0 or 1 instead.")
def picked_out(x, draws, p):
    return x[draws >= p] / (1 - p)


@drop.mistake("the brackets are missing: Python reads `… / 1 - p` as (… / 1) − p. Write / (1 - p).")
def divided_by_one(x, draws, p):
    return x * (draws >= p) / 1 - p


@drop.mistake("brackets are missing: Python compares last of all. Write x * (draws >= p).")
def compared_last(x, draws, p):
    return x * draws >= p / (1 - p)


@drop.mistake("this divides by the share that happened to stay. Divide by 1 − p, always the same.")
def divided_by_the_share(x, draws, p):
    return x * (draws >= p) / (draws >= p).float().mean()


@drop.mistake("the first draw of a row decides for the whole row. Each number has its own draw.")
def one_draw_a_row(x, draws, p):
    return _drop(x, draws[..., :1], p)


# --- clip ---------------------------------------------------------------------------------------------


def _clip(gradients: list[Float[Tensor, "..."]], max_norm: float) -> list[Float[Tensor, "..."]]:
    length = sum((g**2).sum() for g in gradients).sqrt()
    factor = min(1.0, max_norm / length)
    return [g * factor for g in gradients]


def _length(gradients):
    return sum((g**2).sum() for g in gradients).sqrt()


def _times(gradients, factor):
    return [g * factor for g in gradients]


def _of_length(generator: torch.Generator, length: float) -> list[Tensor]:
    """Return a matrix, a bias and a matrix: the first is the longest, the last next."""
    A, B, C = sizes(generator, (3, 5), (6, 9), (10, 13))
    gradients = [floats(generator, *shape) for shape in ((A, B), (B,), (C, A))]
    shares = torch.tensor([0.75, 0.3, 0.59]) + 0.02 * torch.rand(3, generator=generator)
    gradients = [g * share / g.norm() for g, share in zip(gradients, shares, strict=True)]
    return _times(gradients, length / _length(gradients))


def _between(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _too_long(generator: torch.Generator) -> tuple[list[Tensor], float]:
    length = _between(generator, 2.0, 4.0)
    return _of_length(generator, length), length * _between(generator, 0.35, 0.5)


def _short_enough(generator: torch.Generator) -> tuple[list[Tensor], float]:
    """Return a limit above the length, but below its square and below the sum of the tensors' lengths."""
    length = _between(generator, 1.7, 2.5)
    return _of_length(generator, length), length * _between(generator, 1.1, 1.4)


def _far_too_long(generator: torch.Generator) -> tuple[list[Tensor], float]:
    length = _between(generator, 4.0, 8.0)
    return _of_length(generator, length), length * _between(generator, 0.03, 0.05)


def _very_short(generator: torch.Generator) -> tuple[list[Tensor], float]:
    return _of_length(generator, _between(generator, 0.3, 0.6)), _between(generator, 1.0, 1.5)


clip = Exercise(
    name="clip",
    notebook=NOTEBOOK,
    minutes=8,
    difficulty=2,
    reference=_clip,
    inputs=(_too_long, _short_enough, _far_too_long, _very_short),
    hint="First one length for all tensors: (g**2).sum() of each, added up, then the root. The factor is "
    "max_norm / length, but never above 1. Multiply every tensor by it, and return them in a list.",
)


@clip.mistake("each tensor is clipped by itself. All together have one length, and one factor.")
def each_by_itself(gradients, max_norm):
    return [_clip([g], max_norm)[0] for g in gradients]


@clip.mistake("every number is cut off by itself, which turns the step. Scale all by one factor.")
def every_number(gradients, max_norm):
    return [g.clamp(-max_norm, max_norm) for g in gradients]


@clip.mistake("all come to the length max_norm: short ones *grow*. Leave those as they are.")
def short_ones_grow(gradients, max_norm):
    return _times(gradients, max_norm / _length(gradients))


@clip.mistake("the tensors' lengths are added up. Add up all *squares*, and take one root after.")
def sum_of_lengths(gradients, max_norm):
    return _times(gradients, min(1.0, max_norm / sum(g.norm() for g in gradients)))


@clip.mistake("the root is missing: this takes the sum of the squares for the length.")
def squared_length(gradients, max_norm):
    return _times(gradients, min(1.0, max_norm / _length(gradients) ** 2))


@clip.mistake("the factor is right, but max_norm is compared with the length *squared*.")
def square_compared(gradients, max_norm):
    length = _length(gradients)
    return _times(gradients, max_norm / length if length**2 > max_norm else 1.0)


@clip.mistake("the root of the *mean* of the squares is taken for the length. Take their sum.")
def mean_of_squares(gradients, max_norm):
    count = sum(g.numel() for g in gradients)
    return _times(gradients, min(1.0, max_norm * math.sqrt(count) / _length(gradients)))


@clip.mistake("what is too long comes to length 1. It should come to max_norm.")
def to_length_one(gradients, max_norm):
    length = _length(gradients)
    return _times(gradients, 1 / length if length > max_norm else 1.0)


@clip.mistake("all are divided by the length and come to 1. max_norm is not used.")
def always_to_length_one(gradients, max_norm):
    return _times(gradients, 1 / _length(gradients))


@clip.mistake("long ones stay and short ones grow: max in place of min, or the wrong comparison.")
def the_wrong_ones(gradients, max_norm):
    return _times(gradients, max(1.0, max_norm / _length(gradients)))


@clip.mistake("the factor is length / max_norm: too long ones grow. Turn it over.")
def turned_over(gradients, max_norm):
    return _times(gradients, max(1.0, _length(gradients) / max_norm))


@clip.mistake("only the last tensor counts. Does the loop set the sum anew each time? Add to it.")
def last_one_counts(gradients, max_norm):
    return _times(gradients, min(1.0, max_norm / gradients[-1].norm()))


@clip.mistake("the numbers are right, but in one tensor. Return a list with the shapes that came.")
def in_one_tensor(gradients, max_norm):
    return torch.cat([g.flatten() for g in _clip(gradients, max_norm)])


@clip.mistake("nothing is scaled. In a loop, g = g * factor leaves the list alone: make a new one.")
def as_they_came(gradients, max_norm):
    return list(gradients)


@clip.mistake("torch.stack needs tensors of one shape. Square and sum each by itself, and add up.")
def stacked(gradients, max_norm):
    return _times(gradients, min(1.0, max_norm / torch.stack(gradients).norm()))


# --- best_before_stop ---------------------------------------------------------------------------------


def _best_before_stop(losses: list[float], patience: int) -> int:
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best == patience:
            break
    return best


def _stop(losses, patience):
    """Return the number of the evaluation after which training stops."""
    return min(_best_before_stop(losses, patience) + patience, len(losses) - 1)


def _losses(generator: torch.Generator, path: str) -> list[float]:
    """Return losses that go b: to a new best, t: to the best again, u: up, d: down, but not to the best."""
    losses = [_between(generator, 3.0, 4.0)]
    for letter in path:
        last, best, size = losses[-1], min(losses), _between(generator, 0.05, 0.1)
        to = {"b": best - size, "t": best, "u": last + size, "d": (last + best) / 2}
        losses.append(to[letter])
    return losses


def _path(pattern):
    """Return a way to draw: P in the pattern is patience, b a few new bests, the rest as in _losses."""

    def draw(generator: torch.Generator) -> tuple[list[float], int]:
        patience = int(torch.randint(3, 6, (), generator=generator))
        first = "b" * int(torch.randint(2, 5, (), generator=generator))
        return _losses(generator, pattern(patience, first)), patience

    return draw


best_before_stop = Exercise(
    name="best_before_stop",
    notebook=NOTEBOOK,
    minutes=8,
    difficulty=2,
    reference=_best_before_stop,
    inputs=(
        _path(lambda P, b: b + "u" * (P - 1) + "bub" + "ud" + "u" * (P - 2) + b + "u"),
        _path(lambda P, b: b + "u" * (P + 1) + b + "u"),
        _path(lambda P, b: b + "u" * (P - 1) + "t" + b + "u" * (P + 2)),
        _path(lambda P, b: b + "ubub" + "ud" + "u" * (P - 3)),  # it never stops
        _path(lambda P, b: "ut" + "u" * (P - 2) + b + "u"),  # the first is the best
        _path(lambda P, b: b + "ut" + "u" * (P - 1) + "d" + b),
        _path(lambda P, b: "u" * (P - 1) + "bu"),  # the first uses up no patience
        _path(lambda P, b: b + "ud" * P + b),
    ),
    hint="Keep the number of the best so far. In a loop with enumerate: a loss below losses[best] is the "
    "new best; otherwise, where i − best has reached patience, break. Return best below the loop.",
)


@best_before_stop.mistake("this is where training stops. The best evaluation until then is wanted.")
def where_it_stops(losses, patience):
    return _stop(losses, patience)


@best_before_stop.mistake("the best of *all*: what would come after the stop is never known.")
def best_of_all(losses, patience):
    return losses.index(min(losses))


@best_before_stop.mistake("it stops at the first one without a new best, not after `patience`.")
def first_rise(losses, patience):
    return _best_before_stop(losses, 1)


@best_before_stop.mistake("this is the best loss itself. Its number is wanted, from 0.")
def its_loss(losses, patience):
    return losses[_best_before_stop(losses, patience)]


@best_before_stop.mistake("this counts from 1. Python counts from 0, as enumerate does.")
def from_one(losses, patience):
    return _best_before_stop(losses, patience) + 1


@best_before_stop.mistake("it waits one evaluation too long: patience + 1. Is > meant to be >=?")
def one_too_patient(losses, patience):
    return _best_before_stop(losses, patience + 1)


@best_before_stop.mistake("it stops one evaluation early: patience − 1. Where does counting begin?")
def one_too_impatient(losses, patience):
    return _best_before_stop(losses, patience - 1)


@best_before_stop.mistake("the first loss uses up patience here. Let the best begin at math.inf.")
def first_counts(losses, patience):
    return max(0, _best_before_stop(losses[:1] + losses, patience) - 1)


@best_before_stop.mistake("this is the last evaluation of the list.")
def last_of_all(losses, patience):
    return len(losses) - 1


@best_before_stop.mistake("those without a new best are counted in all, and not in a row.")
def counted_in_all(losses, patience):
    without = [i for i in range(1, len(losses)) if losses[i] >= min(losses[:i])]
    end = without[patience - 1] if len(without) >= patience else len(losses)
    return losses.index(min(losses[:end]))


@best_before_stop.mistake("it stays at 0. Does the best *loss* begin at 0? No loss is below that.")
def always_the_first(losses, patience):
    return 0


@best_before_stop.mistake("this is one too low. enumerate(losses[1:]) needs start=1, or go from 0.")
def one_too_low(losses, patience):
    return max(0, _best_before_stop(losses, patience) - 1)


def _kept(losses, patience, sets_back, is_best=lambda loss, best, before: loss < best):
    """Go through the losses. Both conditions get a loss, the best one and the one before."""
    best = waited = 0
    for i in range(1, len(losses)):
        three = losses[i], losses[best], losses[i - 1]
        waited = 0 if sets_back(*three) else waited + 1
        best = i if is_best(*three) else best
        if waited == patience:
            break
    return best


def _falls(loss, best, before):
    return loss < before


@best_before_stop.mistake("a tie counts as a new best here. Only a *lower* loss is one: <, not <=.")
def ties_are_best(losses, patience):  # each is taken for a hair lower than the one before
    return _best_before_stop([loss - 1e-9 * i for i, loss in enumerate(losses)], patience)


@best_before_stop.mistake("a tie sets the count back to 0. It is no new best: it uses up patience.")
def ties_set_back(losses, patience):
    return _kept(losses, patience, lambda loss, best, before: loss <= best)


@best_before_stop.mistake("a fall sets the count back to 0. Only a new best does, not any fall.")
def falls_set_back(losses, patience):
    return _kept(losses, patience, _falls)


@best_before_stop.mistake("each loss is compared with the one *before* it, not with the best.")
def compared_with_before(losses, patience):
    return _kept(losses, patience, _falls, _falls)


@best_before_stop.mistake("wrong where the list ends before patience does: keep the best's number.")
def counted_back(losses, patience):
    return _stop(losses, patience) - patience


# --- paired -------------------------------------------------------------------------------------------


def _paired(with_it: list[float], without_it: list[float]) -> tuple[float, float]:
    differences = [a - b for a, b in zip(with_it, without_it, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.mean(differences), error


def _over_seeds(generator: torch.Generator) -> tuple[list[float], list[float]]:
    """Return losses that differ more between seeds than between the lists; one difference is positive."""
    n = int(torch.randint(4, 8, (), generator=generator))
    without_it = 1.8 + 0.05 * floats(generator, n)
    differences = -0.03 - 0.03 * torch.rand(n, generator=generator)
    differences[int(torch.randint(n, (), generator=generator))] = _between(generator, 0.005, 0.02)
    return (without_it + differences).tolist(), without_it.tolist()


paired = Exercise(
    name="paired",
    notebook=NOTEBOOK,
    minutes=8,
    difficulty=2,
    reference=_paired,
    inputs=(_over_seeds, lambda g: _over_seeds(g)[::-1]),
    hint="First one difference a seed, with − without (zip goes through both lists together). Of these "
    "take statistics.mean, and statistics.stdev divided by math.sqrt of their number.",
)


@paired.mistake("the difference is the other way round: with − without, below 0 where it helps.")
def other_way_round(with_it, without_it):
    return _paired(without_it, with_it)


@paired.mistake("this is the spread of single differences. For that of their mean, divide by √n.")
def not_divided_by_root(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return mean, error * math.sqrt(len(with_it))


@paired.mistake("the standard deviation is divided by n. Divide by its root, √n.")
def divided_by_n(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return mean, error / math.sqrt(len(with_it))


@paired.mistake(
    "the standard deviation takes n, and not n − 1: too small for so few seeds. statistics.stdev and "
    "torch.std take n − 1; statistics.pstdev and np.std do not."
)
def n_in_the_deviation(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return mean, error * math.sqrt(1 - 1 / len(with_it))


@paired.mistake("two things: the standard deviation needs n − 1; and it is not divided by √n.")
def n_not_divided(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return mean, error * math.sqrt(len(with_it) - 1)


@paired.mistake("this is the *square* of the error: variance divided by n. Take the root.")
def squared_error(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return mean, error**2


@paired.mistake("this is the error of two unrelated lists. Take the spread of the *differences*.")
def unpaired(with_it, without_it):
    mean, _ = _paired(with_it, without_it)
    variances = statistics.variance(with_it) + statistics.variance(without_it)
    return mean, math.sqrt(variances / len(with_it))


@paired.mistake("the sign of the mean is lost. It tells whether it helps (−) or does harm (+).")
def mean_without_sign(with_it, without_it):
    mean, error = _paired(with_it, without_it)
    return abs(mean), error


@paired.mistake("this is the mean alone. Return two things: (mean, error).")
def mean_alone(with_it, without_it):
    return _paired(with_it, without_it)[0]


@paired.mistake("the two come in the wrong order: first the mean, then its error.")
def error_first(with_it, without_it):
    return _paired(with_it, without_it)[::-1]


@paired.mistake("a list cannot be subtracted from a list. Go through both together, with zip.")
def lists_subtracted(with_it, without_it):
    return statistics.mean(with_it - without_it), 0.0


# --- questions ----------------------------------------------------------------------------------------

higher_than_validation = Question(
    name="higher_than_validation",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "the model has learned the validation text by heart",
            "It never trains on that text. And what it learns by heart is the training text, whose loss "
            "would then be the *lower* one.",
        ),
        "b": (
            "the loss of the batch was computed with dropout on, and evaluate switches it off",
            "With 0.3 of the numbers missing, the model predicts worse. Evaluate both parts without "
            "dropout to compare them.",
        ),
        "c": (
            "the validation text is easier than the training text",
            "That can be, but then it would be so without dropout, too. What differs here at any rate?",
        ),
        "d": (
            "there is a bug: a training loss can never be the higher one",
            "It can: the two are not measured in the same way. One of them is hampered.",
        ),
    },
    right="b",
    hint="Besides the text, what differs between the two measurements?",
)

EXERCISES = [drop, clip, best_before_stop, paired, higher_than_validation]
