"""The second rung: every character looks back at all before it, and decides how much to take from each."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llm_course.models.bigram import BigramConfig


@dataclass(frozen=True)
class SingleHeadConfig(BigramConfig):
    """Sizes of the language model with one head; `context_length` is how far it can look back."""

    context_length: int = 32
    n_embd: int = 64


def future_mask(T: int, device: torch.device) -> Bool[Tensor, "T T"]:
    """Return True where the column comes after the row: what a place must not see."""
    return torch.ones(T, T, dtype=torch.bool, device=device).triu(diagonal=1)


def places_of(tokens: Int[Tensor, "B T"], context_length: int) -> Int[Tensor, " T"]:
    """Return the places of the tokens in their window: 0, 1, 2, …, T − 1."""
    length = tokens.shape[1]
    if length > context_length:
        raise ValueError(f"{length} tokens are too many for a window of {context_length}")
    return torch.arange(length, device=tokens.device)


class SingleHeadAttention(nn.Module):
    """One head of causal self-attention: softmax(q kᵀ / √D) v, where each place looks back only.

    C is the width of x, D that of the head. Vaswani and others, "Attention Is All You Need" (2017), eq. 1.
    """

    def __init__(self, n_embd: int, head_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)  # what am I looking for?
        self.key = nn.Linear(n_embd, head_size, bias=False)  # what do I offer?
        self.value = nn.Linear(n_embd, head_size, bias=False)  # what do I hand over?

    def attention_weights(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T T"]:
        """Return how much each place (row) takes from each place (column); each row sums to 1."""
        q, k = self.query(x), self.key(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(future_mask(x.shape[1], x.device), -math.inf)
        return scores.softmax(dim=-1)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T D"]:
        """Return for each place the mean of the values up to it, weighted by attention."""
        return self.attention_weights(x) @ self.value(x)


class SingleHeadLM(nn.Module):
    """A language model that looks once: embeddings of token and place, one head, logits."""

    def __init__(self, config: SingleHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.attention = SingleHeadAttention(config.n_embd, config.n_embd)
        self.output = nn.Linear(config.n_embd, config.vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)  # begins near the uniform guess
        nn.init.zeros_(self.output.bias)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        places = places_of(tokens, self.config.context_length)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        logits = self.output(self.attention(x))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
