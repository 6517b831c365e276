"""Whether two results are the same, as far as an exercise is concerned."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def equal(value: Any, wanted: Any) -> bool:
    """Return whether two results are the same: kind, shape, and numbers but for rounding."""
    if isinstance(wanted, Tensor) and wanted.dim() > 0:
        return alike(value, wanted) and torch.allclose(
            value.to(wanted.dtype), wanted, rtol=1e-4, atol=1e-6, equal_nan=True
        )
    if isinstance(wanted, (tuple, list)):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(wanted)
            and all(equal(v, w) for v, w in zip(value, wanted, strict=True))
        )
    if not _is_number(wanted):
        return isinstance(value, type(wanted)) and value == wanted
    number = number_of(value)
    if number is None or isinstance(wanted, int):
        return number == wanted
    if math.isnan(number) or math.isnan(wanted):
        return math.isnan(number) and math.isnan(wanted)
    exact = isinstance(wanted, float)  # and no tensor, which rounds more coarsely
    return math.isclose(number, wanted, rel_tol=1e-5 if exact else 1e-4, abs_tol=1e-6)


def alike(value: Any, wanted: Tensor) -> bool:
    """Return whether a value is a tensor that can be compared: of the same shape, kind and place."""
    return isinstance(value, Tensor) and (
        (value.shape, kind_of_numbers(value), value.device, value.layout)
        == (wanted.shape, kind_of_numbers(wanted), wanted.device, wanted.layout)
    )


def kind_of_numbers(value: Tensor) -> str:
    """Return "decimal", "whole", "boolean" or "complex"; how many bits a number has is nobody's mistake."""
    if value.is_complex() or value.dtype == torch.bool:
        return "complex" if value.is_complex() else "boolean"
    return "decimal" if value.is_floating_point() else "whole"


def _is_number(value: Any) -> bool:
    return (isinstance(value, Tensor) and value.dim() == 0) or (
        isinstance(value, (int, float)) and not isinstance(value, bool)
    )


def number_of(value: Any) -> float | None:
    """Return a number, also one that comes as a tensor or array of one element; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.device.type != "meta":
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return float(value.item())
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return float(value)
    return None
