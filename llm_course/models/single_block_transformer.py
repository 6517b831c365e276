"""The fourth rung: look, then think, and keep what was there: the transformer block."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.multi_head_attention import MultiHeadAttention, MultiHeadConfig
from llm_course.models.single_head_attention import places_of


@dataclass(frozen=True)
class BlockConfig(MultiHeadConfig):
    """Sizes of a transformer: `n_layer` blocks, and the share of activations dropped in training."""

    n_layer: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie from 0 to below 1, and is {self.dropout!r}")
        super().__post_init__()


class LayerNorm(nn.Module):
    """Give each place mean 0 and variance 1 over its C numbers, then a learned scale and shift.

    Equal to `nn.LayerNorm`. Ba and others, "Layer Normalization" (2016).
    """

    def __init__(self, n_embd: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd))

    def by_formula(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Return the normalised x, step by step."""
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = (centred**2).mean(dim=-1, keepdim=True)
        return centred / torch.sqrt(variance + self.eps) * self.weight + self.bias

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Return the normalised x. PyTorch's function does the same as `by_formula`, in one pass."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


class FeedForward(nn.Module):
    """Think about each place by itself: four times wider, cut off below 0, and back."""

    def __init__(self, n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.wider = nn.Linear(n_embd, 4 * n_embd)
        self.back = nn.Linear(4 * n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Return back(relu(wider(x)))."""
        return self.dropout(self.back(F.relu(self.wider(x))))


class TransformerBlock(nn.Module):
    """Attention between the places, then thinking at each; both add to what was there (pre-norm)."""

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(n_embd)
        self.attention = MultiHeadAttention(n_embd, n_head, dropout)
        self.norm2 = LayerNorm(n_embd)
        self.feed_forward = FeedForward(n_embd, dropout)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return x with what attention and feed-forward have to add."""
        x = x + self.attention(self.norm1(x))
        x = x + self.feed_forward(self.norm2(x))
        return x


class SingleBlockTransformer(nn.Module):
    """A language model of embeddings, `n_layer` blocks (one, unless told otherwise), norm and logits."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(config.n_embd, config.n_head, config.dropout)
                for _ in range(config.n_layer)
            )
        )
        self.norm = LayerNorm(config.n_embd)
        self.output = nn.Linear(config.n_embd, config.vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        places = places_of(tokens, self.config.context_length)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        logits = self.output(self.norm(self.blocks(x)))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
