"""LoRA: large matrices stay as they are, and beside each a product of two thin ones learns.

Hu and others, "LoRA: Low-Rank Adaptation of Large Language Models" (2021), section 4.
"""

import math
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

LAYERS = ("query_key_value", "output", "wider", "back")  # the matrices of a block


class LoRALinear(nn.Module):
    """A linear layer W x + b that is frozen, and (α / r) · B (A x) beside it, which learns.

    A goes from the inputs I down to r numbers, B from these up to the outputs O. B begins at zero, so
    that the layer begins as the one it was. r is called `rank`, since B A has at most this rank.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        if not 1 <= rank <= min(linear.weight.shape):
            raise ValueError(
                f"rank must be a whole number from 1 to {min(linear.weight.shape)}, the smaller side of "
                f"the matrix, and is {rank!r}"
            )
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be above 0 and finite, and is {alpha!r}")
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        like, bound = linear.weight, 1 / math.sqrt(linear.in_features)
        self.A = nn.Parameter(like.new_empty(rank, linear.in_features).uniform_(-bound, bound))
        self.B = nn.Parameter(like.new_zeros(linear.out_features, rank))

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """The one matrix that does the same: W + (α / r) · B A."""
        return self.linear.weight + self.scale * (self.B @ self.A)

    @property
    def bias(self) -> Float[Tensor, " O"] | None:
        """The bias, which stays as it is."""
        return self.linear.bias

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """Return W x + b + (α / r) · B (A x), without making the large product B A."""
        return self.linear(x) + self.scale * (x @ self.A.T @ self.B.T)

    def merged(self) -> nn.Linear:
        """Return the plain layer that does the same, with weights of its own."""
        layer = deepcopy(self.linear).requires_grad_()
        with torch.no_grad():
            layer.weight.copy_(self.weight)
        return layer


def add_lora(
    model: nn.Module, rank: int, alpha: float, layers: tuple[str, ...] = LAYERS
) -> dict[str, LoRALinear]:
    """Freeze a model, and put LoRA beside these layers of its blocks; return them by their names.

    Draws from PyTorch's global generator. ValueError for other names and what cannot be.
    """
    check_merged(model)
    if getattr(model, "training_dtype", None) is not None:
        raise ValueError(
            "LoRA computes in the precision of the weights: set the model's training_dtype to None first"
        )
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "blocks." in name and name.split(".")[-1] in layers
    ]
    known = {name.split(".")[-1] for name in found}
    missing = [layer for layer in layers if layer not in known]
    if missing or not found:
        raise ValueError(f"{type(model).__name__} has no layers {', '.join(missing)} in its blocks")
    made = {name: LoRALinear(model.get_submodule(name), rank, alpha) for name in found}
    model.requires_grad_(False)
    for name, adapter in made.items():
        model.set_submodule(name, adapter)
    return adapters(model)


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the layers of a model that have LoRA, by their names."""
    return {name: part for name, part in model.named_modules() if isinstance(part, LoRALinear)}


def check_merged(model: nn.Module) -> None:
    """Raise ValueError where a model has LoRA, for whatever knows plain layers alone."""
    if adapters(model):
        raise ValueError("the model has LoRA beside its layers: merge it first (merge_lora)")


def merge_lora(model: nn.Module) -> dict[str, LoRALinear]:
    """Put plain layers that do the same in place of those with LoRA; return what was taken out."""
    taken_out = adapters(model)
    for name, adapter in taken_out.items():
        model.set_submodule(name, adapter.merged())
    return taken_out


def unmerge_lora(model: nn.Module, taken_out: dict[str, LoRALinear]) -> None:
    """Put back what `merge_lora` took out: bit for bit what was there before."""
    for name, adapter in taken_out.items():
        model.set_submodule(name, adapter)


def n_trainable(model: nn.Module) -> int:
    """Return how many numbers of a model may learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
