"""From logits to the chances that a token is drawn by: temperature, top-k and top-p."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How to draw: by the model's own chances, unless told otherwise.

    First the logits are divided by `temperature`: below 1, the likely gets likelier. Then only the
    `top_k` likeliest tokens stay, and of these the fewest whose chances reach `top_p`.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, int | float) or not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature must be above 0 and finite, and is {self.temperature!r}; "
                "top_k=1 always takes the likeliest"
            )
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise ValueError(f"top_k must be a whole number from 1 on, and is {self.top_k!r}")
        if self.top_p is not None and not (
            isinstance(self.top_p, int | float) and 0 < self.top_p <= 1
        ):
            raise ValueError(f"top_p must lie above 0 and at most at 1, and is {self.top_p!r}")

    def probs(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Return the chances to draw each token by."""
        logits = logits / self.temperature
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        return logits.softmax(dim=-1)


def keep_top_k(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]:
    """Return the logits with all but the k largest at −inf; of equal ones, the first stay.

    Fan and others, "Hierarchical Neural Story Generation" (2018).
    """
    likeliest = logits.argsort(dim=-1, descending=True, stable=True)[:, :k]
    dropped = torch.ones_like(logits, dtype=torch.bool).scatter(-1, likeliest, False)
    return logits.masked_fill(dropped, -math.inf)


def keep_top_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]:
    """Return the logits with all at −inf but the fewest, likeliest first, whose chances reach p.

    The token with which the sum reaches p stays, so at least one always does.
    Holtzman and others, "The Curious Case of Neural Text Degeneration" (2020).
    """
    if p >= 1:
        return logits  # all of them; a sum of chances would round
    likeliest_first = logits.argsort(dim=-1, descending=True, stable=True)
    probs = logits.softmax(dim=-1).gather(-1, likeliest_first)
    chance_of_likelier = probs.cumsum(dim=-1) - probs
    dropped = torch.empty_like(logits, dtype=torch.bool)
    is_over = (chance_of_likelier >= p) & (chance_of_likelier > 0)  # never the likeliest one
    dropped.scatter_(-1, likeliest_first, is_over)
    return logits.masked_fill(dropped, -math.inf)
