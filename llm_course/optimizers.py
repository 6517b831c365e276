"""Muon, an optimizer for matrices, and who trains what."""

import time
from collections.abc import Iterable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_course.distributed import as_the_first, shared_out_like, whole

# Of the polynomial that brings singular values near 1 (Jordan and others, "Muon", 2024).
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalise(
    matrices: Float[Tensor, "N R C"], steps: int = 5, dtype: torch.dtype = torch.bfloat16
) -> Float[Tensor, "N R C"]:
    """Return matrices with the same singular vectors, and all singular values near 1 (0.7 to 1.2).

    By Newton–Schulz steps, which need no decomposition: X ← A·X + (B·XXᵀ + C·(XXᵀ)²)·X.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonalise(matrices.mT, steps, dtype).mT
    x = matrices.to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = A * x + (B * square + C * square @ square) @ x
    return x.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: every direction in which a matrix can act is moved equally far.

    Equal to `torch.optim.Muon` (Nesterov momentum, decoupled weight decay), with the matrices of one
    shape in one product. Jordan and others, "Muon: an optimizer for hidden layers" (2024).
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.ndim != 2:
                    raise ValueError(
                        f"Muon moves matrices, and this has shape {tuple(matrix.shape)}"
                    )

    @torch.no_grad()
    def step(self) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in by_shape.items():
                updates = [self._with_momentum(matrix, group["momentum"]) for matrix in matrices]
                stacked = torch.stack([whole(update) for update in updates])
                directions = orthogonalise(stacked, dtype=self.dtype)
                length = group["lr"] * max(1, rows / columns) ** 0.5
                for matrix, direction in zip(matrices, directions, strict=True):
                    if group["weight_decay"]:
                        matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.sub_(shared_out_like(direction, matrix), alpha=length)

    def _with_momentum(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        """Return the gradient, mixed with the mean of those before (Nesterov's way)."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)


def make_optimizers(
    model: nn.Module, learning_rate: float, muon_rate: float | None, weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters; with a `muon_rate`, Muon for the matrices of the blocks."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and name.startswith("blocks.")]
    if muon_rate is None:
        matrices = []
    chosen = set(matrices)
    adamw = torch.optim.AdamW(
        [p for _, p in named if p not in chosen],
        lr=learning_rate,
        weight_decay=weight_decay,
        fused=True,  # all parameters in one pass: the same numbers in less time
    )
    if muon_rate is None:
        return [adamw]
    if not matrices:
        raise ValueError(f"{type(model).__name__} has no blocks, whose matrices Muon could move")
    dtype = fastest_dtype(matrices[0].device)
    return [adamw, Muon(matrices, muon_rate, weight_decay=weight_decay, dtype=dtype)]


@cache
def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where this machine multiplies it clearly faster than float32, else float32.

    Measured once, in some milliseconds: a processor's name does not tell.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1536, 512, dtype=dtype, device=device)
        times = []
        for _ in range(6):
            started = time.perf_counter()
            product = x @ x[:512]
            product[0, 0].item()  # waits for a GPU
            times.append(time.perf_counter() - started)
        seconds[dtype] = min(times)
    pays = 1.5 * seconds[torch.bfloat16] < seconds[torch.float32]
    return as_the_first(torch.bfloat16 if pays else torch.float32)
