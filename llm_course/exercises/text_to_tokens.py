"""Exercises of notebook 01: windows, and the loss."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "01_text_to_tokens"

# --- windows ------------------------------------------------------------------------------------------


def _windows(
    tokens: Int[Tensor, " N"], starts: Int[Tensor, " B"], T: int
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    places = starts[:, None] + torch.arange(T)
    return tokens[places], tokens[places + 1]


def _tokens_and_starts(generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    B, T = sizes(generator, (3, 5), (6, 9))
    tokens = torch.randperm(60, generator=generator)  # all different: no place looks like another
    return tokens, 1 + torch.randperm(59 - 2 * T, generator=generator)[:B], T


windows = Exercise(
    name="windows",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_windows,
    inputs=_tokens_and_starts,
    hint="Step 5: a column of starts plus a row 0 … T − 1 gives the places; targets are one place later.",
)


@windows.mistake(
    "the targets are the inputs themselves, so that the answer stands in the question. Move them by one."
)
def targets_not_moved(tokens, starts, T):
    inputs, _ = _windows(tokens, starts, T)
    return inputs, inputs


@windows.mistake(
    "the targets are one place *earlier*: the model is asked for what it has read already. It is + 1."
)
def targets_from_the_past(tokens, starts, T):
    inputs, _ = _windows(tokens, starts, T)
    return inputs, _windows(tokens, starts - 1, T)[0]


@windows.mistake(
    "the last target of each window is its first input: roll, or a cut at the window's end, moves it "
    "round. Take the targets from the text, one place later."
)
def rolled(tokens, starts, T):
    inputs, _ = _windows(tokens, starts, T)
    return inputs, inputs.roll(-1, dims=1)


@windows.mistake(
    "inputs and targets come in the wrong order: the inputs first, and then what comes one place later."
)
def swapped(tokens, starts, T):
    inputs, targets = _windows(tokens, starts, T)
    return targets, inputs


@windows.mistake(
    "there is one target for each window. Every *place* has one: T predictions a window, shape (B, T)."
)
def last_target_only(tokens, starts, T):
    return _windows(tokens, starts, T)[0], tokens[starts + T]


@windows.mistake(
    "the targets begin where the window ends. They are the inputs moved by one place, not by T."
)
def moved_by_a_window(tokens, starts, T):
    return _windows(tokens, starts, T)[0], _windows(tokens, starts + T - 1, T)[1]


@windows.mistake("rows and columns are swapped: each *row* is a window. The starts are the column.")
def windows_in_columns(tokens, starts, T):
    inputs, targets = _windows(tokens, starts, T)
    return inputs.T, targets.T


@windows.mistake(
    "the windows have T + 1 characters. That many are needed for both, but each has T."
)
def one_too_long(tokens, starts, T):
    return _windows(tokens, starts, T + 1)


@windows.mistake(
    "inputs and targets have T − 1 characters: both were cut from a window of T. Cut T + 1 first."
)
def one_too_short(tokens, starts, T):
    return _windows(tokens, starts, T - 1)


@windows.mistake(
    "the targets are the inputs' *numbers* plus 1. The places are moved by one, not the tokens: "
    "tokens[places + 1]."
)
def tokens_plus_one(tokens, starts, T):
    inputs, _ = _windows(tokens, starts, T)
    return inputs, inputs + 1


@windows.mistake("these are places. Look the tokens up that stand there: tokens[places].")
def places_only(tokens, starts, T):
    places = starts[:, None] + torch.arange(T)
    return places, places + 1


# --- n_windows ----------------------------------------------------------------------------------------


def _n_windows(tokens: Int[Tensor, " N"], T: int) -> int:
    return len(tokens) - T


def _tokens_and_length(generator: torch.Generator) -> tuple[Tensor, int]:
    T = int(torch.randint(3, 9, (), generator=generator))
    N = T * int(torch.randint(4, 9, (), generator=generator)) + 1
    return torch.randint(60, (N,), generator=generator), T


n_windows = Exercise(
    name="n_windows",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_n_windows,
    inputs=_tokens_and_length,
    hint="Try 10 tokens and T = 8: where can a window begin so that its last *target* is still there?",
)


@n_windows.mistake(
    "the last of these windows has no target for its last place: each needs T + 1 tokens, not T."
)
def last_target_forgotten(tokens, T):
    return len(tokens) - T + 1


@n_windows.mistake("one is missing. With T + 1 tokens there is exactly one window, and not none.")
def one_missing(tokens, T):
    return len(tokens) - T - 1


@n_windows.mistake(
    "these are windows that do not overlap. Windows may begin at *any* place where one fits."
)
def side_by_side(tokens, T):
    return len(tokens) // T


@n_windows.mistake("near the end of the text no whole window fits any more.")
def every_place(tokens, T):
    return len(tokens)


@n_windows.mistake(
    "near the end there is a next token, but no whole window. How many places does a window take?"
)
def every_place_with_a_target(tokens, T):
    return len(tokens) - 1


# --- loss_in_bits -------------------------------------------------------------------------------------


def _loss_in_bits(chances: Float[Tensor, " V"], tokens: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    return -chances[tokens].log().mean() / math.log(2)


def _chances_and_tokens(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    V, N = sizes(generator, (5, 8), (20, 30))
    return (
        floats(generator, V).softmax(dim=0),
        torch.randint(V, (N,), generator=generator),
    )


def _last_never_comes(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chances, tokens = _chances_and_tokens(generator)
    return chances, tokens % (len(chances) - 1)


loss_in_bits = Exercise(
    name="loss_in_bits",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_loss_in_bits,
    inputs=(_chances_and_tokens, _last_never_comes),
    hint="Step 7 has it in nats: look up the chance of every token that came, −log, mean. "
    "Then one division.",
)


@loss_in_bits.mistake("this is right in *nats*. Bits are nats divided by ln 2.")
def in_nats(chances, tokens):
    return -chances[tokens].log().mean()


@loss_in_bits.mistake("the minus is missing: a loss is −ln p, and never below 0.")
def without_minus(chances, tokens):
    return -_loss_in_bits(chances, tokens)


@loss_in_bits.mistake("nats are *multiplied* by ln 2. Divide: a bit is less than a nat.")
def multiplied_by_ln_2(chances, tokens):
    return -chances[tokens].log().mean() * math.log(2)


@loss_in_bits.mistake(
    "this is the logarithm of the mean chance. Take the logarithm of each first, and then the mean."
)
def log_of_the_mean(chances, tokens):
    return -chances[tokens].mean().log() / math.log(2)


@loss_in_bits.mistake("this is the sum over all tokens. We report the mean per character.")
def summed(chances, tokens):
    return -chances[tokens].log().sum() / math.log(2)


@loss_in_bits.mistake("the mean is taken twice: it is divided by the number of tokens once more.")
def averaged_twice(chances, tokens):
    return _loss_in_bits(chances, tokens) / len(tokens)


@loss_in_bits.mistake(
    "this is the mean over the *vocabulary*, whatever came. Look up the text's tokens: chances[tokens]."
)
def over_the_vocabulary(chances, tokens):
    return -chances.log2().mean()


@loss_in_bits.mistake(
    "this is the entropy of the chances: the loss on a text that has just these shares. The tokens that "
    "came decide here."
)
def entropy_of_the_chances(chances, tokens):
    return -(chances * chances.log2()).sum()


@loss_in_bits.mistake(
    "this is the sum over all tokens, in nats. We report the mean, and here in bits."
)
def summed_in_nats(chances, tokens):
    return -chances[tokens].log().sum()


@loss_in_bits.mistake(
    "the minus is missing, and these are nats. A loss is −ln p; bits are nats / ln 2."
)
def without_minus_in_nats(chances, tokens):
    return chances[tokens].log().mean()


@loss_in_bits.mistake("nats are divided by 2. A nat is 1 / ln 2 bits: divide by ln 2.")
def divided_by_2(chances, tokens):
    return -chances[tokens].log().mean() / 2


@loss_in_bits.mistake("this is one loss a token. Their mean is wanted.")
def one_each(chances, tokens):
    return -chances[tokens].log2()


# --- questions ----------------------------------------------------------------------------------------

two_guessers = Question(
    name="two_guessers",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=3,
    options={
        "a": (
            "the first, clearly",
            "0.69 against (0.11 + 2.30) / 2 = 1.20. Being sure and wrong costs more than being sure and "
            "right gains.",
        ),
        "b": (
            "the second, clearly",
            "Its good rounds gain 0.69 − 0.11 = 0.58 each. What do its bad ones cost? See the curve.",
        ),
        "c": (
            "equal: both gave 0.5 on average",
            "The mean of the chances is the same. But the loss is a mean of logarithms: the curve bends.",
        ),
        "d": (
            "it cannot be told without the text",
            "The loss asks for one thing only: the chance that was given to what came. That is known here.",
        ),
    },
    right="a",
    hint="−ln 0.5 = 0.69, −ln 0.9 = 0.11, −ln 0.1 = 2.30.",
)

EXERCISES = [windows, n_windows, loss_in_bits, two_guessers]
