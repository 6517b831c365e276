"""The third rung: several heads look back at once, each for something of its own."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.single_head_attention import SingleHeadConfig, future_mask


@dataclass(frozen=True)
class MultiHeadConfig(SingleHeadConfig):
    """Sizes of the language model with several heads, each of width n_embd / n_head."""

    n_head: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd must divide by n_head, and {self.n_embd} does not divide by {self.n_head}"
            )


class MultiHeadAttention(nn.Module):
    """Causal self-attention with H heads of width D = C / H, all in one matrix product, then mixed.

    Equal to H single heads side by side, and to `nn.MultiheadAttention`. Vaswani and others (2017), 3.2.2.
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_head = n_head
        self.dropout = dropout  # of the weights, in training only
        self.query_key_value = nn.Linear(n_embd, 3 * n_embd)
        self.output = nn.Linear(n_embd, n_embd)

    def heads(self, x: Float[Tensor, "B T C"]) -> list[Float[Tensor, "B H T D"]]:
        """Return queries, keys and values, each cut into heads."""
        return [
            part.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for part in self.query_key_value(x).chunk(3, dim=-1)
        ]

    def attention_weights(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T T"]:
        """Return how much each place (row) takes from each (column), per head; each row sums to 1."""
        q, k, _ = self.heads(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(future_mask(x.shape[1], x.device), -math.inf)
        return scores.softmax(dim=-1)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return `attention_weights` @ values of all heads side by side, mixed by the output layer.

        PyTorch's function does the same as `attention_weights`, without keeping the weights.
        """
        q, k, v = self.heads(x)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.output(attended.transpose(1, 2).flatten(2))


class MultiHeadLM(nn.Module):
    """The language model of the second rung with several heads in place of one."""

    def __init__(self, config: MultiHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.attention = MultiHeadAttention(config.n_embd, config.n_head)
        self.output = nn.Linear(config.n_embd, config.vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        logits = self.output(self.attention(x))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
