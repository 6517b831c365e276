"""How a result differs from the one that was wanted, in a sentence that says what to do next."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from llm_course.exercises.comparison import equal, kind_of_numbers, number_of


def difference(value: Any, wanted: Any, place: str = "") -> str:
    """Say how a result differs from the wanted one; "" if it does not."""
    if equal(value, wanted):
        return ""
    if value is None:
        return "it returns None. Does it end with `return`, in every case?"
    if isinstance(wanted, (tuple, list)):
        if not isinstance(value, (tuple, list)) or len(value) != len(wanted):
            kinds = f"{kind_of(wanted)}, and is {kind_of(value)}"
            return f"the result{place} should be {kinds}.{_turned(value, wanted)}"
        for i, (v, w) in enumerate(zip(value, wanted, strict=True)):
            if problem := difference(v, w, f"{place}[{i}]"):
                return problem
    which = f"result{place}"
    if not isinstance(wanted, Tensor) or wanted.dim() == 0:
        more = "" if isinstance(wanted, (str, float, int)) else _WHERE
        return f"the {which} should be {_two(wanted, value)}.{more}"
    if not isinstance(value, Tensor):
        turned = ""
        if isinstance(value, np.ndarray):
            turned = " torch.from_numpy turns one into the other."
        elif _stacked_shape(value) == wanted.shape:
            turned = " torch.stack makes one tensor of them."
        return f"the {which} should be a tensor, and is {kind_of(value)}.{turned}"
    if value.shape != wanted.shape:
        return (
            f"the {which} should have the shape {tuple(wanted.shape)}, and has {tuple(value.shape)}. "
            "Which dimension is it that differs, and which line makes it?"
        )
    if kind_of_numbers(value) != kind_of_numbers(wanted):
        kinds = kind_of_numbers(wanted), kind_of_numbers(value)
        return f"the {which} should hold {kinds[0]} numbers, and holds {kinds[1]} ones ({value.dtype})."
    if (value.device, value.layout) != (wanted.device, wanted.layout):
        return f"the {which} should be a plain tensor on {wanted.device}, and is on {value.device}."
    if value.is_floating_point() and value.isnan().any() and not wanted.isnan().any():
        return (
            f"the {which} holds nan (not a number). It comes from 0 / 0, from inf − inf, or from a softmax "
            "of which every score is −inf."
        )
    wrong = ~torch.isclose(value.to(wanted.dtype), wanted, rtol=1e-4, atol=1e-6, equal_nan=True)
    first = tuple(wrong.nonzero()[0].tolist())
    numbers = f"{wanted.numel()} numbers{f' of {which}' if place else ''}"
    return (
        f"{int(wrong.sum())} of {numbers} differ. The first is at {list(first)}: it should "
        f"be {_two(wanted[first].item(), value[first].item())}.{_WHERE}"
    )


def _stacked_shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape that torch.stack would make of tensors; None where it cannot."""
    is_some = isinstance(value, (tuple, list)) and all(isinstance(part, Tensor) for part in value)
    shapes = {part.shape for part in value} if is_some else set()
    return (len(value), *shapes.pop()) if len(shapes) == 1 else None


def _turned(value: Any, wanted: tuple | list) -> str:
    """Return how a list of numbers is made of what is none, where one is wanted."""
    if isinstance(wanted, tuple) or any(isinstance(part, Tensor) for part in wanted):
        return ""
    if isinstance(value, (Tensor, np.ndarray)):
        return " .tolist() makes a list of numbers of it."
    return " sorted makes a list of it, in order." if isinstance(value, (set, dict)) else ""


_WHERE = " With result = check(…), the inputs are in result.inputs: work this one out by hand."


def kind_of(value: Any) -> str:
    """Return what a value is, in words: "a Tensor of shape (2, 3)", "a list of 3"."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    kind = f"{type(value).__module__}.{type(value).__name__}".replace("builtins.", "")
    kind = kind.replace("torch.Tensor", "Tensor")
    if isinstance(value, (Tensor, np.ndarray)):
        kind += f" of shape {tuple(value.shape)}"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _two(wanted: Any, value: Any) -> str:
    """Show both so that they can be told apart: whole numbers in full, others with the digits it takes."""
    a, b = number_of(wanted), number_of(value)
    if a is None or b is None:
        return f"{brief(wanted)}, and is {brief(value)}"
    if a.is_integer() and b.is_integer():
        return f"{int(a):,}, and is {int(b):,}"
    digits = next((n for n in (4, 6, 9) if f"{a:.{n}g}" != f"{b:.{n}g}"), 12)
    return f"{a:.{digits}g}, and is {b:.{digits}g}"


def brief(value: Any) -> str:
    """Show a number, a short text or a small dictionary, and of anything else what it is."""
    if isinstance(value, bool):
        return repr(value)
    number = number_of(value)
    if number is not None:
        return f"{int(number)}" if number.is_integer() else f"{number:.6g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {brief(x)}" for key, x in list(value.items())[:10]) + "}"
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}…"
    return kind_of(value)
