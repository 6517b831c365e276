"""Exercises of notebook 02: counting, and learning a table."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "02_bigram"

# --- bigram_chances -----------------------------------------------------------------------------------


def _pair_counts(tokens: Int[Tensor, " N"], vocab_size: int) -> Float[Tensor, "V V"]:
    pairs = tokens[:-1] * vocab_size + tokens[1:]
    return torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, vocab_size).float()


def _bigram_chances(tokens: Int[Tensor, " N"], vocab_size: int) -> Float[Tensor, "V V"]:
    counts = _pair_counts(tokens, vocab_size) + 1
    return counts / counts.sum(dim=1, keepdim=True)


def _tokens(generator: torch.Generator) -> tuple[Tensor, int]:
    V, N = sizes(generator, (5, 8), (30, 50))
    chances = torch.rand(V, generator=generator) + 0.1
    tokens = torch.multinomial(chances, N, replacement=True, generator=generator)
    last = tokens == V - 1  # never twice in a row, so that the last cell of the table is empty
    tokens[1:][last[1:] & last[:-1]] = 0
    return tokens, V


def _last_never_comes(generator: torch.Generator) -> tuple[Tensor, int]:
    tokens, V = _tokens(generator)
    return tokens % (V - 1), V


bigram_chances = Exercise(
    name="bigram_chances",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=1,
    reference=_bigram_chances,
    inputs=(_tokens, _last_never_comes),
    hint="Steps 1 and 2: count the pairs into a table, add 1 to every cell, divide each row by its sum.",
)


@bigram_chances.mistake(
    "nothing was added, so that pairs that never came have the chance 0 (or nan, in a row without any)."
)
def not_smoothed(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size)
    return counts / counts.sum(dim=1, keepdim=True)


@bigram_chances.mistake("these are counts still. Divide each row by its sum.")
def counts_only(tokens, vocab_size):
    return _pair_counts(tokens, vocab_size) + 1


@bigram_chances.mistake(
    "the *columns* sum to 1: each says what came before a character. Divide the rows: dim=1, keepdim=True."
)
def columns_sum_to_one(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size) + 1
    return counts / counts.sum(dim=0, keepdim=True)


@bigram_chances.mistake(
    "each row is divided by another row's sum: without keepdim=True the sums are a row, and broadcasting "
    "divides column by column."
)
def without_keepdim(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size) + 1
    return counts / counts.sum(dim=1)


@bigram_chances.mistake("the whole table sums to 1. Each *row* is a guess of its own.")
def divided_by_all(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size) + 1
    return counts / counts.sum()


@bigram_chances.mistake(
    "the pairs are the wrong way round: rows are the character that was seen, columns the one after it."
)
def wrong_way_round(tokens, vocab_size):
    return _bigram_chances(tokens.flip(0), vocab_size)


@bigram_chances.mistake(
    "1 is added, but the sums are those from before, so that the rows sum to more than 1."
)
def old_sums(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size)
    return (counts + 1) / counts.sum(dim=1, keepdim=True)


@bigram_chances.mistake(
    "pairs that come again are counted once: counts[rows, columns] += 1 writes every cell one time only. "
    "Use bincount, or a loop."
)
def repeated_pairs_lost(tokens, vocab_size):
    counts = (_pair_counts(tokens, vocab_size) > 0).float() + 1
    return counts / counts.sum(dim=1, keepdim=True)


@bigram_chances.mistake(
    "each row is divided by its sum + 1. Every one of its V cells was given 1 more: + V."
)
def one_in_place_of_V(tokens, vocab_size):
    counts = _pair_counts(tokens, vocab_size)
    return (counts + 1) / (counts.sum(dim=1, keepdim=True) + 1)


@bigram_chances.mistake(
    "this is the softmax of the counts, which takes e to their power. Counts are shared out by dividing."
)
def softmax_of_counts(tokens, vocab_size):
    return _pair_counts(tokens, vocab_size).softmax(dim=1)


# --- cross_entropy ------------------------------------------------------------------------------------


def _cross_entropy(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _logits_and_targets(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    B, T, V = sizes(generator, (2, 4), (5, 7), (8, 12))
    return 2 * floats(generator, B, T, V), torch.randint(V, (B, T), generator=generator)


def _last_is_no_target(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    logits, targets = _logits_and_targets(generator)
    return logits, targets % (logits.shape[-1] - 1)


def _log_chances(logits: Tensor, targets: Tensor) -> Float[Tensor, "B T"]:
    return logits.log_softmax(dim=-1).gather(-1, targets[..., None]).squeeze(-1)


cross_entropy = Exercise(
    name="cross_entropy",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_cross_entropy,
    inputs=(_logits_and_targets, _last_is_no_target),
    hint="flatten(0, 1) the logits, flatten() the targets, softmax along each row; then pick one chance a "
    "row, as table_loss picks them by [rows, columns], with rows = torch.arange(…).",
)


@cross_entropy.mistake(
    "the softmax is missing: these are logits, and a logit is no chance. Softmax first, then −log."
)
def without_softmax(logits, targets):
    return -logits.gather(-1, targets[..., None]).mean()


@cross_entropy.mistake(
    "softmax is taken twice: F.cross_entropy has its own. Hand it logits, or take −log yourself."
)
def softmax_twice(logits, targets):
    return _cross_entropy(logits.softmax(dim=-1), targets)


@cross_entropy.mistake(
    "softmax runs over the places of a window (dim=1). Over the *characters*: dim=-1."
)
def softmax_over_places(logits, targets):
    return -logits.log_softmax(dim=1).gather(-1, targets[..., None]).mean()


@cross_entropy.mistake(
    "softmax runs over the windows (dim=0). It must run over the *characters*: dim=-1."
)
def softmax_over_windows(logits, targets):
    return -logits.log_softmax(dim=0).gather(-1, targets[..., None]).mean()


@cross_entropy.mistake(
    "softmax runs over *all* places at once, after they were flattened (dim=0). Along each row: dim=-1."
)
def softmax_over_all_places(logits, targets):
    flat = logits.flatten(0, 1).log_softmax(dim=0)
    return -flat[torch.arange(len(flat)), targets.flatten()].mean()


@cross_entropy.mistake("this is the sum over all places. Take the mean.")
def sum_of_all(logits, targets):
    return -_log_chances(logits, targets).sum()


@cross_entropy.mistake(
    "places are summed, and only the windows averaged. The mean goes over all B · T places."
)
def sum_over_places(logits, targets):
    return -_log_chances(logits, targets).sum(dim=1).mean()


@cross_entropy.mistake("the loss is averaged twice: the mean is divided by T once more.")
def averaged_twice(logits, targets):
    return _cross_entropy(logits, targets) / targets.shape[1]


@cross_entropy.mistake("the minus is missing: a loss is −ln p, and never below 0.")
def without_minus(logits, targets):
    return -_cross_entropy(logits, targets)


@cross_entropy.mistake("the logarithm is missing: this is minus a mean of chances.")
def minus_mean_chance(logits, targets):
    return -_log_chances(logits, targets).exp().mean()


@cross_entropy.mistake(
    "this is the loss of the first window alone. Is `return` inside of the loop?"
)
def first_window_only(logits, targets):
    return _cross_entropy(logits[:1], targets[:1])


@cross_entropy.mistake(
    "the sum is divided by T, and not by all places, B · T, as when the windows' means are added up."
)
def divided_by_T_only(logits, targets):
    return _cross_entropy(logits, targets) * len(targets)


@cross_entropy.mistake("the logarithm is missing: this is a mean of chances.")
def mean_chance(logits, targets):
    return _log_chances(logits, targets).exp().mean()


@cross_entropy.mistake(
    "this is the logarithm of the mean chance. Take the logarithm of each first, and then the mean."
)
def log_of_the_mean(logits, targets):
    return -_log_chances(logits, targets).exp().mean().log()


@cross_entropy.mistake(
    "every target is looked up in *every* row. Row i belongs to target i: [torch.arange(…), targets], and "
    "not [:, targets]."
)
def every_row(logits, targets):
    return -logits.flatten(0, 1).log_softmax(dim=-1)[:, targets.flatten()].mean()


@cross_entropy.mistake(
    "this is the loss of the *likeliest* character. What counts is the one that came: the target."
)
def of_the_likeliest(logits, targets):
    return -logits.log_softmax(dim=-1).max(dim=-1).values.mean()


# --- plain_step ---------------------------------------------------------------------------------------


def _gradient(table: Tensor, inputs: Tensor, targets: Tensor) -> Float[Tensor, "V V"]:
    with torch.enable_grad():
        table = table.detach().clone().requires_grad_()
        _cross_entropy(table[inputs], targets).backward()
    return table.grad


def _plain_step(
    table: Float[Tensor, "V V"],
    inputs: Int[Tensor, "B T"],
    targets: Int[Tensor, "B T"],
    learning_rate: float,
) -> Float[Tensor, "V V"]:
    return table - learning_rate * _gradient(table, inputs, targets)


def _table_and_batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    B, T, V = sizes(generator, (2, 3), (4, 5), (6, 9))
    inputs, targets = (torch.randint(V, (B, T), generator=generator) for _ in range(2))
    rate = 2 + 3 * float(torch.rand((), generator=generator))
    return floats(generator, V, V), inputs, targets, rate


plain_step = Exercise(
    name="plain_step",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_plain_step,
    inputs=_table_and_batch,
    hint="Begin with table = table.clone().requires_grad_(); then loss, loss.backward(), and return "
    "table.detach() − learning_rate · table.grad.",
)


@plain_step.mistake("this is a step *up*: the loss grows. Move against the gradient: minus.")
def uphill(table, inputs, targets, learning_rate):
    return table + learning_rate * _gradient(table, inputs, targets)


@plain_step.mistake("the learning rate is not used.")
def rate_ignored(table, inputs, targets, learning_rate):
    return table - _gradient(table, inputs, targets)


@plain_step.mistake("this is the gradient itself. The table is moved by it.")
def gradient_only(table, inputs, targets, learning_rate):
    return _gradient(table, inputs, targets)


@plain_step.mistake("the table is as it was. Did you return the new one?")
def not_moved(table, inputs, targets, learning_rate):
    return table.clone()


@plain_step.mistake(
    "this is the step for the *sum* of the losses, which grows with the batch. Take their mean."
)
def step_for_the_sum(table, inputs, targets, learning_rate):
    return _plain_step(table, inputs, targets, learning_rate * targets.numel())


@plain_step.mistake("the inputs are used as targets, too: it learns to repeat what it was shown.")
def learns_to_repeat(table, inputs, targets, learning_rate):
    return _plain_step(table, inputs, inputs, learning_rate)


@plain_step.mistake("inputs and targets are swapped: it learns what came *before*.")
def learns_backwards(table, inputs, targets, learning_rate):
    return _plain_step(table, targets, inputs, learning_rate)


@plain_step.mistake("the learning rate of the notebook's loop, 10, is used, and not the one given.")
def rate_of_the_notebook(table, inputs, targets, learning_rate):
    return _plain_step(table, inputs, targets, 10.0)


@plain_step.mistake("this is the step alone. Take it off the table: table − step.")
def step_only(table, inputs, targets, learning_rate):
    return learning_rate * _gradient(table, inputs, targets)


@plain_step.mistake("it begins with a table of zeros. Begin with a copy of the one that is given.")
def begins_with_zeros(table, inputs, targets, learning_rate):
    return _plain_step(torch.zeros_like(table), inputs, targets, learning_rate)


@plain_step.mistake(
    "PyTorch has remembered no operations on the copy, so nothing can go back: make it with "
    "table.clone().requires_grad_(), compute the loss from *that* one, and not under torch.no_grad()."
)
def memory_forgotten(table, inputs, targets, learning_rate):
    _cross_entropy(table[inputs], targets).backward()


NO_GRADIENT = (
    "the gradient you use is None. loss.backward() must come first; it returns nothing, and fills .grad of "
    "the copy that got requires_grad_(). Read it there: not from table or another copy, nor after a reset."
)


@plain_step.mistake(NO_GRADIENT)
def no_gradient(table, inputs, targets, learning_rate):
    return learning_rate * None


@plain_step.mistake(NO_GRADIENT)
def no_gradient_in_front(table, inputs, targets, learning_rate):
    return None * learning_rate


@plain_step.mistake(
    "the change itself must not be remembered. Put it under `with torch.no_grad():`, as in the notebook."
)
def change_remembered(table, inputs, targets, learning_rate):
    table = table.clone().requires_grad_()
    leaf = table.detach().requires_grad_()
    leaf -= learning_rate


@plain_step.mistake(
    "the gradient counts twice. Is backward called twice? Gradients add up until they are reset."
)
def twice_the_gradient(table, inputs, targets, learning_rate):
    return _plain_step(table, inputs, targets, 2 * learning_rate)


# --- mix ----------------------------------------------------------------------------------------------


def _mix(counts: Float[Tensor, " V"], shorter: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    n_different = (counts > 0).sum()
    if n_different == 0:
        return shorter.clone()
    return (counts + n_different * shorter) / (counts.sum() + n_different)


def _seen(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return counts of which some are 0, some 1 and some equal, so that each way to count them differs."""
    while True:
        V = int(torch.randint(6, 10, (), generator=generator))
        counts = torch.tensor([0, 0, 1, 1, 2, 3, 5, 8])[torch.randint(8, (V,), generator=generator)]
        numbers = (counts > 0).sum(), (counts > 1).sum(), counts.unique().numel(), counts.numel()
        if len({int(n) for n in numbers}) == 4 and counts.max() > 2:
            return counts.float(), floats(generator, V).softmax(dim=0)


