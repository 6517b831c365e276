"""A model with two texts: an encoder reads the one, a decoder writes the other, looking at both."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llm_course.models.cross_attention import Attention
from llm_course.models.single_block_transformer import BlockConfig, FeedForward, LayerNorm
from llm_course.models.single_head_attention import future_mask, places_of


@dataclass(frozen=True)
class EncoderDecoderConfig(BlockConfig):
    """Sizes, `n_layer` blocks for each of encoder and decoder, and three tokens that are no text.

    `start` stands before what the decoder writes, `end` behind it; `padding` fills up shorter rows.
    """

    n_layer: int = 2
    start: int = 1
    end: int = 2
    padding: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        special = {name: getattr(self, name) for name in ("start", "end", "padding")}
        for name, token in special.items():
            if type(token) is not int or not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"{name} must be one of the {self.vocab_size} tokens, and is {token!r}"
                )
        if len(set(special.values())) < 3:
            raise ValueError(f"start, end and padding must be three tokens, and are {special}")


class EncoderBlock(nn.Module):
    """The block of notebook 05 without its future mask: every place looks at all that is no padding."""

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(n_embd)
        self.attention = Attention(n_embd, n_head, dropout)
        self.norm2 = LayerNorm(n_embd)
        self.feed_forward = FeedForward(n_embd, dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Float[Tensor, "B S C"]:
        """Return x with what attention and feed-forward have to add."""
        x = self.norm1(x + self.attention(x, x, hidden))
        x = self.norm2(x + self.feed_forward(x))
        return x


class DecoderBlock(EncoderBlock):
    """The same, and between its two parts a look at the other text."""

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0) -> None:
        super().__init__(n_embd, n_head, dropout)
        self.norm_cross = LayerNorm(n_embd)
        self.cross_attention = Attention(n_embd, n_head, dropout)

    def forward(
        self, x: Tensor, future: Tensor, memory: Tensor, hidden: Tensor
    ) -> Float[Tensor, "B T C"]:
        """Return x with what it looks up in itself, then in `memory`, then thinks."""
        x = self.norm1(x + self.attention(x, x, future))
        x = self.norm_cross(x + self.cross_attention(x, memory, hidden))
        x = self.norm2(x + self.feed_forward(x))
        return x


class EncoderDecoderTransformer(nn.Module):
    """The first transformer: Vaswani and others, "Attention Is All You Need" (2017), with post-norm.

    Both texts are made of the same tokens, and filled up to one length with `config.padding`. That is
    hidden in the source. In the target it needs no hiding: it comes last, where no place looks.
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.n_embd, config.n_head, config.dropout
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.source_positions = nn.Embedding(config.context_length, config.n_embd)
        self.target_positions = nn.Embedding(config.context_length, config.n_embd)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(config.n_layer))
        self.decoder = nn.ModuleList(DecoderBlock(*sizes) for _ in range(config.n_layer))
        self.output = nn.Linear(config.n_embd, config.vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def encode(self, source: Int[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
        """Return what the encoder makes of the source; ValueError where a row is nothing but padding."""
        hidden = self.padding_mask(source)
        if hidden.all(dim=-1).any():
            raise ValueError("a source of padding alone has nothing to look at: leave it out")
        places = places_of(source, self.config.context_length)
        x = self.token_embedding(source) + self.source_positions(places)
        for block in self.encoder:
            x = block(x, hidden)
        return x

    def decode(
        self, target_in: Int[Tensor, "B T"], memory: Float[Tensor, "B S C"], hidden: Tensor
    ) -> Float[Tensor, "B T V"]:
        """Return the logits of every next token of the target, given what the encoder made."""
        places = places_of(target_in, self.config.context_length)
        x = self.token_embedding(target_in) + self.target_positions(places)
        future = future_mask(len(places), x.device)[None, None]
        for block in self.decoder:
            x = block(x, future, memory, hidden)
        return self.output(x)

    def padding_mask(self, source: Int[Tensor, "B S"]) -> Bool[Tensor, "B 1 1 S"]:
        """Return True where the source is padding."""
        return (source == self.config.padding)[:, None, None, :]

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target_in: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy, padding left out."""
        logits = self.decode(target_in, self.encode(source), self.padding_mask(source))
        if targets is None:
            return logits, None
        padding = self.config.padding
        return logits, F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=padding
        )
