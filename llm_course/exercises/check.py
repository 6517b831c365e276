"""Checking an attempt: against the reference, against the named mistakes, then by general probes."""

import copy
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.trial import Outcome, TooLongError, is_untouched, run

N_TRIALS = 3


class NotAttemptedError(RuntimeError):
    """Raised for an untouched exercise where LLM_COURSE_STRICT=1 asks for it."""


@dataclass(frozen=True)
class Result:
    """What a check came to.

    `mistake` is the name of the mistake that was recognised, or None; `inputs` are those of the trial that
    showed what no named mistake explains.
    """

    passed: bool
    feedback: str
    mistake: str | None = None
    attempted: bool = True
    inputs: tuple[Any, ...] = field(default=(), repr=False)

    def _ipython_display_(self) -> None:
        """Show nothing: the feedback was printed already."""


def examine(exercise: Exercise, attempt: Any, seed: int | None = None) -> Result:
    """Try the attempt on inputs drawn anew (from `seed`, if one is given) and say what is wrong with it."""
    if attempt is ... or is_untouched(attempt):
        return Result(False, f"{exercise.name}: not attempted yet.", attempted=False)
    if problem := _not_a_function(exercise, attempt):
        return Result(False, problem)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    trials = [exercise.draw(generator, trial) for trial in range(N_TRIALS)]
    if problem := _wrong_arguments(attempt, exercise, trials[0]):
        return Result(False, problem)
    outcomes = []
    for inputs in trials:
        outcomes.append(run(attempt, inputs))
        if isinstance(outcomes[-1].error, TooLongError):  # once is enough
            trials = trials[: len(outcomes)]
            break
    wanted = [exercise.reference(*copy.deepcopy(inputs)) for inputs in trials]
    if all(
        outcome.error is None and equal(outcome.value, value)
        for outcome, value in zip(outcomes, wanted, strict=True)
    ):
        if problem := _changed_inputs(exercise, outcomes, trials):
            return Result(False, f"{exercise.name}: {problem}")
        return Result(True, f"{exercise.name}: right.")
    for mistake in exercise.mistakes:
        if _is(mistake.wrong, outcomes, trials):
            return Result(False, f"{exercise.name}: {mistake.hint}", mistake.name)
    problem, inputs = _probe(exercise, attempt, outcomes, trials, wanted)
    return Result(False, f"{exercise.name}: {problem}", inputs=inputs)


def equal(value: Any, wanted: Any) -> bool:
    """Return whether two results are the same: kind, shape, and numbers but for rounding."""
    if isinstance(wanted, Tensor):
        return _alike(value, wanted) and torch.allclose(
            value, wanted, rtol=1e-4, atol=1e-6, equal_nan=True
        )
    if isinstance(wanted, (tuple, list)):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(wanted)
            and all(equal(v, w) for v, w in zip(value, wanted, strict=True))
        )
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        return type(value) is type(wanted) and value == wanted
    number = _number(value)
    if isinstance(wanted, int):
        return number == wanted
    return number is not None and math.isclose(number, wanted, rel_tol=1e-4, abs_tol=1e-6)


def _alike(value: Any, wanted: Tensor) -> bool:
    """Return whether a value is a tensor that can be compared: of the same shape, kind and place."""
    return isinstance(value, Tensor) and (
        (value.shape, value.dtype, value.device, value.layout)
        == (wanted.shape, wanted.dtype, wanted.device, wanted.layout)
    )


