"""What a size costs, and what it would buy: counts by formula, and the power law of losses.

Sizes are those of the course's decoder: V tokens in the vocabulary, a window of T, width C, L blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def count_parameters(V: int, T: int, C: int, L: int, tied: bool = False) -> int:
    """Return the decoder's parameters; `tied`: the output layer is the embeddings' table, as in GPT-2."""
    block = 12 * C**2 + 13 * C  # four matrices of attention, two of feed-forward; biases and norms
    embeddings = V * C + T * C
    return embeddings + L * block + 2 * C + (0 if tied else V * C)


def training_flops(V: int, T: int, C: int, L: int, n_tokens: int | float) -> int | float:
    """Return the floating-point operations of a training on so many tokens, backward pass included.

    A weight of a matrix costs 2 operations a token, attention's two products 4·T·C a block; going back
    costs twice as much again. Kaplan and others, "Scaling Laws for Neural Language Models" (2020).
    """
    forward = 2 * (L * 12 * C**2 + C * V) + L * 4 * T * C
    return 3 * forward * n_tokens


@dataclass(frozen=True)
class PowerLaw:
    """loss = E + A · F^(−α): it falls towards E as the operations F grow. In nats and FLOPs.

    Hoffmann and others, "Training Compute-Optimal Large Language Models" (2022).
    """

    E: float
    A: float
    alpha: float

    def predict(self, flops: float) -> float:
        """Return the loss at so many operations."""
        return self.E + self.A * flops**-self.alpha


def fit_power_law(flops: Sequence[float], losses: Sequence[float]) -> PowerLaw:
    """Return the law with the least squared errors.

    For a given E, ln(loss − E) against ln F is a straight line; so E is searched, by thousandths of the
    lowest loss, and the line fitted. Three points are needed at least.
    """
    if len(flops) != len(losses) or len(set(flops)) < 3:
        raise ValueError(f"{len(flops)} operations and {len(losses)} losses are no three points")
    if not all(0 < value < math.inf for value in (*flops, *losses)):
        raise ValueError("operations and losses must be finite numbers above 0")
    x, y = np.log(flops), np.asarray(losses)
    laws = []
    for E in np.linspace(0, min(losses), 1000, endpoint=False):
        slope, intercept = np.polyfit(x, np.log(y - E), 1)
        laws.append(PowerLaw(float(E), math.exp(intercept), -float(slope)))
    predicted = [[law.predict(c) for c in flops] for law in laws]
    errors = [float(((np.asarray(values) - y) ** 2).sum()) for values in predicted]
    return laws[int(np.argmin(errors))]


def lowest_point(sizes: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """Return size and loss at the lowest point of a parabola through the losses against ln(size).

    Raises ValueError where they bend the other way: then the valley lies outside of these sizes.
    """
    middle = float(np.mean(np.log(sizes)))
    a, b, c = np.polyfit(np.log(sizes) - middle, losses, 2)
    if a <= 0:
        raise ValueError("these losses make no valley: take smaller and larger sizes")
    return math.exp(middle - b / (2 * a)), float(c - b**2 / (4 * a))
