"""What the exercises' random inputs are made of."""

import torch
from torch import Tensor


def floats(generator: torch.Generator, *shape: int) -> Tensor:
    """Return random numbers of mean 0 and standard deviation 1."""
    return torch.randn(*shape, generator=generator)


def sizes(generator: torch.Generator, *ranges: tuple[int, int]) -> list[int]:
    """Draw a size from each range, all different, so that no mix-up of dimensions passes by accident."""
    while True:
        drawn = [int(torch.randint(low, high + 1, (), generator=generator)) for low, high in ranges]
        if len(set(drawn)) == len(drawn):
            return drawn


def causal_scores(scores: Tensor, diagonal: int = 1) -> Tensor:
    """Return the scores with all from this diagonal on at −inf, by default those of later places."""
    T = scores.shape[-1]
    hidden = torch.ones(T, T, dtype=torch.bool).triu(diagonal)
    return scores.masked_fill(hidden, -torch.inf)
