"""Exercises of notebook 09: what a budget pays, the law that small runs follow, and where it leads."""

import math

import numpy as np
import torch

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "09_scaling"

# --- steps_for ----------------------------------------------------------------------------------------


def _steps_for(flops: float, n_parameters: int, batch_size: int, context_length: int) -> int:
    one_step = 6 * n_parameters * batch_size * context_length
    return int(flops // one_step)


def _budget(generator: torch.Generator, steps: int, rest: float) -> tuple[float, int, int, int]:
    """Return a budget for this many steps, and a rest that pays less than one more."""
    N, B, T = sizes(generator, (60_000, 900_000), (12, 30), (40, 130))
    tokens = int((steps + rest) * B * T)
    return 6.0 * N * tokens + 3.0 * N, N, B, T  # half a token more: rounding always shows


def _little_left(generator: torch.Generator) -> tuple[float, int, int, int]:
    steps = int(torch.randint(150, 900, (), generator=generator))
    return _budget(generator, steps, 0.2 + 0.2 * torch.rand((), generator=generator).item())


def _much_left(generator: torch.Generator) -> tuple[float, int, int, int]:
    steps = int(torch.randint(150, 900, (), generator=generator))
    return _budget(generator, steps, 0.7 + 0.2 * torch.rand((), generator=generator).item())


def _too_little(generator: torch.Generator) -> tuple[float, int, int, int]:
    return _budget(generator, 0, 0.4 + 0.08 * torch.rand((), generator=generator).item())


steps_for = Exercise(
    name="steps_for",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_steps_for,
    inputs=(_much_left, _little_left, _too_little),
    hint="A step sees batch_size · context_length tokens, and each costs 6 · N. How often does that fit "
    "into the budget? int(…) cuts off what is behind the point.",
)


@steps_for.mistake("half a step cannot be taken: round down, with int(…).")
def not_rounded(flops, n_parameters, batch_size, context_length):
    return flops / (6 * n_parameters * batch_size * context_length)


@steps_for.mistake(
    "it is rounded to the *nearest* whole number, which may cost more than there is. Round down: int(…)."
)
def rounded_to_nearest(flops, n_parameters, batch_size, context_length):
    return round(not_rounded(flops, n_parameters, batch_size, context_length))


@steps_for.mistake(
    "it is rounded *up*: the budget does not pay the last step. Round down, with int(…)."
)
def rounded_up(flops, n_parameters, batch_size, context_length):
    return math.ceil(not_rounded(flops, n_parameters, batch_size, context_length))


@steps_for.mistake(
    "2 · N a token is the forward pass alone. Backward takes twice that: 6 · N together."
)
def forward_alone(flops, n_parameters, batch_size, context_length):
    return int(flops // (2 * n_parameters * batch_size * context_length))


@steps_for.mistake(
    "4 · N a token is backward alone, or backward taken to cost no more than forward. 2 · N and 4 · N make "
    "6 · N."
)
def backward_alone(flops, n_parameters, batch_size, context_length):
    return int(flops // (4 * n_parameters * batch_size * context_length))


@steps_for.mistake(
    "3 · N a token counts one operation where a parameter takes two: it multiplies and adds. 6 · N."
)
def three(flops, n_parameters, batch_size, context_length):
    return int(flops // (3 * n_parameters * batch_size * context_length))


@steps_for.mistake("the 6 is missing: a token costs 6 · N operations.")
def without_six(flops, n_parameters, batch_size, context_length):
    return int(flops // (n_parameters * batch_size * context_length))


@steps_for.mistake(
    "these are *tokens*. A step takes batch_size · context_length of them: divide by both."
)
def tokens_paid(flops, n_parameters, batch_size, context_length):
    return int(flops // (6 * n_parameters))


@steps_for.mistake(
    "these are *tokens*, and not whole ones. Divide by batch_size · context_length too, and round down."
)
def tokens_not_rounded(flops, n_parameters, batch_size, context_length):
    return flops / (6 * n_parameters)


@steps_for.mistake(
    "the window is missing: a step sees batch_size windows of context_length tokens."
)
def window_forgotten(flops, n_parameters, batch_size, context_length):
    return int(flops // (6 * n_parameters * batch_size))


@steps_for.mistake("the batch is missing: a step sees batch_size windows, and not one.")
def batch_forgotten(flops, n_parameters, batch_size, context_length):
    return int(flops // (6 * n_parameters * context_length))


@steps_for.mistake(
    "brackets are missing: `a / 6 * N` divides by 6 alone, and multiplies by N. Write a / (6 * N * …)."
)
def without_brackets(flops, n_parameters, batch_size, context_length):
    return flops / 6 * n_parameters * batch_size * context_length


@steps_for.mistake("this is what *one* step costs. How often does it fit into the budget?")
def cost_of_a_step(flops, n_parameters, batch_size, context_length):
    return 6 * n_parameters * batch_size * context_length


@steps_for.mistake("a budget for less than one step pays none: 0, and not 1.")
def at_least_one(flops, n_parameters, batch_size, context_length):
    return max(1, _steps_for(flops, n_parameters, batch_size, context_length))


# --- power_law ----------------------------------------------------------------------------------------


def _power_law(xs: list[float], ys: list[float]) -> tuple[float, float]:
    slope, intercept = np.polyfit(np.log(xs), np.log(ys), 1)
    return math.exp(intercept), -slope


def _measured_law(generator: torch.Generator, falls: int = 1) -> tuple[list[float], list[float]]:
    """Return points near a power law, with x on both sides of 1, where float32 loses least."""
    n = int(torch.randint(6, 10, (), generator=generator))
    a, b = torch.rand(2, generator=generator) * torch.tensor([5.0, 0.4]) + torch.tensor([3.0, 0.2])
    x = -1.5 + (0.3 + 0.6 * torch.rand(n, generator=generator)).cumsum(0)
    y = a.log() - falls * b * x + 0.1 * floats(generator, n)
    return x.exp().tolist(), y.exp().tolist()


power_law = Exercise(
    name="power_law",
    notebook=NOTEBOOK,
    minutes=8,
    difficulty=2,
    reference=_power_law,
    inputs=(_measured_law, lambda g: _measured_law(g, falls=-1)),
    hint="In the logarithms it is a straight line: np.polyfit(np.log(xs), np.log(ys), 1) returns its slope "
    "and its height at 0, in this order. What have they to do with b and with a?",
)


@power_law.mistake("b has the wrong sign: the slope of the line is −b.")
def slope_for_b(xs, ys):
    a, b = _power_law(xs, ys)
    return a, -b


@power_law.mistake("the first number is ln a. exp(…) leads back to a.")
def log_of_a(xs, ys):
    a, b = _power_law(xs, ys)
    return math.log(a), b


@power_law.mistake(
    "these are ln a and −b, as the line has them. Return exp(ln a), and b with its sign turned."
)
def raw_line(xs, ys):
    a, b = _power_law(xs, ys)
    return math.log(a), -b


@power_law.mistake(
    "this is what polyfit returns: the slope, which is −b, and then ln a. Make b and a of them, and return "
    "(a, b)."
)
def as_polyfit_returns(xs, ys):
    return raw_line(xs, ys)[::-1]


@power_law.mistake("a and b are swapped: return (a, b).")
def a_and_b_swapped(xs, ys):
    return _power_law(xs, ys)[::-1]


@power_law.mistake("a and b are swapped, and b has the wrong sign: return (a, b), with b = −slope.")
def swapped_and_negative(xs, ys):
    return slope_for_b(xs, ys)[::-1]


@power_law.mistake(
    "slope and height are mixed up: np.polyfit returns the highest power first, which is the slope."
)
def polyfit_read_backwards(xs, ys):
    intercept, slope = np.polyfit(np.log(xs), np.log(ys), 1)
    return math.exp(intercept), -slope


@power_law.mistake(
    "the line goes through the numbers themselves. It is straight in their *logarithms*: np.log(xs), "
    "np.log(ys)."
)
def without_logarithms(xs, ys):
    slope, intercept = np.polyfit(xs, ys, 1)
    return np.exp(intercept), -slope


@power_law.mistake(
    "this is a straight line through the numbers themselves: it falls below 0 at last. Fit np.log(ys) "
    "against np.log(xs), and take exp of the height."
)
def straight_line(xs, ys):
    slope, intercept = np.polyfit(xs, ys, 1)
    return intercept, -slope


@power_law.mistake("only the xs are in logarithms. The ys must be, too: ln y = ln a − b · ln x.")
def ys_without_logarithm(xs, ys):
    slope, intercept = np.polyfit(np.log(xs), ys, 1)
    return np.exp(intercept), -slope


@power_law.mistake(
    "only the ys are in logarithms: that is y = a · exp(−b·x). Take np.log(xs), too."
)
def xs_without_logarithm(xs, ys):
    slope, intercept = np.polyfit(xs, np.log(ys), 1)
    return math.exp(intercept), -slope


@power_law.mistake("x and y are swapped: np.polyfit takes the x first, and then the y.")
def axes_swapped(xs, ys):
    return _power_law(ys, xs)


@power_law.mistake(
    "the line goes through the first and the last point, and leaves out all others. Fit it to all of them."
)
def two_points(xs, ys):
    return _power_law([xs[0], xs[-1]], [ys[0], ys[-1]])


@power_law.mistake(
    "the logarithms are to base 10, and exp is to base e. Take np.log, or return with 10 ** …."
)
def log10_and_exp(xs, ys):
    a, b = _power_law(xs, ys)
    return math.exp(math.log10(a)), b


@power_law.mistake("np.log is to base e, and 10 ** … to base 10. Return with exp(…).")
def log_and_ten(xs, ys):
    a, b = _power_law(xs, ys)
    return 10 ** math.log(a), b


@power_law.mistake(
    "the line is forced through 0, so that a is always 1. It needs a height, too: ln a."
)
def through_zero(xs, ys):
    x, y = np.log(xs), np.log(ys)
    return 1.0, -(x @ y) / (x @ x)


@power_law.mistake("`math.log` takes one number. np.log takes a list, and returns each one's.")
def by_math(xs, ys):
    return math.log(xs), math.log(ys)


@power_law.mistake("`torch.log` takes a tensor, and this is a list: torch.tensor(xs).log().")
def by_torch(xs, ys):
    return torch.log(xs), torch.log(ys)


# --- bottom_of_valley ---------------------------------------------------------------------------------


def _bottom_of_valley(sizes: list[float], losses: list[float]) -> float:
    a, b, _ = np.polyfit(np.log(sizes), losses, 2)
    return math.exp(-b / (2 * a))


def _valley(generator: torch.Generator) -> tuple[list[float], list[float]]:
    """Return sizes in millions, and losses of which luck has made another one the least."""
    while True:
        n = int(torch.randint(6, 9, (), generator=generator))
        x = -2 + (0.4 + 0.4 * torch.rand(n, generator=generator)).cumsum(0)
        bottom = x[0] + (x[-1] - x[0]) * (0.35 + 0.3 * torch.rand((), generator=generator))
        y = 2 + 0.2 * (x - bottom) ** 2 + 0.04 * floats(generator, n)
        a, b, c = np.polyfit(x.numpy(), y.numpy(), 2)
        least, i = (a * x**2 + b * x + c).argmin(), int(y.argmin())
        if a > 0.1 and abs(b) > 0.05 and i != least and 0 < i < n - 1:
            return x.exp().tolist(), y.tolist()


bottom_of_valley = Exercise(
    name="bottom_of_valley",
    notebook=NOTEBOOK,
    minutes=8,
    difficulty=2,
    reference=_bottom_of_valley,
    inputs=_valley,
    hint="np.polyfit(np.log(sizes), losses, 2) returns the parabola's three numbers, that of x² first. Its "
    "bottom is at a logarithm: exp(…) makes a size of it.",
)


@bottom_of_valley.mistake(
    "this is the size with the least loss *measured*: luck has its part in that. Fit the parabola to all."
)
def least_measured(sizes, losses):
    return sizes[losses.index(min(losses))]


@bottom_of_valley.mistake(
    "this is the *measured* size at which the parabola is lowest. Its bottom lies between them: "
    "exp(−b / (2·a))."
)
def least_of_the_fitted(sizes, losses):
    x = np.log(sizes)
    return sizes[int(np.polyval(np.polyfit(x, losses, 2), x).argmin())]


@bottom_of_valley.mistake(
    "the sizes are fitted as they are. The valley is a parabola in their *logarithms*: np.log(sizes), and "
    "exp(…) at the end."
)
def valley_without_logarithm(sizes, losses):
    a, b, _ = np.polyfit(sizes, losses, 2)
    return -b / (2 * a)


@bottom_of_valley.mistake("the logarithm of the sizes is missing before the fit: np.log(sizes).")
def exp_without_logarithm(sizes, losses):
    return torch.tensor(valley_without_logarithm(sizes, losses)).exp()  # inf without a warning


@bottom_of_valley.mistake("this is the logarithm of the size. exp(…) makes the size of it.")
def logarithm_of_the_size(sizes, losses):
    return math.log(_bottom_of_valley(sizes, losses))


@bottom_of_valley.mistake("the minus is missing: the bottom is at −b / (2·a).")
def without_minus(sizes, losses):
    return 1 / _bottom_of_valley(sizes, losses)


@bottom_of_valley.mistake("the 2 is missing: the bottom is at −b / (2·a).")
def without_two(sizes, losses):
    return _bottom_of_valley(sizes, losses) ** 2


@bottom_of_valley.mistake(
    "brackets are missing: −b / 2 * a multiplies by a. Divide by both: −b / (2 * a)."
)
def without_the_brackets(sizes, losses):
    a, b, _ = np.polyfit(np.log(sizes), losses, 2)
    return math.exp(-b / 2 * a)


@bottom_of_valley.mistake("this is the *loss* at the bottom. The size there is wanted.")
def loss_at_the_bottom(sizes, losses):
    a, b, c = np.polyfit(np.log(sizes), losses, 2)
    return c - b**2 / (4 * a)


@bottom_of_valley.mistake(
    "a and c are swapped: np.polyfit returns the highest power first, the number of x²."
)
def read_backwards(sizes, losses):
    _, b, a = np.polyfit(np.log(sizes), losses, 2)
    return math.exp(-b / (2 * a))


@bottom_of_valley.mistake(
    "the logarithms are to base 10, and exp is to base e. Take np.log, or return with 10 ** …."
)
def log10_in_exp_out(sizes, losses):
    return math.exp(math.log10(_bottom_of_valley(sizes, losses)))


@bottom_of_valley.mistake("the losses are in logarithms, too. Only the sizes are: np.log(sizes).")
def losses_in_logarithms(sizes, losses):
    return _bottom_of_valley(sizes, np.log(losses))


@bottom_of_valley.mistake(
    "the parabola goes through the least loss and its two neighbours alone. Fit it to all points."
)
def three_points(sizes, losses):
    i = losses.index(min(losses))
    return _bottom_of_valley(sizes[i - 1 : i + 2], losses[i - 1 : i + 2])


# --- half_the_rest ------------------------------------------------------------------------------------


def _half_the_rest(E: float, A: float, alpha: float, flops: float) -> float:
    return flops * 2 ** (1 / alpha)  # whatever E and A are


def _law(generator: torch.Generator) -> tuple[float, float, float, float]:
    """Return a law of which more than half is above E, so that half of the *loss* can be reached."""
    e, above, alpha, flops = torch.rand(4, generator=generator).tolist()
    E, alpha, flops = 0.6 + 0.4 * e, 0.22 + 0.2 * alpha, 1e12 * (1 + 4 * flops)
    return E, (1.4 + above) * flops**alpha, alpha, flops


half_the_rest = Exercise(
    name="half_the_rest",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=3,
    reference=_half_the_rest,
    inputs=_law,
    hint="With k times the FLOPs, A · flops^(−alpha) becomes k^(−alpha) times as much. For which k is this "
    "½?",
)


@half_the_rest.mistake(
    "twice the FLOPs bring much less: the rest becomes 2^(−alpha) of what it was. For which k is "
    "k^(−alpha) = ½?"
)
def twice(E, A, alpha, flops):
    return 2 * flops


@half_the_rest.mistake("the power is 1 / alpha: k^(−alpha) = ½ gives k = 2^(1/alpha).")
def two_to_the_alpha(E, A, alpha, flops):
    return flops * 2**alpha


@half_the_rest.mistake(
    "this is where half of the *loss* is left. E stays: only what is above it becomes half."
)
def half_of_the_loss(E, A, alpha, flops):
    half = (E + A * flops**-alpha) / 2
    return ((half - E) / A) ** (-1 / alpha)


@half_the_rest.mistake(
    "half of the *loss* is sought, and E is not taken off. Only A · flops^(−alpha) becomes half."
)
def half_of_the_loss_without_E(E, A, alpha, flops):
    half = (E + A * flops**-alpha) / 2
    return (half / A) ** (-1 / alpha)


@half_the_rest.mistake(
    "the aim E + rest / 2 is right, but E must be taken off before you solve A · x^(−alpha) for x."
)
def aim_with_E(E, A, alpha, flops):
    aim = E + A * flops**-alpha / 2
    return (aim / A) ** (-1 / alpha)


@half_the_rest.mistake("these are *fewer* FLOPs, with twice the rest. Multiply by 2^(1/alpha).")
def divided(E, A, alpha, flops):
    return flops / 2 ** (1 / alpha)


@half_the_rest.mistake("this is how many *times* the FLOPs. Multiply `flops` by it.")
def factor_alone(E, A, alpha, flops):
    return 2 ** (1 / alpha)


@half_the_rest.mistake(
    "these are the FLOPs that come on top. All of them are wanted: flops · 2^(1/alpha)."
)
def on_top(E, A, alpha, flops):
    return _half_the_rest(E, A, alpha, flops) - flops


@half_the_rest.mistake("brackets are missing: 2 ** 1 / alpha is 2 / alpha. Write 2 ** (1 / alpha).")
def power_without_brackets(E, A, alpha, flops):
    return flops * 2**1 / alpha


@half_the_rest.mistake("exp(1/alpha) makes the rest 1/e of what it was. For a half: 2^(1/alpha).")
def with_e(E, A, alpha, flops):
    return flops * math.exp(1 / alpha)


@half_the_rest.mistake(
    "this is nearly 0. Is the sign in the power lost? x^(−alpha) = y gives x = y^(−1/alpha)."
)
def sign_lost(E, A, alpha, flops):
    return (flops**-alpha / 2) ** (1 / alpha)


@half_the_rest.mistake("this is the *loss* there. The FLOPs that it takes are wanted.")
def loss_there(E, A, alpha, flops):
    return E + A * flops**-alpha / 2


# --- questions ----------------------------------------------------------------------------------------

missed = Question(
    name="missed",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "1.56, and a new fit with it, called the prediction",
            "A law fitted to the number that it is to foretell foretells nothing. A new fit may follow, "
            "under its own name.",
        ),
        "b": (
            "1.50 ± 0.02, 1.56, and that the prediction missed; then look for why",
            "Saved before, it could fail, and that is its worth. The learning rate, too little data or a "
            "law that bends may be why.",
        ),
        "c": (
            "the best of several large runs with other seeds",
            "The best of several is lower by luck. More seeds are welcome if all of them are reported.",
        ),
        "d": (
            "1.50 ± 0.06: the interval was too narrow",
            "An interval widened after the measurement always holds it. It can no longer be wrong, so it "
            "says nothing.",
        ),
    },
    right="b",
    hint="What would a reader have to know, to trust the next prediction?",
)

EXERCISES = [steps_for, power_law, bottom_of_valley, half_the_rest, missed]
