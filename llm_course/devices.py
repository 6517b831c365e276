"""Where a model computes, and in which precision: the same `train` for all of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; "auto" is the first CUDA device, where there is one, else the CPU.

    Raises ValueError where this machine has none of that kind.
    """
    if name not in DEVICES:
        raise ValueError(f"there is no device {name!r}: {', '.join(DEVICES)}")
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    if (name == "cuda" and not has_cuda) or (name == "mps" and not torch.mps.is_available()):
        raise ValueError(
            f"this PyTorch finds no {name} device here. The device cpu is always there."
        )
    return torch.device(name)


def use_autocast(model: nn.Module, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """Let a model's matrix products be computed in `dtype` in training, in place; evaluation stays.

    Weights, norms and the loss stay in float32 (Micikevicius and others, "Mixed Precision Training",
    2017). A model that has a `training_dtype` of its own, the modern transformer, needs no help.
    """
    has_its_own = hasattr(model, "training_dtype")
    model.training_dtype = dtype
    if has_its_own:
        return model
    in_float32: Callable[..., Any] = model.forward

    def forward(tokens: Tensor, targets: Tensor | None = None) -> Any:
        with torch.autocast(tokens.device.type, model.training_dtype, enabled=model.training):
            return in_float32(tokens, targets)

    model.forward = forward
    return model
