"""Reading on without reading again: the keys and values of what was read are kept.

The models do not know of it: the cache walks through a model's blocks by itself, in the same order.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.models.single_block_transformer import TransformerBlock


class KVCache:
    """The keys and values of every layer, for B texts, each of its own length up to the model's window.

    Works for models made of `TransformerBlock`s. Shazeer, "Fast Transformer Decoding" (2019), section 2.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        if not can_cache(model):
            raise ValueError(
                f"{type(model).__name__} is not made of plain transformer blocks, whose keys could be kept"
            )
        config, like = model.config, model.output.weight
        shape = (batch_size, config.n_head, config.context_length, config.n_embd // config.n_head)
        self.model = model
        self.keys = [like.new_zeros(shape) for _ in model.blocks]
        self.values = [like.new_zeros(shape) for _ in model.blocks]
        self.lengths = torch.zeros(batch_size, dtype=torch.long, device=like.device)

    def read(self, tokens: Int[Tensor, "B T"], counts: Int[Tensor, " B"]) -> Float[Tensor, "B T V"]:
        """Read on in each text and return the logits behind every token.

        Of row b only the first `counts[b]` tokens are read; the others fill the table up. They stand
        behind what is read, so that nothing looks at them, and the next tokens take their places. The
        model must be in evaluation mode.
        """
        context_length = self.keys[0].shape[2]
        if len(tokens) != len(self.lengths) or counts.min() < 1 or counts.max() > tokens.shape[1]:
            raise ValueError(
                f"a cache of {len(self.lengths)} texts needs as many rows, and counts from 1 to their "
                f"length; these are {tuple(tokens.shape)} tokens, and counts {counts.tolist()}"
            )
        if (self.lengths + tokens.shape[1]).max() > context_length:
            raise ValueError(f"the window of {context_length} places is full: begin a new cache")
        places = self.lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        x = self.model.token_embedding(tokens) + self.model.position_embedding(places)
        for block, keys, values in zip(self.model.blocks, self.keys, self.values, strict=True):
            x = x + _attend(block.attention, block.norm1(x), keys, values, places)
            x = x + block.feed_forward(block.norm2(x))
        self.lengths = self.lengths + counts
        return self.model.output(self.model.norm(x))


def _attend(
    attention: MultiHeadAttention,
    x: Float[Tensor, "B T C"],
    keys: Float[Tensor, "B H W D"],
    values: Float[Tensor, "B H W D"],
    places: Int[Tensor, "B T"],
) -> Float[Tensor, "B T C"]:
    """Put the new keys and values in their places, and let the new queries look at all up to theirs."""
    q, k, v = attention.heads(x)
    row = torch.arange(len(x), device=x.device)[:, None]
    keys[row, :, places] = k.transpose(1, 2)
    values[row, :, places] = v.transpose(1, 2)

    end = int(places.max()) + 1  # nothing was read beyond
    scores = q @ keys[:, :, :end].transpose(-2, -1) / math.sqrt(q.shape[-1])
    is_future = torch.arange(end, device=x.device) > places[:, None, :, None]
    weights = scores.masked_fill(is_future, -math.inf).softmax(dim=-1)
    return attention.output((weights @ values[:, :, :end]).transpose(1, 2).flatten(2))


def can_cache(model: nn.Module) -> bool:
    """Return whether a model is made of blocks of which the cache knows how they attend."""
    blocks = getattr(model, "blocks", ())
    return len(blocks) > 0 and all(
        type(block) is TransformerBlock and type(block.attention) is MultiHeadAttention
        for block in blocks
    )
