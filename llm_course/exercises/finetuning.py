"""Exercises of notebook 16: LoRA, what it costs, what is learned from, and what must not be seen."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "16_finetuning"

# --- lora_forward -------------------------------------------------------------------------------------


def _lora_forward(
    x: Float[Tensor, "B I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "r I"],
    B: Float[Tensor, "O r"],
    alpha: float,
) -> Float[Tensor, "B O"]:
    rank = len(A)
    return x @ weight.T + alpha / rank * (x @ A.T @ B.T)


def _adapter(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    rank, rows, inputs, outputs = sizes(generator, (2, 3), (4, 5), (6, 8), (9, 11))
    return (
        floats(generator, rows, inputs),
        floats(generator, outputs, inputs),
        floats(generator, rank, inputs),
        floats(generator, outputs, rank),
        4.0 + int(torch.randint(9, 14, (), generator=generator)) / 8,
    )


lora_forward = Exercise(
    name="lora_forward",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_lora_forward,
    inputs=_adapter,
    hint="A layer with weight W computes x @ W.T, not W @ x: the rows of x are the inputs. A takes x down "
    "to r numbers, B takes these up; r is the number of rows of A.",
)


@lora_forward.mistake("the scale is missing: what A and B add is multiplied by alpha / r.")
def without_scale(x, weight, A, B, alpha):
    return x @ weight.T + x @ A.T @ B.T


@lora_forward.mistake(
    "what A and B add is multiplied by alpha alone. Divide by the rank r as well."
)
def alpha_alone(x, weight, A, B, alpha):
    return x @ weight.T + alpha * (x @ A.T @ B.T)


@lora_forward.mistake(
    "this is alpha · r. It is alpha *divided* by r, so that a larger r adds no more."
)
def times_rank(x, weight, A, B, alpha):
    return x @ weight.T + alpha * len(A) * (x @ A.T @ B.T)


@lora_forward.mistake("the scale is upside down: alpha / r, not r / alpha.")
def upside_down(x, weight, A, B, alpha):
    return x @ weight.T + len(A) / alpha * (x @ A.T @ B.T)


@lora_forward.mistake(
    "the scale divides by the number of *inputs*. r is the number of rows of A: A.shape[0]."
)
def by_inputs(x, weight, A, B, alpha):
    return x @ weight.T + alpha / A.shape[1] * (x @ A.T @ B.T)


@lora_forward.mistake(
    "the scale divides by the number of *outputs*, the rows of B. r is its columns."
)
def by_outputs(x, weight, A, B, alpha):
    return x @ weight.T + alpha / len(B) * (x @ A.T @ B.T)


@lora_forward.mistake("the old layer is scaled, too. Only what A and B add is: mind the brackets.")
def all_scaled(x, weight, A, B, alpha):
    return alpha / len(A) * (x @ weight.T + x @ A.T @ B.T)


@lora_forward.mistake("this is only what LoRA adds. The old layer's x @ weight.T belongs to it.")
def only_added(x, weight, A, B, alpha):
    return alpha / len(A) * (x @ A.T @ B.T)


@lora_forward.mistake("this is the old layer alone: A and B are not used.")
def only_old(x, weight, A, B, alpha):
    return x @ weight.T


@lora_forward.mistake("what LoRA adds is subtracted.")
def subtracted(x, weight, A, B, alpha):
    return x @ weight.T - alpha / len(A) * (x @ A.T @ B.T)


@lora_forward.mistake(
    "the shapes do not fit: what x is multiplied by is *transposed*, x @ weight.T and x @ (B @ A).T."
)
def not_transposed(x, weight, A, B, alpha):
    return x @ weight + alpha / len(A) * (x @ A @ B)


# --- count_lora ---------------------------------------------------------------------------------------


def _count_lora(shapes: list[tuple[int, int]], rank: int) -> int:
    return sum(rank * (outputs + inputs) for outputs, inputs in shapes)


def _shapes(generator: torch.Generator) -> tuple[list[tuple[int, int]], int]:
    n = int(torch.randint(3, 6, (), generator=generator))
    drawn = [sizes(generator, (16, 40), (41, 80)) for _ in range(n)]
    shapes = [(a, b) if i % 2 else (b, a) for i, (a, b) in enumerate(drawn)]
    return shapes, int(torch.randint(3, 9, (), generator=generator))


count_lora = Exercise(
    name="count_lora",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_count_lora,
    inputs=_shapes,
    hint="A has the shape (r, inputs) and B (outputs, r). Add up what both hold, over all matrices.",
)


@count_lora.mistake("these are the numbers of the matrices themselves, which are frozen.")
def whole_matrices(shapes, rank):
    return sum(outputs * inputs for outputs, inputs in shapes)


@count_lora.mistake(
    "sides are multiplied: r · outputs · inputs. A has r · inputs and B outputs · r: add."
)
def multiplied(shapes, rank):
    return sum(rank * outputs * inputs for outputs, inputs in shapes)


@count_lora.mistake("only A is counted. B learns, too.")
def only_a(shapes, rank):
    return sum(rank * inputs for _, inputs in shapes)


@count_lora.mistake("only B is counted. A learns, too.")
def only_b(shapes, rank):
    return sum(outputs * rank for outputs, _ in shapes)


@count_lora.mistake("brackets are missing: rank * (outputs + inputs).")
def without_brackets(shapes, rank):
    return sum(rank * outputs + inputs for outputs, inputs in shapes)


@count_lora.mistake("this is right for rank 1: multiply by r.")
def without_rank(shapes, rank):
    return sum(outputs + inputs for outputs, inputs in shapes)


@count_lora.mistake("only the first matrix is counted: sum over all of them.")
def first_matrix(shapes, rank):
    return _count_lora(shapes[:1], rank)


@count_lora.mistake("the frozen matrices are counted as well. They do not learn.")
def with_frozen(shapes, rank):
    return _count_lora(shapes, rank) + whole_matrices(shapes, rank)


@count_lora.mistake(
    "a matrix between A and B is counted: r · r more. There is none; B multiplies A itself."
)
def with_core(shapes, rank):
    return _count_lora(shapes, rank) + len(shapes) * rank**2


@count_lora.mistake("this is their *share* of the matrices. The number is wanted.")
def as_share(shapes, rank):
    return _count_lora(shapes, rank) / whole_matrices(shapes, rank)


@count_lora.mistake("biases are counted: one for every output. LoRA adds none.")
def with_biases(shapes, rank):
    return _count_lora(shapes, rank) + sum(outputs for outputs, _ in shapes)


# --- answer_targets -----------------------------------------------------------------------------------


def _answer_targets(tokens: Int[Tensor, " N"], n_prompt: int) -> Int[Tensor, " N_less_one"]:
    targets = tokens[1:].clone()
    targets[: n_prompt - 1] = -100
    return targets


def _prompted(generator: torch.Generator) -> tuple[Tensor, int]:
    n_prompt, n_answer = sizes(generator, (4, 7), (8, 12))
    tokens = torch.randint(1, 65, (n_prompt + n_answer,), generator=generator)
    return tokens, n_prompt


answer_targets = Exercise(
    name="answer_targets",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_answer_targets,
    inputs=_prompted,
    hint="Targets are the tokens one later: tokens[1:]. The first token of the answer is a target; it "
    "stands at place n_prompt − 1 of them. What lies before it becomes −100. Use clone().",
)


@answer_targets.mistake(
    "one target too many is ignored: the *first* token of the answer. It follows the prompt's last "
    "token, so it stands at place n_prompt − 1 of the targets."
)
def first_ignored(tokens, n_prompt):
    return _answer_targets(tokens, n_prompt + 1)


@answer_targets.mistake(
    "the prompt's last token is still a target: ignore the first n_prompt − 1 targets."
)
def last_of_prompt(tokens, n_prompt):
    return _answer_targets(tokens, n_prompt - 1)


@answer_targets.mistake("nothing is ignored: the model learns to write the prompt as well.")
def nothing_ignored(tokens, n_prompt):
    return tokens[1:].clone()


@answer_targets.mistake(
    "the targets are not shifted. A target is the token *after* its place: tokens[1:]."
)
def not_shifted(tokens, n_prompt):
    targets = tokens.clone()
    targets[:n_prompt] = -100
    return targets


@answer_targets.mistake(
    "the length is that of the targets, but these are the inputs, tokens[:-1]. Take tokens[1:]."
)
def inputs_as_targets(tokens, n_prompt):
    targets = tokens[:-1].clone()
    targets[: n_prompt - 1] = -100
    return targets


@answer_targets.mistake(
    "these are the inputs, tokens[:-1]. The targets are one later, tokens[1:], with −100 in the prompt."
)
def inputs_alone(tokens, n_prompt):
    return tokens[:-1].clone()


@answer_targets.mistake(
    "the ignored targets are 0, which is a token: the model would learn to write it. The sign is −100."
)
def zero_in_place(tokens, n_prompt):
    return _answer_targets(tokens, n_prompt).clamp(min=0)


@answer_targets.mistake(
    "the ignored targets are −1. cross_entropy leaves out −100, unless told otherwise."
)
def minus_one(tokens, n_prompt):
    return _answer_targets(tokens, n_prompt).clamp(min=-1)


@answer_targets.mistake("the *answer* is ignored and the prompt is learned: the wrong way round.")
def answer_ignored(tokens, n_prompt):
    targets = tokens[1:].clone()
    targets[n_prompt - 1 :] = -100
    return targets


@answer_targets.mistake(
    "the prompt is cut off. The targets must stay as long as the inputs, N − 1: put −100 in its place."
)
def cut_off(tokens, n_prompt):
    return tokens[n_prompt:].clone()


@answer_targets.mistake("the last token is ignored, too. It ends the answer, and must be learned.")
def end_ignored(tokens, n_prompt):
    targets = _answer_targets(tokens, n_prompt)
    targets[-1] = -100
    return targets


# --- without_leak -------------------------------------------------------------------------------------


def _without_leak(scenes: list[int], test: list[int]) -> list[int]:
    held_out = {scenes[i] for i in test}
    return [i for i, scene in enumerate(scenes) if scene not in held_out]


def _scenes(generator: torch.Generator, *, mixed: bool) -> tuple[list[int], list[int]]:
    """Return the scenes of some speeches, in order or mixed, and two speeches held out."""
    lengths = torch.randint(3, 6, (7,), generator=generator).tolist()
    numbers = torch.randperm(7, generator=generator).tolist()
    scenes = [number for number, n in zip(numbers, lengths, strict=True) for _ in range(n)]
    test = [1, sum(lengths[:4]) + 1]
    if mixed:
        order = torch.randperm(len(scenes) - 1, generator=generator).tolist()
        order = [len(scenes) - 1, *order]  # the first may be learned from
        scenes = [scenes[i] for i in order]
        test = sorted(order.index(i) for i in test)
    return scenes, test


def _in_order(generator: torch.Generator) -> tuple[list[int], list[int]]:
    return _scenes(generator, mixed=False)


def _mixed(generator: torch.Generator) -> tuple[list[int], list[int]]:
    return _scenes(generator, mixed=True)


without_leak = Exercise(
    name="without_leak",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_without_leak,
    inputs=(_in_order, _mixed),
    hint="First collect the scenes of the speeches that are held out. Then go through all speeches, and "
    "keep the numbers of those whose scene is not among them.",
)


@without_leak.mistake(
    "only the held-out speeches are taken out. Others of their scenes are still learned from: a leak."
)
def speeches_only(scenes, test):
    return [i for i in range(len(scenes)) if i not in test]


@without_leak.mistake("these are the speeches of the held-out scenes: the wrong way round.")
def the_others(scenes, test):
    held_out = {scenes[i] for i in test}
    return [i for i, scene in enumerate(scenes) if scene in held_out]


@without_leak.mistake("these are the scenes. The numbers of the speeches are wanted (enumerate).")
def scenes_themselves(scenes, test):
    held_out = {scenes[i] for i in test}
    return [scene for scene in scenes if scene not in held_out]


@without_leak.mistake("these are True and False. The numbers of the speeches are wanted.")
def as_booleans(scenes, test):
    held_out = {scenes[i] for i in test}
    return [scene not in held_out for scene in scenes]


@without_leak.mistake(
    "`test` holds numbers of *speeches*, and here it is compared with scenes. scenes[i] is the scene of "
    "speech i."
)
def compared_with_scenes(scenes, test):
    return [i for i, scene in enumerate(scenes) if scene not in test]


@without_leak.mistake(
    "only the first held-out speech's scene is taken out. All their scenes must be."
)
def first_only(scenes, test):
    return [i for i, scene in enumerate(scenes) if scene != scenes[test[0]]]


@without_leak.mistake(
    "only the last held-out speech's scene is taken out. All their scenes must be."
)
def last_only(scenes, test):
    return [i for i, scene in enumerate(scenes) if scene != scenes[test[-1]]]


@without_leak.mistake(
    "the direct neighbours are taken out, and no more. A whole scene belongs together, wherever it stands."
)
def neighbours_only(scenes, test):
    near = {i + step for i in test for step in (-1, 0, 1)}
    return [i for i in range(len(scenes)) if i not in near]


@without_leak.mistake(
    "one speech of each scene is left. All of a scene that is not held out may be used."
)
def one_of_each(scenes, test):
    held_out = {scenes[i] for i in test}
    return [i for i, s in enumerate(scenes) if s not in held_out and s not in scenes[:i]]


@without_leak.mistake(
    "nothing is taken out. A scene must differ from *all* held-out ones; from one of two, it always does."
)
def from_any(scenes, test):
    return [i for i, scene in enumerate(scenes) if any(scene != scenes[j] for j in test)]


# --- questions ----------------------------------------------------------------------------------------

too_good = Question(
    name="too_good",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=3,
    options={
        "a": (
            "publish: it was measured on speeches that were held out",
            "Held out, but from the same conversations. What it knows of these would not help elsewhere.",
        ),
        "b": (
            "train longer, to see whether 95 % can be reached",
            "A number that means something else than you think does not get better by being larger.",
        ),
        "c": (
            "split by conversations, and measure again",
            "Neighbours share a subject and its words. Only whole conversations that were held out tell "
            "what happens with a new one.",
        ),
        "d": (
            "draw the held-out messages anew, several times, and take the mean",
            "Every such draw leaks in the same way: the mean is as wrong as each of them.",
        ),
    },
    right="c",
    hint="What will be new about a message that arrives tomorrow?",
)

EXERCISES = [lora_forward, count_lora, answer_targets, without_leak, too_good]
