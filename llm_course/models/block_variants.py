"""The transformer block with one part taken out or moved, to see what the part is for (notebook 05)."""

from jaxtyping import Float
from torch import Tensor, nn

from llm_course.models.single_block_transformer import (
    BlockConfig,
    SingleBlockTransformer,
    TransformerBlock,
)


class NoResidualBlock(TransformerBlock):
    """Each part replaces what was there, in place of adding to it."""

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return what the feed-forward layer makes of what attention makes of x."""
        x = self.attention(self.norm1(x))
        x = self.feed_forward(self.norm2(x))
        return x


class NoNormBlock(TransformerBlock):
    """The parts read x as it is."""

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return x with what attention and feed-forward have to add."""
        x = x + self.attention(x)
        x = x + self.feed_forward(x)
        return x


class PostNormBlock(TransformerBlock):
    """Each sum is normalised, as in the first transformer: Vaswani and others (2017), 3.1."""

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return x with what attention and feed-forward have to add, normalised after each."""
        x = self.norm1(x + self.attention(x))
        x = self.norm2(x + self.feed_forward(x))
        return x


def with_blocks(config: BlockConfig, block: type[TransformerBlock]) -> SingleBlockTransformer:
    """Return a transformer made of blocks of this kind.

    The norm behind the last block belongs to pre-norm, and stays only where the block's parts normalise
    what they read.
    """
    model = SingleBlockTransformer(config)
    model.blocks = nn.Sequential(
        *(block(config.n_embd, config.n_head, config.dropout) for _ in range(config.n_layer))
    )
    if block in (NoNormBlock, PostNormBlock):
        model.norm = nn.Identity()
    return model
