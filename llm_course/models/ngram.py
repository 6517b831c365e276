"""The opponent: no learning, only counting what followed what (interpolated Witten–Bell n-grams).

    p_o(x | h) = (c(h, x) + U(h) · p_{o−1}(x | h′)) / (c(h) + U(h))

c(h, x) counts how often x followed the history h, c(h) how often anything did, U(h) how many different
tokens did; h′ is h without its oldest token. Below order 1 stands the uniform distribution, and a
history that was never seen leaves the shorter one's answer as it is.
Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37 (1991).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class NgramConfig:
    """Sizes of a table of order n, which looks n − 1 tokens back."""

    vocab_size: int
    order: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, and is {value!r}")

    @property
    def context_length(self) -> int:
        """A window half of which is history enough for every prediction."""
        return 2 * self.order


@dataclass(frozen=True)
class _Level:
    """What followed the histories of one length; each history that was seen has a row.

    A history is named by the row of its later tokens, one level below, and its oldest token:
    `histories` holds row_below · V + token, sorted, and the place in it is the row here.
    """

    histories: Int[Tensor, " rows"]
    first: Int[Tensor, " rows_and_one"]  # followers[first[r] : first[r + 1]] followed row r
    followers: Int[Tensor, " pairs"]
    counts: Int[Tensor, " pairs"]


class NgramTable(nn.Module):
    """The counts of orders 1 to n in the given tokens, asked like every other model of the course."""

    def __init__(self, tokens: Int[Tensor, " N"], vocab_size: int, order: int) -> None:
        super().__init__()
        self.config = NgramConfig(vocab_size, order)
        if len(tokens) < order:
            raise ValueError(f"{len(tokens)} tokens are too few to count runs of {order}")
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise ValueError(f"tokens must go from 0 to {vocab_size - 1}, and go to {tokens.max()}")
        self.levels: list[_Level] = []
        histories = torch.zeros(1, dtype=torch.long)  # the empty history, of which there is one,
        rows = torch.zeros(len(tokens), dtype=torch.long)  # stands before every token
        for length in range(order):
            pairs, counts = torch.unique(rows * vocab_size + tokens[length:], return_counts=True)
            n_followers = torch.bincount(pairs // vocab_size, minlength=len(histories))
            first = F.pad(n_followers.cumsum(0), (1, 0))
            self.levels.append(_Level(histories, first, pairs % vocab_size, counts))
            longer = rows[1:] * vocab_size + tokens[: len(tokens) - length - 1]
            histories, rows = torch.unique(longer, return_inverse=True)

    @property
    def n_counts(self) -> int:
        """How many numbers the table keeps: one for every different run of 1 to n tokens."""
        return sum(len(level.counts) for level in self.levels)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the log-probabilities of every next token, and their mean loss where targets are given."""
        vocab_size = self.config.vocab_size
        probs = torch.full((tokens.numel(), vocab_size), 1 / vocab_size)
        rows = torch.zeros_like(tokens)
        for length, level in enumerate(self.levels):
            if length:
                rows = self._longer(level, rows, tokens, length)
            known = (rows.flatten() >= 0).nonzero().squeeze(1)
            probs[known] = _blend(level, rows.flatten()[known], probs[known])
        logits = probs.log().view(*tokens.shape, vocab_size)
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss

    def _longer(
        self, level: _Level, rows: Int[Tensor, "B T"], tokens: Int[Tensor, "B T"], length: int
    ) -> Int[Tensor, "B T"]:
        """Return the rows of histories one token longer; −1 where never seen, or cut off by the window."""
        oldest = F.pad(tokens, (length - 1, 0))[:, : tokens.shape[1]]
        wanted = rows * self.config.vocab_size + oldest
        found = torch.searchsorted(level.histories, wanted).clamp(max=len(level.histories) - 1)
        known = (rows >= 0) & (level.histories[found] == wanted)
        known[:, : length - 1] = False
        return torch.where(known, found, -1)


def _blend(
    level: _Level, rows: Int[Tensor, " N"], shorter: Float[Tensor, "N V"]
) -> Float[Tensor, "N V"]:
    """Mix the counts after these histories with what the shorter histories say (the formula above)."""
    first, n_followers = level.first[rows], level.first[rows + 1] - level.first[rows]
    query = torch.arange(len(rows)).repeat_interleave(n_followers)
    nth = torch.arange(len(query)) - (n_followers.cumsum(0) - n_followers)[query]
    entry = first[query] + nth
    counts = torch.zeros_like(shorter)
    counts[query, level.followers[entry]] = level.counts[entry].to(shorter.dtype)
    weight = n_followers[:, None]
    return (counts + weight * shorter) / (counts.sum(1, keepdim=True) + weight)
