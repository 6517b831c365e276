"""The first rung: the next character guessed from the last one alone."""

from dataclasses import dataclass, fields

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class BigramConfig:
    """Sizes of a bigram model; `context_length` only says how long its training windows are."""

    vocab_size: int
    context_length: int = 8
    n_embd: int = 32

    def __post_init__(self) -> None:
        for size in fields(self):
            value = getattr(self, size.name)
            if size.type is int and (type(value) is not int or value < 1):
                raise ValueError(f"{size.name} must be a whole number from 1 on, and is {value!r}")


class BigramLM(nn.Module):
    """A table of next-token logits in two thin factors: tokens × `n_embd`, then `n_embd` × tokens.

    The full table would hold vocab_size² numbers; its factors hold 2 · vocab_size · n_embd, and a bias.
    """

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.output = nn.Linear(config.n_embd, config.vocab_size)
        # A small output begins near the uniform guess, at a loss of ln V.
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        logits = self.output(self.token_embedding(tokens))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
