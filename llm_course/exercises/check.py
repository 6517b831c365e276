"""Checking an attempt: against the reference, against the named mistakes, then by general probes."""

import dis
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from llm_course.exercises.comparison import alike, equal, kind_of_numbers
from llm_course.exercises.difference import brief, difference, kind_of
from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.trial import Outcome, TooLongError, is_untouched, run


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
    trials = exercise.draw(generator)
    if problem := _wrong_arguments(attempt, exercise, trials[0]):
        return Result(False, problem)
    outcomes = []
    for inputs in trials:
        outcomes.append(run(attempt, inputs))
        if isinstance(outcomes[-1].error, TooLongError):  # once is enough
            trials = trials[: len(outcomes)]
            break
    wanted = [exercise.reference(*inputs) for inputs in trials]
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


def _is(wrong: Callable[..., Any], outcomes: list[Outcome], trials: list[tuple]) -> bool:
    """Return whether this mistake does what the attempt did, in every trial: same result, or same error."""
    for outcome, inputs in zip(outcomes, trials, strict=True):
        try:
            value = wrong(*inputs)
        except Exception as error:
            if type(error) is not type(outcome.error) or str(error) != said(outcome.error):
                return False
        else:
            forms = (outcome.value, _as_decimal(outcome.value))
            if outcome.error is not None or not any(equal(form, value) for form in forms):
                return False
    return True


def _as_decimal(value: Any) -> Any:
    """Return whole numbers in a tensor as decimal ones: counts are recognised in either form."""
    is_whole = isinstance(value, Tensor) and kind_of_numbers(value) == "whole"
    return value.float() if is_whole and value.dim() > 0 else value


def said(error: BaseException | None) -> str:
    """Return what an error says, also where it cannot speak."""
    try:
        return str(error)
    except Exception:
        return ""


def _not_a_function(exercise: Exercise, attempt: Any) -> str:
    if inspect.isclass(attempt):
        return f"{exercise.name}: {attempt.__name__} is a class. Hand over the function that does the work."
    if callable(attempt):
        return ""
    kind = "nothing (None)" if attempt is None else kind_of(attempt)
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
            if isinstance(before, (dict, list)) and not _same(after, before):
                return (
                    f"your function changes its argument {name}, which its caller may still need."
                )
            if not all(map(equal, _tensors(after), _tensors(before))):
                return (
                    f"your function changes its argument {name}, which its caller may still need. Look for "
                    "+= or the like, an operation whose name ends with _, or an assignment into the tensor."
                )
    return ""


def _same(after: Any, before: Any) -> bool:
    """Compare a list or dict with what it was; tensors in a list cannot be asked with ==."""
    if any(isinstance(value, Tensor) for value in before):
        return equal(after, before)
    return after == before


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
            return _raised(outcome, inputs) + _of_the_notebook(attempt) + _printed(outcome), inputs
    for outcome, inputs, value in zip(outcomes, trials, wanted, strict=True):
        if problem := difference(outcome.value, value):
            if changed := _changed_inputs(exercise, outcomes, trials):
                problem += f"\nBesides, {changed}"
            elif exercise.causal and _sees_the_future(attempt, inputs, value):
                problem = (
                    "the result at a place changes when a *later* place of the input is changed: it sees "
                    f"the future. Is the mask there, and does every row make its own sum? ({problem})"
                )
            problem += _for_these(exercise, value, inputs)
            return problem + _of_the_notebook(attempt) + _printed(outcome), inputs
    raise AssertionError("the attempt equals the reference")


def _raised(outcome: Outcome, inputs: tuple) -> str:
    if isinstance(outcome.error, TooLongError):
        return f"{outcome.error}, so it was stopped. Does a loop in it never end?"
    message = said(outcome.error).rstrip(".")
    where = f", in the line\n    {outcome.line}" if outcome.line else "."
    advice = ""
    is_about_shapes = re.search("size|shape|dimension|index|expand|broadcast", message)
    if re.search("must be tuple of ints,but got float", message):
        advice = "\nA size is a whole number: // divides without a rest."
    elif "torch.tensor(" in outcome.line and re.search("element", message):
        advice = "\ntorch.stack makes one tensor of a list of tensors; torch.tensor takes numbers."
    elif outcome.line and is_about_shapes and any(map(_tensors, inputs)):
        advice = "\nPrint the shapes just before that line."
    kind = type(outcome.error).__name__
    return f"it raises {kind}{': ' * bool(message)}{message}{where}{advice}"


def _printed(outcome: Outcome) -> str:
    """Show the last lines that a function printed before it failed."""
    lines = outcome.printed.strip().splitlines()[-5:]
    return "".join(f"\nprinted: {line[:200]}" for line in lines)


def _of_the_notebook(attempt: Any) -> str:
    """Name numbers and tensors that an attempt takes from the notebook, and not from its arguments."""
    code, around = getattr(attempt, "__code__", None), getattr(attempt, "__globals__", {})
    names = (
        {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
        if code
        else ()
    )
    values = (int, float, str, tuple, list, Tensor, nn.Module)  # a dict is a table of one's own
    used = sorted(name for name in names if isinstance(around.get(name), values))
    if not used:
        return ""
    return (
        f"\nYour function uses the notebook's {', '.join(used)}. Is it not among its own arguments?"
    )


def _for_these(exercise: Exercise, wanted: Any, inputs: tuple) -> str:
    """Name the arguments, where a single result leaves open which case went wrong."""
    names = inspect.signature(exercise.reference).parameters
    told = {
        name: value
        for name, value in zip(names, inputs, strict=True)
        if isinstance(value, (int, float, str, dict, Tensor))
    }
    if (isinstance(wanted, Tensor) and wanted.dim() > 0) or not told:
        return ""
    return (
        f"\nThat was for {', '.join(f'{name} = {brief(value)}' for name, value in told.items())}."
    )


def _sees_the_future(attempt: Any, inputs: tuple, wanted: Any) -> bool:
    """Change the last place of every argument, and look whether results at earlier places change."""
    changed = tuple(_last_place_changed(x, inputs[0].shape[1]) for x in inputs)
    before, again, after = (run(attempt, tried).value for tried in (inputs, inputs, changed))
    if any(not alike(value, wanted) for value in (before, again, after)):
        return False
    if not equal(again, before):  # it draws random numbers: no two runs are alike
        return False
    return not torch.allclose(before[:, :-1], after[:, :-1], equal_nan=True)


def _last_place_changed(x: Any, T: int) -> Any:
    if not (isinstance(x, Tensor) and x.dim() > 1 and x.shape[1] == T):
        return x
    return torch.cat([x[:, :-1], x[:, -1:] + 1], dim=1)


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