def _never_seen(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    V = int(torch.randint(6, 10, (), generator=generator))
    return torch.zeros(V), floats(generator, V).softmax(dim=0)


mix = Exercise(
    name="mix",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=3,
    reference=_mix,
    inputs=(_seen, _never_seen),
    hint="Step 6: c(h) is counts.sum(), U(h) is the number of counts above 0. (c + U · shorter) / "
    "(c(h) + U). What if nothing was ever counted?",
)


def _mixed(counts: Tensor, shorter: Tensor, trust: Tensor | float) -> Tensor:
    """Mix with this λ; where nothing was seen, the shorter history decides."""
    if counts.sum() == 0:
        return shorter.clone()
    return trust * counts / counts.sum() + (1 - trust) * shorter


@mix.mistake(
    "it is right, except for a history that was *never seen*: 0 / 0 is nan. Then the shorter one decides."
)
def nan_if_never_seen(counts, shorter):
    n_different = (counts > 0).sum()
    return (counts + n_different * shorter) / (counts.sum() + n_different)


@mix.mistake(
    "it is right, except for a history that was *never seen*: all chances are 0 then. The shorter one "
    "decides."
)
def zero_if_never_seen(counts, shorter):
    return _mix(counts, shorter) if counts.sum() else torch.zeros_like(shorter)


@mix.mistake(
    "it is right, except for a history that was *never seen*: you guess blindly then. The shorter one "
    "knows more."
)
def blind_if_never_seen(counts, shorter):
    return _mix(counts, shorter) if counts.sum() else torch.full_like(shorter, 1 / len(shorter))


@mix.mistake(
    "U(h) counts different *numbers*: two characters that came equally often are taken for one. How many "
    "characters came at all?"
)
def different_numbers(counts, shorter):
    n_different = len(counts.unique())
    return _mixed(counts, shorter, counts.sum() / (counts.sum() + n_different))


@mix.mistake("U(h) leaves out the characters that came once. Everything above 0 came.")
def more_than_once(counts, shorter):
    n_different = (counts > 1).sum()
    return _mixed(counts, shorter, counts.sum() / (counts.sum() + n_different))


@mix.mistake("these are the plain shares (nan if never seen). Mix the shorter history's guess in.")
def shares_only(counts, shorter):
    return counts / counts.sum()


@mix.mistake(
    "λ and 1 − λ are swapped: what was seen often is trusted least. λ belongs to the share."
)
def trust_swapped(counts, shorter):
    n_different = (counts > 0).sum()
    return _mixed(counts, shorter, n_different / (counts.sum() + n_different))


@mix.mistake("U(h) is the number of *different* characters that came, and not all V of them.")
def whole_vocabulary(counts, shorter):
    return _mixed(counts, shorter, counts.sum() / (counts.sum() + len(counts)))


@mix.mistake("this is half of each. λ depends on how much was seen: c(h) / (c(h) + U(h)).")
def half_and_half(counts, shorter):
    return _mixed(counts, shorter, 0.5)


@mix.mistake("1 stands in place of U(h). How many *different* characters came after this history?")
def one_in_place_of_U(counts, shorter):
    return _mixed(counts, shorter, counts.sum() / (counts.sum() + 1))


@mix.mistake("the shorter history's guess is not weighted, so that all together is more than 1.")
def not_weighted(counts, shorter):
    if counts.sum() == 0:
        return shorter.clone()
    return counts / (counts.sum() + (counts > 0).sum()) + shorter


@mix.mistake("the mix is right before it is divided: c(h) + U(h) is missing below.")
def not_divided(counts, shorter):
    return counts + (counts > 0).sum() * shorter if counts.sum() else shorter.clone()


# --- questions ----------------------------------------------------------------------------------------

less_text = Question(
    name="less_text",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=3,
    options={
        "a": (
            "to the left: a shorter history is best",
            "With a tenth of the text, long histories are more often new, and were seen more rarely. On "
            "Tiny Shakespeare order 4 is best then.",
        ),
        "b": (
            "nowhere: English has its own best order",
            "If the language decided, more text could not help long tables. Two things decide in Step 7, "
            "and both depend on how much was counted.",
        ),
        "c": (
            "to the right: a longer history is best",
            "What is worth counting must have been seen often. With less text, is that more so or less?",
        ),
        "d": (
            "it vanishes: longer is always better",
            "That is the dotted curve, of the text the tables were counted on.",
        ),
    },
    right="a",
    hint="What does a tenth of the text do to the two lists of Step 7, never seen and times seen?",
)

EXERCISES = [bigram_chances, cross_entropy, plain_step, mix, less_text]
