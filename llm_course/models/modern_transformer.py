"""The decoder with what was found since GPT-2 and pays at this size (one by one: `modern_variants`)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.decoder_transformer import DecoderConfig
from llm_course.models.single_head_attention import future_mask, places_of

ATTENTION_SCALE = 0.3  # in place of 1 / √D, for queries and keys that all have the length √D
Rotation = Float[Tensor, "2 T 1 1 half"]  # cosine and sine, for every place and every pair
LONGEST = 100.0  # the slowest pair of numbers turns by about 1 / LONGEST radians a place


@dataclass(frozen=True)
class ModernConfig(DecoderConfig):
    """Sizes of the modern transformer; dropout is on what each part adds."""

    n_layer: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if (width := self.n_embd // self.n_head) % 2:
            raise ValueError(f"n_embd / n_head must be even, to be turned in pairs, and is {width}")


class Linear(nn.Linear):
    """A linear layer without bias, which computes in the precision of what it is given."""

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False) -> None:
        super().__init__(n_in, n_out, bias=False)
        nn.init.normal_(self.weight, std=0.0 if zero else n_in**-0.5)

    def forward(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        """Return x @ weightᵀ."""
        return F.linear(x, self.weight.to(x.dtype))


def rms_norm(x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
    """Divide each place's numbers by the root of their mean square. Zhang and Sennrich (2019)."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def relu_squared(x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
    """Cut off below 0, and square. So and others, "Primer" (2021)."""
    return F.relu(x).square()


def rotations(context_length: int, width: int) -> Rotation:
    """Return cosine and sine of how far each pair of numbers is turned at each place.

    The first pair turns by 1 radian a place, the last by about 1 / LONGEST. Su and others (2021), RoPE.
    """
    half = width // 2
    turns = LONGEST ** -(torch.arange(half) / half)
    angles = torch.arange(context_length)[:, None, None, None] * turns
    return torch.stack([angles.cos(), angles.sin()])


class ModernAttention(nn.Module):
    """Causal self-attention whose queries and keys are normalised and turned by their place."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.normalise, self.scale = rms_norm, ATTENTION_SCALE
        self.query_key_value = Linear(n_embd, 3 * n_embd)
        self.output = Linear(n_embd, n_embd, zero=True)

    def heads(
        self, x: Float[Tensor, "B T C"], rotation: Rotation
    ) -> list[Float[Tensor, "B H T D"]]:
        """Return queries, keys and values; a CPU's attention is fastest in float32."""
        precise = x.dtype if x.is_cuda else torch.promote_types(x.dtype, torch.float32)
        parts = self.query_key_value(x).unflatten(-1, (3, self.n_head, -1)).to(precise)
        (cos, sin), pairs = rotation, self.normalise(parts[:, :, :2]).chunk(2, dim=-1)
        first, second = pairs  # numbers of queries and keys; each pair is turned
        turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
        q, k = turned.to(precise).unbind(dim=2)
        return [part.transpose(1, 2) for part in (q, k, parts[:, :, 2])]

    def attention_weights(
        self, x: Float[Tensor, "B T C"], rotation: Rotation
    ) -> Float[Tensor, "B H T T"]:
        """Return how much each place (row) takes from each (column), per head; each row sums to 1."""
        q, k, _ = self.heads(x, rotation)
        scores = self.scale * q @ k.transpose(-2, -1)
        return scores.masked_fill(future_mask(x.shape[1], x.device), -torch.inf).softmax(dim=-1)

    def forward(self, x: Float[Tensor, "B T C"], rotation: Rotation) -> Float[Tensor, "B T C"]:
        """Return `attention_weights` @ values of all heads side by side, mixed by the output layer."""
        q, k, v = self.heads(x, rotation)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.output(attended.transpose(1, 2).flatten(2).to(x.dtype))


class ModernBlock(nn.Module):
    """Attention, then thinking at each place; both begin by adding nothing."""

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = ModernAttention(n_embd, n_head)
        self.bend = relu_squared
        self.wider = Linear(n_embd, 4 * n_embd)
        self.back = Linear(4 * n_embd, n_embd, zero=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T C"], rotation: Rotation) -> Float[Tensor, "B T C"]:
        """Return x with what attention and feed-forward have to add."""
        x = x + self.dropout(self.attention(rms_norm(x), rotation))
        return x + self.dropout(self.back(self.bend(self.wider(rms_norm(x)))))


class ModernTransformer(nn.Module):
    """Normalised embeddings, `n_layer` modern blocks, a norm, logits.

    `training_dtype`: the precision of the linear layers in training mode; None means that of the
    weights, which evaluation always uses.
    """

    def __init__(self, config: ModernConfig) -> None:
        super().__init__()
        self.config = config
        self.training_dtype: torch.dtype | None = None
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        self.blocks = nn.ModuleList(
            ModernBlock(config.n_embd, config.n_head, config.dropout) for _ in range(config.n_layer)
        )
        self.output = Linear(config.n_embd, config.vocab_size, zero=True)
        turns = rotations(config.context_length, config.n_embd // config.n_head)
        self.register_buffer("rotation", turns, persistent=False)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        x = rms_norm(self.token_embedding(tokens))
        precise = x.dtype
        if self.training and self.training_dtype is not None:
            x = x.to(self.training_dtype)
        rotation = self.rotation[:, : len(places_of(tokens, self.config.context_length))]
        for block in self.blocks:
            x = block(x, rotation)
        logits = self.output(rms_norm(x)).to(precise)
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
