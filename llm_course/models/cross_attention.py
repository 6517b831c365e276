"""One attention for two uses: the places of a text look at each other, or at another text."""

import math

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Places of x look at places of `memory`: at x itself, or at another text (cross-attention).

    Queries come from x, keys and values from `memory`. `hidden` is True where a place must not look.
    Equal to `nn.MultiheadAttention`. Vaswani and others (2017), 3.2.
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_head = n_head
        self.dropout = dropout  # of the weights, in training only
        self.query = nn.Linear(n_embd, n_embd)
        self.key_value = nn.Linear(n_embd, 2 * n_embd)
        self.output = nn.Linear(n_embd, n_embd)

    def heads(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T D"]:
        """Return queries, keys or values, cut into heads."""
        return x.unflatten(-1, (self.n_head, -1)).transpose(1, 2)

    def attention_weights(
        self,
        x: Float[Tensor, "B T C"],
        memory: Float[Tensor, "B S C"],
        hidden: Bool[Tensor, "#B #H #T S"],
    ) -> Float[Tensor, "B H T S"]:
        """Return how much each place of x (row) takes from each of `memory` (column), per head."""
        k, _ = self.key_value(memory).chunk(2, dim=-1)
        q, k = self.heads(self.query(x)), self.heads(k)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
        return scores.masked_fill(hidden, -math.inf).softmax(dim=-1)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        memory: Float[Tensor, "B S C"],
        hidden: Bool[Tensor, "#B #H #T S"],
    ) -> Float[Tensor, "B T C"]:
        """Return `attention_weights` @ values, all heads side by side, mixed by the output layer."""
        k, v = self.key_value(memory).chunk(2, dim=-1)
        q, k, v = (self.heads(part) for part in (self.query(x), k, v))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden, dropout_p=dropout)
        return self.output(attended.transpose(1, 2).flatten(2))
