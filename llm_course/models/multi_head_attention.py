"""The third rung: several heads look back at once, each for something of its own."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llm_course.models.single_head_attention import (
    SingleHeadConfig,
    SingleHeadLM,
    future_mask,
)


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


class MultiHeadLM(SingleHeadLM):
    """`SingleHeadLM` with several heads in place of one, and a layer that mixes them."""

    def __init__(self, config: MultiHeadConfig) -> None:
        super().__init__(config)
        self.attention = MultiHeadAttention(config.n_embd, config.n_head)