def _number(value: Any) -> float | None:
    """Return a number, also one that comes as a tensor of one element; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return float(value)
    return None


def _is(wrong: Callable[..., Any], outcomes: list[Outcome], trials: list[tuple]) -> bool:
    """Return whether this mistake gives what the attempt gave, in every trial."""
    if any(outcome.error is not None for outcome in outcomes):
        return False
    return all(
        equal(outcome.value, wrong(*copy.deepcopy(inputs)))
        for outcome, inputs in zip(outcomes, trials, strict=True)
    )


def _not_a_function(exercise: Exercise, attempt: Any) -> str:
    if inspect.isclass(attempt):
        return f"{exercise.name}: {attempt.__name__} is a class. Hand over the function that does the work."
    if callable(attempt):
        return ""
    kind = "nothing (None)" if attempt is None else _kind(attempt)
    return (
        f"{exercise.name}: this is {kind}, and no function. Hand over the function itself, without calling "
        f'it: check("{exercise.name}", my_function).'
    )


def _wrong_arguments(attempt: Any, exercise: Exercise, inputs: tuple) -> str:
    try:
        inspect.signature(attempt).bind(*inputs)
    except TypeError:
        wanted = ", ".join(inspect.signature(exercise.reference).parameters)
        count = f"{len(inputs)} argument{'s' * (len(inputs) > 1)}"
        return f"{exercise.name}: your function must take {count}: ({wanted})."
    except ValueError:  # built in, with no signature to be read
        pass
    return ""


def _changed_inputs(exercise: Exercise, outcomes: list[Outcome], trials: list[tuple]) -> str:
    names = list(inspect.signature(exercise.reference).parameters)
    for outcome, inputs in zip(outcomes, trials, strict=True):
        for name, before, after in zip(names, inputs, outcome.inputs_after, strict=True):
            if not all(map(equal, _tensors(after), _tensors(before))):
                return (
                    f"your function changes its argument {name}, which its caller may still need. Look for "
                    "+= or the like, an operation whose name ends with _, or an assignment into the tensor."
                )
    return ""


def _tensors(argument: Any) -> list[Tensor]:
    """Return the tensors that an argument is or holds: a layer holds its parameters."""
    if isinstance(argument, nn.Module):
        return list(argument.state_dict().values())
    return [argument] if isinstance(argument, Tensor) else []


def _probe(
    exercise: Exercise, attempt: Any, outcomes: list[Outcome], trials: list[tuple], wanted: list
) -> tuple[str, tuple[Any, ...]]:
    """Say what is wrong with an attempt that no named mistake explains, and on which inputs it shows."""
    for outcome, inputs in zip(outcomes, trials, strict=True):
        if outcome.error is not None:
            return _raised(outcome) + _printed(outcome), inputs
    for outcome, inputs, value in zip(outcomes, trials, wanted, strict=True):
        if problem := _difference(outcome.value, value):
            if changed := _changed_inputs(exercise, outcomes, trials):
                problem += f"\nBesides, {changed}"
            elif exercise.causal and _sees_the_future(attempt, inputs, value):
                problem = (
                    "the result at a place changes when a *later* place of the input is changed: it sees "
                    f"the future. Is the mask there, and does every row make its own sum? ({problem})"
                )
            return problem + _of_the_notebook(attempt) + _printed(outcome), inputs
    raise AssertionError("the attempt equals the reference")


def _raised(outcome: Outcome) -> str:
    if isinstance(outcome.error, TooLongError):
        return f"{outcome.error}, so it was stopped. Does a loop in it never end?"
    try:
        said = str(outcome.error)
    except Exception:
        said = ""
    where = f", in the line\n    {outcome.line}" if outcome.line else "."
    advice = ""
    if isinstance(outcome.error, (RuntimeError, IndexError, ValueError)) and outcome.line:
        advice = "\nPrint the shapes just before that line."
    return f"it raises {type(outcome.error).__name__}{': ' * bool(said)}{said}{where}{advice}"


def _printed(outcome: Outcome) -> str:
    """Show the last lines that a function printed before it failed."""
    lines = outcome.printed.strip().splitlines()[-5:]
    return "".join(f"\nprinted: {line[:200]}" for line in lines)


def _of_the_notebook(attempt: Any) -> str:
    """Name sizes and tensors that an attempt takes from the notebook, and not from its arguments."""
    names = getattr(getattr(attempt, "__code__", None), "co_names", ())
    used = [name for name in ("B", "T", "C", "D", "H", "V", "is_future") if name in names]
    if not used:
        return ""
    return (
        f"\nYour function uses the notebook's {', '.join(used)}: take sizes from its own arguments."
    )


def _difference(value: Any, wanted: Any, place: str = "") -> str:
    """Say how a result differs from the wanted one; "" if it does not."""
    if equal(value, wanted):
        return ""
    if value is None:
        return "it returns None. Does it end with `return`?"
    if isinstance(wanted, (tuple, list)):
        if not isinstance(value, (tuple, list)) or len(value) != len(wanted):
            return f"it should return {len(wanted)} things, and returns {_kind(value)}."
        for i, (v, w) in enumerate(zip(value, wanted, strict=True)):
            if problem := _difference(v, w, f"{place}[{i}]"):
                return problem
    which = f"result{place}"
    if not isinstance(wanted, Tensor):
        return f"the {which} should be {_shown(wanted)}, and is {_shown(value)}."
    if not isinstance(value, Tensor):
        turned = (
            " torch.from_numpy turns one into the other." if isinstance(value, np.ndarray) else ""
        )
        return f"the {which} should be a tensor, and is {_kind(value)}.{turned}"
    if value.shape != wanted.shape:
        return (
            f"the {which} should have the shape {tuple(wanted.shape)}, and has {tuple(value.shape)}. "
            "Which dimension is it that differs, and which line makes it?"
        )
    if value.dtype != wanted.dtype:
        return f"the {which} should hold {wanted.dtype}, and holds {value.dtype}."
    if (value.device, value.layout) != (wanted.device, wanted.layout):
        return f"the {which} should be a plain tensor on {wanted.device}, and is on {value.device}."
    if value.is_floating_point() and value.isnan().any() and not wanted.isnan().any():
        return (
            f"the {which} holds nan (not a number). It comes from 0 / 0, from inf − inf, or from a softmax "
            "of which every score is −inf."
        )
    wrong = ~torch.isclose(value, wanted, rtol=1e-4, atol=1e-6, equal_nan=True)
    first = tuple(wrong.nonzero()[0].tolist())
    return (
        f"{int(wrong.sum())} of {wanted.numel()} numbers differ. The first is at {list(first)}: it should "
        f"be {wanted[first].item():.4g}, and is {value[first].item():.4g}. With result = check(…), the "
        "inputs are in result.inputs: work this one out by hand."
    )


def _sees_the_future(attempt: Any, inputs: tuple, wanted: Any) -> bool:
    """Change the last place of every argument, and look whether results at earlier places change."""
    changed = tuple(_last_place_changed(x, inputs[0].shape[1]) for x in inputs)
    before, again, after = (run(attempt, tried).value for tried in (inputs, inputs, changed))
    if any(not _alike(value, wanted) for value in (before, again, after)):
        return False
    if not equal(again, before):  # it draws random numbers: no two runs are alike
        return False
    return not torch.allclose(before[:, :-1], after[:, :-1], equal_nan=True)


def _last_place_changed(x: Any, T: int) -> Any:
    if not (isinstance(x, Tensor) and x.dim() > 1 and x.shape[1] == T):
        return x
    return torch.cat([x[:, :-1], x[:, -1:] + 1], dim=1)


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} thing{'s' * (len(value) != 1)}"
    kind = f"{type(value).__module__}.{type(value).__name__}".replace("builtins.", "")
    kind = kind.replace("torch.Tensor", "Tensor")
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _shown(value: Any) -> str:
    number = None if isinstance(value, (bool, str)) else _number(value)
    return (
        _kind(value)
        if number is None and not isinstance(value, (bool, str))
        else (repr(value) if number is None else f"{number:.4g}")
    )


def is_strict() -> bool:
    """Return whether an untouched exercise is an error, as it is for grading."""
    return os.environ.get("LLM_COURSE_STRICT", "0") not in ("", "0")


def examine_answer(question: Question, answer: Any) -> Result:
    """Compare a letter with the right one, and give the reason of whatever was chosen."""
    if answer is None or answer is ... or answer == "":
        return Result(False, f"{question.name}: not attempted yet.", attempted=False)
    letter = str(answer).strip().lower()
    if letter not in question.options:
        return Result(
            False, f"{question.name}: answer with one letter: {', '.join(question.options)}."
        )
    _, reason = question.options[letter]
    if letter == question.right:
        return Result(True, f"{question.name}: right. {reason}")
    return Result(False, f"{question.name}: no. {reason}", mistake=letter)
