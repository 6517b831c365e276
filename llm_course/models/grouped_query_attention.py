"""Attention that keeps fewer keys and values: several heads of queries share them."""

from jaxtyping import Float
from torch import Tensor, nn

from llm_course.models.multi_head_attention import MultiHeadAttention


class GroupedQueryAttention(MultiHeadAttention):
    """Multi-head attention in which groups of query heads share one head of keys and values.

    With one head of keys it is multi-query attention; with as many as queries, multi-head attention.
    Shazeer, "Fast Transformer Decoding" (2019); Ainslie and others, "GQA" (2023).
    """

    def __init__(self, n_embd: int, n_head: int, n_kv_head: int, dropout: float = 0.0) -> None:
        super().__init__(n_embd, n_head, dropout)
        self.n_kv_head = n_kv_head
        width = n_embd // n_head
        self.query_key_value = nn.Linear(n_embd, n_embd + 2 * n_kv_head * width)

    def heads(self, x: Float[Tensor, "B T C"]) -> list[Float[Tensor, "B H T D"]]:
        """Return queries, keys and values, each cut into heads; keys and values stand once a query head."""
        parts = self.query_key_value(x).unflatten(-1, (self.n_head + 2 * self.n_kv_head, -1))
        q, *shared = parts.transpose(1, 2).split(
            [self.n_head, self.n_kv_head, self.n_kv_head], dim=1
        )
        return [
            q,
            *(part.repeat_interleave(self.n_head // self.n_kv_head, dim=1) for part in shared),
        ]
