"""Attention that looks at fewer places: under a mask, or by blocks that compute no more than is seen."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_course.models.multi_head_attention import MultiHeadAttention

Mask = Callable[..., Bool[Tensor, "T T"]]


def distances(T: int, device: torch.device | str = "cpu") -> Int[Tensor, "T T"]:
    """Return how far back each key (column) lies from each query (row); below 0 it is yet to come."""
    places = torch.arange(T, device=device)
    return places[:, None] - places


def local_mask(T: int, window: int, device: torch.device | str = "cpu") -> Bool[Tensor, "T T"]:
    """Return True where a place must not look: ahead, or `window` places back and more.

    Beltagy and others, "Longformer" (2020).
    """
    back = distances(T, device)
    return (back < 0) | (back >= window)


def strided_mask(T: int, stride: int, device: torch.device | str = "cpu") -> Bool[Tensor, "T T"]:
    """Return True where a place must not look: all but the last `stride` places and every stride-th before.

    Child and others, "Generating Long Sequences with Sparse Transformers" (2019).
    """
    back = distances(T, device)
    return (back < 0) | ((back >= stride) & (back % stride != 0))


def masked_attention(
    q: Float[Tensor, "... T D"],
    k: Float[Tensor, "... T D"],
    v: Float[Tensor, "... T D"],
    is_hidden: Bool[Tensor, "T T"],
) -> Float[Tensor, "... T D"]:
    """Return softmax(q kᵀ / √D) v by its formula: all T · T scores, those under the mask thrown away."""
    return masked_weights(q, k, is_hidden) @ v


def masked_weights(
    q: Float[Tensor, "... T D"], k: Float[Tensor, "... T D"], is_hidden: Bool[Tensor, "T T"]
) -> Float[Tensor, "... T T"]:
    """Return softmax(q kᵀ / √D), no weight under the mask; each row sums to 1."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(is_hidden, -math.inf).softmax(dim=-1)


def local_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B H T D"],
    v: Float[Tensor, "B H T D"],
    window: int,
    dropout: float = 0.0,
) -> Float[Tensor, "B H T D"]:
    """Return what attention under `local_mask` does, with work and memory in proportion to T · window.

    The text is cut into blocks of `window` places. A block's queries meet the keys of their own block
    and of the one before, and no others: 2 · window scores each, in place of T.
    """
    T = q.shape[2]
    window = min(window, T)
    n_blocks = math.ceil(T / window)
    q, k, v = (F.pad(x, (0, 0, 0, n_blocks * window - T)) for x in (q, k, v))  # behind the end
    q = q.unflatten(2, (n_blocks, window))
    k, v = (F.pad(x, (0, 0, window, 0)) for x in (k, v))  # an empty block before the first
    k, v = (x.unfold(2, 2 * window, window).transpose(-2, -1) for x in (k, v))

    is_hidden = local_mask(2 * window, window, q.device)[window:]  # the queries are the later half
    is_hidden = is_hidden.repeat(n_blocks, 1, 1)
    is_hidden[0, :, :window] = True  # the empty block
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(is_hidden, -math.inf).softmax(dim=-1)
    return (F.dropout(weights, dropout) @ v).flatten(2, 3)[:, :, :T]


class MaskedAttention(MultiHeadAttention):
    """Multi-head attention under any mask: `mask(T, device=…)` is True where a place must not look.

    All scores are computed, and those under the mask thrown away: it looks at less, and works as much.
    """

    def __init__(self, n_embd: int, n_head: int, mask: Mask, dropout: float = 0.0) -> None:
        super().__init__(n_embd, n_head, dropout)
        self.mask = mask

    def attention_weights(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T T"]:
        """Return how much each place (row) takes from each (column), per head; each row sums to 1."""
        q, k, _ = self.heads(x)
        return masked_weights(q, k, self.mask(x.shape[1], device=x.device))

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return `attention_weights` @ values of all heads side by side, mixed by the output layer."""
        q, k, v = self.heads(x)
        is_visible = ~self.mask(x.shape[1], device=x.device)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=is_visible, dropout_p=dropout)
        return self.output(attended.transpose(1, 2).flatten(2))


class LocalAttention(MaskedAttention):
    """Multi-head attention in which each place sees `window` places, and no others are computed."""

    def __init__(self, n_embd: int, n_head: int, window: int, dropout: float = 0.0) -> None:
        super().__init__(n_embd, n_head, partial(local_mask, window=window), dropout)
        self.window = window

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return what MaskedAttention does, by `local_attention`."""
        dropout = self.dropout if self.training else 0.0
        attended = local_attention(*self.heads(x), self.window, dropout)
        return self.output(attended.transpose(1, 2).flatten(2))
