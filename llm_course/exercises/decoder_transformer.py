"""Exercises of notebook 06: counting a decoder's parameters, its learning rate, and a fair measure."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "06_decoder_transformer"

# --- count_parameters -------------------------------------------------------------------------------------


def _in_a_block(C: int) -> int:
    return 12 * C**2 + 13 * C  # 4·C for the norms, 3·C and C in attention, 5·C in feed-forward


def _count_parameters(V: int, T: int, C: int, L: int) -> int:
    return (V + T) * C + L * _in_a_block(C) + 2 * C + C * V


def _sizes_of_a_decoder(generator: torch.Generator) -> tuple[int, int, int, int]:
    return tuple(sizes(generator, (50, 90), (16, 40), (95, 200), (3, 9)))


count_parameters = Exercise(
    name="count_parameters",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_count_parameters,
    inputs=_sizes_of_a_decoder,
    hint="The table of Step 2, row by row. Rows with *block* count L times. For V = 65, T = 64, C = 128, "
    "L = 3 it comes to 619,904.",
)


@count_parameters.mistake("one block is counted, and not L of them.")
def one_block(V, T, C, L):
    return _count_parameters(V, T, C, 1)


@count_parameters.mistake("the output layer is missing: C·V.")
def without_output(V, T, C, L):
    return _count_parameters(V, T, C, L) - C * V


@count_parameters.mistake("the embedding of the *places* is missing: T·C.")
def without_places(V, T, C, L):
    return _count_parameters(V, T, C, L) - T * C


@count_parameters.mistake("the embeddings are missing: (V + T)·C.")
def without_embeddings(V, T, C, L):
    return _count_parameters(V, T, C, L) - (V + T) * C


@count_parameters.mistake("the last norm is missing: 2·C.")
def without_last_norm(V, T, C, L):
    return _count_parameters(V, T, C, L) - 2 * C


@count_parameters.mistake("the two norms of each block are missing: 4·C a block.")
def without_norms_in_blocks(V, T, C, L):
    return _count_parameters(V, T, C, L) - 4 * C * L


@count_parameters.mistake("the biases in the blocks are missing: 3·C + C + 5·C a block.")
def without_biases(V, T, C, L):
    return _count_parameters(V, T, C, L) - 9 * C * L


@count_parameters.mistake(
    "the blocks are counted as 12·C², which is the rule of thumb. The biases and norms belong to it, too."
)
def rule_of_thumb(V, T, C, L):
    return _count_parameters(V, T, C, L) - 13 * C * L


@count_parameters.mistake("the layer that mixes the heads is missing: C² + C a block.")
def without_mixing(V, T, C, L):
    return _count_parameters(V, T, C, L) - (C**2 + C) * L


@count_parameters.mistake("a block has *two* norms: 4·C in all.")
def one_norm_a_block(V, T, C, L):
    return _count_parameters(V, T, C, L) - 2 * C * L


@count_parameters.mistake("queries, keys and values have biases, too: 3·C² + 3·C.")
def without_attention_biases(V, T, C, L):
    return _count_parameters(V, T, C, L) - 3 * C * L


@count_parameters.mistake("feed-forward has biases, too: 8·C² + 5·C.")
def without_feed_forward_biases(V, T, C, L):
    return _count_parameters(V, T, C, L) - 5 * C * L


@count_parameters.mistake("the output layer has no bias in our model: C·V, and not C·V + V.")
def output_with_bias(V, T, C, L):
    return _count_parameters(V, T, C, L) + V


@count_parameters.mistake(
    "everything is multiplied by L. Embeddings, last norm and output layer are there *once*."
)
def all_times_L(V, T, C, L):
    return L * _count_parameters(V, T, C, 1)


# --- cosine_rate --------------------------------------------------------------------------------------


def _cosine_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    if step <= warmup:
        return peak * step / warmup
    share = (step - warmup) / (steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def _lengths(generator: torch.Generator) -> tuple[int, int, float]:
    steps = int(torch.randint(300, 900, (), generator=generator))
    warmup = int(torch.randint(60, 120, (), generator=generator))
    return steps, warmup, 1 + float(torch.rand((), generator=generator))


def _in_warmup(generator: torch.Generator) -> tuple[int, int, int, float]:
    steps, warmup, peak = _lengths(generator)
    return int(torch.randint(5, warmup - 5, (), generator=generator)), steps, warmup, peak


def _in_decay(generator: torch.Generator) -> tuple[int, int, int, float]:
    steps, warmup, peak = _lengths(generator)
    share = 0.15 + 0.2 * float(torch.rand((), generator=generator))
    return round(warmup + share * (steps - warmup)), steps, warmup, peak


cosine_rate = Exercise(
    name="cosine_rate",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_cosine_rate,
    inputs=(_in_decay, _in_warmup),
    hint="Two cases, as in learning_rate_at. In the second, s = (step − warmup) / (steps − warmup).",
)


@cosine_rate.mistake("warm-up is missing: up to step `warmup` the rate is peak · step / warmup.")
def without_warmup(step, steps, warmup, peak):
    if step <= warmup:
        return peak
    return _cosine_rate(step, steps, warmup, peak)


@cosine_rate.mistake(
    "the cosine begins at step 0, so that the rate drops at the end of warm-up. s must be 0 there."
)
def cosine_from_the_start(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return _cosine_rate(step, steps, 0, peak)


@cosine_rate.mistake("there is no warm-up, and the cosine begins at step 0.")
def cosine_all_along(step, steps, warmup, peak):
    return _cosine_rate(step, steps, 0, peak)


@cosine_rate.mistake(
    "this falls on a straight line, as in the notebook. The task is half a cosine."
)
def straight_line(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak * (steps - step) / (steps - warmup)


@cosine_rate.mistake("the ½ is missing: the rate jumps to twice its peak after warm-up.")
def without_half(step, steps, warmup, peak):
    rate = _cosine_rate(step, steps, warmup, peak)
    return rate if step <= warmup else 2 * rate


@cosine_rate.mistake("the 1 + is missing: half way through, the rate falls below 0.")
def without_one(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))


@cosine_rate.mistake("it climbs after warm-up, from 0 to its peak: s and 1 − s are swapped.")
def climbs(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak - _cosine_rate(step, steps, warmup, peak)


@cosine_rate.mistake(
    "the steps are divided by all `steps`, and not by those after warm-up: the rate does not reach 0."
)
def divided_by_all_steps(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / steps))


@cosine_rate.mistake(
    "warm-up has no effect. Does its branch end with `return`, or does the second formula overwrite it?"
)
def second_formula_always(step, steps, warmup, peak):
    share = (step - warmup) / (steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


@cosine_rate.mistake(
    "s is step / (steps − warmup), and is not 0 at the end of warm-up: take warmup off."
)
def share_too_large(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * step / (steps - warmup)))


@cosine_rate.mistake("π is missing in the cosine: the rate falls by a quarter only.")
def without_pi(step, steps, warmup, peak):
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos((step - warmup) / (steps - warmup)))


@cosine_rate.mistake("the peak is missing: both parts are multiplied by it.")
def without_peak(step, steps, warmup, peak):
    return _cosine_rate(step, steps, warmup, 1.0)


@cosine_rate.mistake("the warm-up begins one step late: in step 1 nothing would be learned.")
def one_step_late(step, steps, warmup, peak):
    if step <= warmup:
        return peak * (step - 1) / warmup
    return _cosine_rate(step, steps, warmup, peak)


# --- fair_loss ----------------------------------------------------------------------------------------


def _fair_loss(losses: Float[Tensor, "N T"]) -> Float[Tensor, ""]:
    half = losses.shape[1] // 2
    return torch.cat([losses[0], losses[1:, half:].flatten()]).mean()


def _losses(generator: torch.Generator) -> tuple[Tensor]:
    N = int(torch.randint(4, 7, (), generator=generator))
    half = int(torch.randint(4, 7, (), generator=generator))
    return (floats(generator, N, 2 * half).exp() + 1,)


fair_loss = Exercise(
    name="fair_loss",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=3,
    reference=_fair_loss,
    inputs=_losses,
    hint="torch.cat joins the first window's losses and those of the other windows' later halves "
    "(flatten()). Every character has one loss in it; then the mean.",
)


@fair_loss.mistake(
    "this is the mean of everything: nearly every character is scored twice, once with a short context."
)
def all_of_it(losses):
    return losses.mean()


@fair_loss.mistake("the right losses are added up. Their mean is wanted.")
def right_ones_summed(losses):
    half = losses.shape[1] // 2
    return losses[0].sum() + losses[1:, half:].sum()


@fair_loss.mistake(
    "the sum of the right losses is divided by N · T, the number of *all*. Divide by how many were scored."
)
def divided_by_all(losses):
    return right_ones_summed(losses) / losses.numel()


@fair_loss.mistake("the first half of the *first* window is missing: nobody else scores it.")
def later_halves_only(losses):
    return losses[:, losses.shape[1] // 2 :].mean()


@fair_loss.mistake(
    "the *earlier* halves are scored, where the model has seen least. Take the later ones."
)
def earlier_halves(losses):
    half = losses.shape[1] // 2
    return torch.cat([losses[:-1, :half].flatten(), losses[-1]]).mean()


@fair_loss.mistake(
    "these are the *earlier* halves alone. Take the later ones, and all of the first window."
)
def earlier_halves_only(losses):
    return losses[:, : losses.shape[1] // 2].mean()


@fair_loss.mistake("the first window is whole, but the others bring their *earlier* halves.")
def first_and_earlier_halves(losses):
    half = losses.shape[1] // 2
    return torch.cat([losses[0], losses[1:, :half].flatten()]).mean()


@fair_loss.mistake(
    "this is a mean of means: the first window has twice as many characters and counts no more than the "
    "others. Every *character* counts once."
)
def mean_of_means(losses):
    half = losses.shape[1] // 2
    return torch.stack([losses[0].mean(), *losses[1:, half:].mean(dim=1)]).mean()


@fair_loss.mistake(
    "the two parts are averaged by themselves and then once more. Join them first: every *character* "
    "counts once."
)
def mean_of_two_means(losses):
    half = losses.shape[1] // 2
    return (losses[0].mean() + losses[1:, half:].mean()) / 2


@fair_loss.mistake(
    "the first window's later half counts twice. Of the *other* windows take the later halves: losses[1:]."
)
def first_later_half_twice(losses):
    return torch.cat([losses[0], losses[:, losses.shape[1] // 2 :].flatten()]).mean()


# --- questions ----------------------------------------------------------------------------------------

short_text = Question(
    name="short_text",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "the decoder, by 0.08 as on the scoreboard",
            "That is its lead where it sees 32 characters and more. Read the picture at its left.",
        ),
        "b": (
            "the decoder, by a little",
            "At one to four characters the table's line is the lower one.",
        ),
        "c": (
            "the table, by a little",
            "It has counted just these short histories. The decoder's lead comes from what lies further "
            "back.",
        ),
        "d": (
            "the table, by more than 0.5",
            "The lines are never so far apart: the decoder knows short histories nearly as well.",
        ),
    },
    right="c",
    hint="Which line is lower at 4 characters, and by about how much?",
)

EXERCISES = [count_parameters, cosine_rate, fair_loss, short_text]
