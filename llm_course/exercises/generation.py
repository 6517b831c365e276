"""Exercises of notebook 07: generation."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "07_generation"

# --- with_temperature ---------------------------------------------------------------------------------


def _with_temperature(logits: Float[Tensor, "B V"], temperature: float) -> Float[Tensor, "B V"]:
    return (logits / temperature).softmax(dim=-1)


def _logits_and_temperature(generator: torch.Generator) -> tuple[Tensor, float]:
    B, V = sizes(generator, (3, 5), (6, 12))
    return 2 * floats(generator, B, V), 0.4 + 0.4 * float(torch.rand((), generator=generator))


with_temperature = Exercise(
    name="with_temperature",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_with_temperature,
    inputs=_logits_and_temperature,
    hint="Divide the logits, then take the softmax over the last dimension.",
)


@with_temperature.mistake(
    "the logits are multiplied by the temperature, so that a low one makes the text wilder. Divide."
)
def multiplied(logits, temperature):
    return (logits * temperature).softmax(dim=-1)


@with_temperature.mistake(
    "the *chances* are divided, after the softmax: they no longer sum to 1. Divide the logits before it."
)
def divided_after_softmax(logits, temperature):
    return logits.softmax(dim=-1) / temperature


@with_temperature.mistake(
    "softmax runs over the texts (dim=0). It must run over the characters: dim=-1."
)
def softmax_over_texts(logits, temperature):
    return (logits / temperature).softmax(dim=0)


@with_temperature.mistake(
    "the result does not depend on the temperature: it is not used, or it cancels out, as when *chances* "
    "are divided and then shared out anew."
)
def temperature_ignored(logits, temperature):
    return logits.softmax(dim=-1)


@with_temperature.mistake("these are logits still. The softmax is missing.")
def without_softmax(logits, temperature):
    return logits / temperature


# --- top_k_chances ------------------------------------------------------------------------------------


def _top_k_chances(chances: Float[Tensor, " V"], k: int) -> Float[Tensor, " V"]:
    likeliest = chances.argsort(descending=True, stable=True)[:k]
    kept = torch.zeros_like(chances)
    kept[likeliest] = chances[likeliest]
    return kept / kept.sum()


def _shares_and_k(generator: torch.Generator) -> tuple[Tensor, int]:
    V = int(torch.randint(7, 12, (), generator=generator))
    k = int(torch.randint(2, 5, (), generator=generator))
    return torch.arange(V, 0, -1).float() + torch.rand(V, generator=generator) / 2, k


def _shuffled(shares: Tensor, generator: torch.Generator) -> Tensor:
    shares = shares[torch.randperm(len(shares), generator=generator)]
    return shares / shares.sum()


def _all_different(generator: torch.Generator) -> tuple[Tensor, int]:
    shares, k = _shares_and_k(generator)
    return _shuffled(shares, generator), k


def _with_equals(generator: torch.Generator) -> tuple[Tensor, int]:
    shares, k = _shares_and_k(generator)
    shares[k - 2 : k + 2] = shares[k]  # two of these four stay
    return _shuffled(shares, generator), k


top_k_chances = Exercise(
    name="top_k_chances",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_top_k_chances,
    inputs=(_with_equals,) * 8 + (_all_different,),
    hint="argsort(descending=True, stable=True)[:k] gives the places of the k likeliest; the others get 0; "
    "share out the whole again.",
)


@top_k_chances.mistake("the kept chances no longer sum to 1: divide by their sum.")
def not_shared_out_anew(chances, k):
    likeliest = chances.argsort(descending=True, stable=True)[:k]
    return torch.zeros_like(chances).index_copy(0, likeliest, chances[likeliest])


@top_k_chances.mistake("the k *unlikeliest* stay. Sort with descending=True.")
def wrong_end(chances, k):
    likeliest = chances.argsort(stable=True)[:k]
    kept = torch.zeros_like(chances).index_copy(0, likeliest, chances[likeliest])
    return kept / kept.sum()


@top_k_chances.mistake(
    "where some are equal at the border, all stay, which makes more than k. Pick by place, not by "
    "comparing with the k-th chance."
)
def keeps_equals(chances, k):
    kept = chances * (chances >= chances.topk(k).values[-1])
    return kept / kept.sum()


@top_k_chances.mistake("one too many stays: k + 1. [:k] are the first k.")
def one_too_many(chances, k):
    return _top_k_chances(chances, k + 1)


@top_k_chances.mistake(
    "where some are equal at the border, topk takes any of them. The first must stay: "
    "argsort(descending=True, stable=True)."
)
def by_topk(chances, k):
    likeliest = chances.topk(k).indices
    kept = torch.zeros_like(chances).index_copy(0, likeliest, chances[likeliest])
    return kept / kept.sum()


@top_k_chances.mistake(
    "where some are equal at the border, the last one stays, and not the first: argsort takes "
    "descending=True and stable=True. Turning the order round turns equals round, too."
)
def last_equal_stays(chances, k):
    return _top_k_chances(chances.flip(0), k).flip(0)


@top_k_chances.mistake("one is missing: k − 1 stay.")
def one_too_few(chances, k):
    return _top_k_chances(chances, k - 1)


@top_k_chances.mistake("the first k characters of the alphabet stay. They must be the likeliest.")
def first_k(chances, k):
    kept = chances.clone()
    kept[k:] = 0
    return kept / kept.sum()


# --- top_p_chances ------------------------------------------------------------------------------------


def _top_p_chances(chances: Float[Tensor, " V"], p: float) -> Float[Tensor, " V"]:
    kept, reached = torch.zeros_like(chances), 0.0
    for i in chances.argsort(descending=True).tolist():
        if reached >= p:
            break
        kept[i] = chances[i]
        reached += chances[i].item()
    return kept / kept.sum()


def _kept_while(chances, condition, descending=True, share_out=True):
    """Keep chances in their order while the condition holds, of the sum before and the next one."""
    kept, reached = torch.zeros_like(chances), 0.0
    for i in chances.argsort(descending=descending, stable=True).tolist():
        if not condition(reached, chances[i].item()):
            break
        kept[i] = chances[i]
        reached += chances[i].item()
    return kept / kept.sum() if share_out else kept


def _chances_and_p(generator: torch.Generator) -> tuple[Tensor, float]:
    while True:
        V = int(torch.randint(7, 12, (), generator=generator))
        chances = (1.5 * floats(generator, V)).softmax(dim=0)
        p = 0.55 + 0.35 * float(torch.rand((), generator=generator))
        sums = chances.sort(descending=True).values.cumsum(0)
        clear = (sums - p).abs().min() > 0.01  # no rounding decides
        likeliest_is_not_at_an_end = 0 < chances.argmax() < V - 1
        last_is_not_needed = chances[:-1].sum() > p + 0.01  # in the order of the alphabet
        others_reach_it = 1 - chances.max() > p + 0.01  # so that the wrong order cuts something
        if clear and likeliest_is_not_at_an_end and last_is_not_needed and others_reach_it:
            return chances, p


def _sure(generator: torch.Generator) -> tuple[Tensor, float]:
    """One chance alone reaches p."""
    V = int(torch.randint(7, 12, (), generator=generator))
    logits = floats(generator, V)
    logits[int(torch.randint(1, V, (), generator=generator))] += 8
    chances = logits.softmax(dim=0)
    return chances, 0.9 * chances.max().item()


def _all_are_needed(generator: torch.Generator) -> tuple[Tensor, float]:
    V = int(torch.randint(7, 12, (), generator=generator))
    chances = floats(generator, V).softmax(dim=0)
    return chances, 1 - chances.min().item() / 2


top_p_chances = Exercise(
    name="top_p_chances",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_top_p_chances,
    inputs=(_chances_and_p, _sure, _all_are_needed),
    hint="Go through the characters, likeliest first, and keep each as long as the sum of those *before* "
    "it is below p.",
)


@top_p_chances.mistake(
    "the character with which the sum reaches p is dropped. It must stay, or the sum stays below p, and a "
    "sure model is left with nothing."
)
def crossing_dropped(chances, p):
    return _kept_while(chances, lambda reached, chance: reached + chance < p)


@top_p_chances.mistake("the kept chances no longer sum to 1: divide by their sum.")
def not_renormalised(chances, p):
    return _kept_while(chances, lambda reached, chance: reached < p, share_out=False)


@top_p_chances.mistake("it begins with the *unlikeliest*. Sort with descending=True.")
def unlikeliest_first(chances, p):
    return _kept_while(chances, lambda reached, chance: reached < p, descending=False)


@top_p_chances.mistake(
    "the characters are taken in the order of the alphabet. Sort them by their chance first."
)
def not_sorted(chances, p):
    kept = chances * (chances.cumsum(0) - chances < p)
    return kept / kept.sum()


@top_p_chances.mistake(
    "only characters stay whose *own* chance is above 1 − p. It is the sum of the likeliest that must "
    "reach p."
)
def own_chance(chances, p):
    kept = chances * (chances > 1 - p)
    return kept / kept.sum()


@top_p_chances.mistake("nothing is cut off. Stop as soon as the sum of those kept reaches p.")
def nothing_cut(chances, p):
    return chances.clone()


@top_p_chances.mistake(
    "only the likeliest stays. Keep on as long as the sum of those *before* is below p."
)
def likeliest_only(chances, p):
    return (torch.arange(len(chances)) == chances.argmax()).float()


@top_p_chances.mistake(
    "the right ones are kept, but they stand in *sorted* order. Put each back in its own place."
)
def left_sorted(chances, p):
    return _top_p_chances(chances, p).sort(descending=True).values


# --- next_output --------------------------------------------------------------------------------------


def _next_output(
    q: Float[Tensor, " D"], keys: Float[Tensor, "T D"], values: Float[Tensor, "T D"]
) -> Float[Tensor, " D"]:
    return (keys @ q / math.sqrt(q.shape[0])).softmax(dim=0) @ values


def _kept(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    T, D = sizes(generator, (5, 8), (9, 16))
    return floats(generator, D), floats(generator, T, D), floats(generator, T, D)


next_output = Exercise(
    name="next_output",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_next_output,
    inputs=_kept,
    hint="Step 5, the last two lines of the loop. Is a mask needed?",
)


@next_output.mistake("the division by √D is missing.")
def cache_not_divided(q, keys, values):
    return (keys @ q).softmax(dim=0) @ values


@next_output.mistake(
    "the scores are divided by √T, the root of the number of kept places. D is the length of the query."
)
def cache_divided_by_root_T(q, keys, values):
    return (keys @ q / math.sqrt(len(keys))).softmax(dim=0) @ values


@next_output.mistake(
    "the newest place is masked. It must see itself: its own key and value were kept before it looks."
)
def newest_hidden(q, keys, values):
    return _next_output(q, keys[:-1], values[:-1])


@next_output.mistake("this is the newest value alone. The query must meet *all* kept keys.")
def newest_only(q, keys, values):
    return values[-1].clone()


@next_output.mistake("the keys are mixed in place of the values.")
def keys_mixed(q, keys, values):
    return _next_output(q, keys, keys)


@next_output.mistake("the scores are divided by D. Divide by its square root.")
def cache_divided_by_D(q, keys, values):
    return (keys @ q / q.shape[0]).softmax(dim=0) @ values


@next_output.mistake("the softmax is missing: scores are no weights.")
def cache_without_softmax(q, keys, values):
    return keys @ q / math.sqrt(q.shape[0]) @ values


@next_output.mistake("keys and values are swapped: the query meets the keys, and gathers values.")
def keys_and_values_swapped(q, keys, values):
    return _next_output(q, values, keys)


# --- questions ----------------------------------------------------------------------------------------

which_dial = Question(
    name="which_dial",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "a temperature of 0.3",
            "It makes the likely likelier everywhere, after `the ` too: the text would repeat itself.",
        ),
        "b": (
            "top-k with k = 2",
            "Two are enough where the model is sure; but after a space it would forbid nearly all words.",
        ),
        "c": (
            "top-p with p = 0.95",
            "Where the model is sure, only few stay; where it is not, many do. It cuts the tail alone.",
        ),
        "d": (
            "a temperature of 1.5",
            "That makes the tail heavier, and with it the number of misspelt words.",
        ),
    },
    right="c",
    hint="What should happen after `My lor`, and what after `the `?",
)

EXERCISES = [with_temperature, top_k_chances, top_p_chances, next_output, which_dial]
