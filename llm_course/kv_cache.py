"""Reading on without reading again: the keys and values of what was read are kept.

The models do not know of it: the cache walks through a model's blocks by itself, in the same order.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llm_course.lora import LoRALinear
from llm_course.models.gpt2 import GPT2Attention, GPT2FeedForward
from llm_course.models.grouped_query_attention import GroupedQueryAttention
from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.models.single_block_transformer import FeedForward, TransformerBlock

MOST_ROWS, LARGE = 4, 2**18  # measured on two cores: beyond, or below, PyTorch's own way is faster

# The parts that the cache knows: what they do in evaluation mode, it does step by step.
ATTENTIONS = (MultiHeadAttention, GroupedQueryAttention, GPT2Attention)
BENDS: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    FeedForward: F.relu,
    GPT2FeedForward: partial(F.gelu, approximate="tanh"),
}


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
        n_kv_head = getattr(model.blocks[0].attention, "n_kv_head", config.n_head)
        shape = (batch_size, n_kv_head, config.context_length, config.n_embd // config.n_head)
        self.model = model
        self.keys = [like.new_zeros(shape) for _ in model.blocks]
        self.values = [like.new_zeros(shape) for _ in model.blocks]
        self.lengths = [0] * batch_size  # plain numbers: a GPU need not be asked for them

    def read(self, tokens: Int[Tensor, "B T"], counts: Sequence[int]) -> Float[Tensor, "B T V"]:
        """Read on in each text and return the logits behind every token.

        Of row b only the first `counts[b]` tokens are read; the others fill the table up. They stand
        behind what is read, so that nothing looks at them, and the next tokens take their places. The
        model must be in evaluation mode.
        """
        (B, T), context_length = tokens.shape, self.keys[0].shape[2]
        if len(self.lengths) != B or len(counts) != B or not all(1 <= n <= T for n in counts):
            raise ValueError(
                f"a cache of {len(self.lengths)} texts needs as many rows, and counts from 1 to their "
                f"length; these are {tuple(tokens.shape)} tokens, and counts {list(counts)}"
            )
        end = max(self.lengths) + T  # nothing is read beyond
        if end > context_length:
            raise ValueError(f"the window of {context_length} places is full: begin a new cache")
        places = torch.tensor(self.lengths)[:, None] + torch.arange(T)
        places = places.to(tokens.device, non_blocking=True)
        is_visible = None  # for one token a text, and texts of one length, nothing is hidden
        if T > 1 or min(self.lengths) < max(self.lengths):
            is_visible = torch.arange(end, device=tokens.device) <= places[:, None, :, None]

        x = self.model.token_embedding(tokens) + self.model.position_embedding(places)
        for block, keys, values in zip(self.model.blocks, self.keys, self.values, strict=True):
            kept = keys[:, :, :end], values[:, :, :end]
            x = x + _attend(block.attention, block.norm1(x), *kept, places, is_visible)
            bend = BENDS[type(block.feed_forward)]
            wider = bend(_product(block.feed_forward.wider, block.norm2(x)))
            x = x + _product(block.feed_forward.back, wider)
        self.lengths = [length + n for length, n in zip(self.lengths, counts, strict=True)]
        return _product(self.model.output, self.model.norm(x))


def _attend(
    attention: MultiHeadAttention,
    x: Float[Tensor, "B T C"],
    keys: Float[Tensor, "B G W D"],
    values: Float[Tensor, "B G W D"],
    places: Int[Tensor, "B T"],
    is_visible: Bool[Tensor, "B 1 T W"] | None,
) -> Float[Tensor, "B T C"]:
    """Put the new keys and values in their places, and let the new queries look at all up to theirs."""
    heads = [attention.n_head, keys.shape[1], keys.shape[1]]  # of queries, keys and values
    parts = _product(attention.query_key_value, x).unflatten(-1, (sum(heads), -1))
    q, k, v = parts.transpose(1, 2).split(heads, dim=1)
    at = places[:, None, :, None].expand_as(k)
    keys.scatter_(2, at, k)
    values.scatter_(2, at, v)
    attended = F.scaled_dot_product_attention(
        q, keys, values, attn_mask=is_visible, enable_gqa=heads[0] != heads[1]
    )
    return _product(attention.output, attended.transpose(1, 2).flatten(2))


def _product(layer: nn.Linear | LoRALinear, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T O"]:
    """Return layer(x), by all cores also when x has few places and the matrix is large.

    PyTorch gives a product with so few rows to one core. As two products, of the halves of the matrix,
    it is shared out.
    """
    (B, T, C), weight = x.shape, layer.weight
    if B * T > MOST_ROWS or weight.numel() < LARGE or not x.is_cpu:
        return layer(x)
    half, columns = len(weight) // 2, x.reshape(B * T, C).T
    halves = torch.bmm(weight[: 2 * half].view(2, half, C), columns.expand(2, C, B * T))
    result = halves.view(2 * half, B * T)
    if len(weight) % 2:
        result = torch.cat([result, weight[-1:] @ columns])
    result = result.T if layer.bias is None else result.T + layer.bias
    return result.view(B, T, -1)


def can_cache(model: nn.Module) -> bool:
    """Return whether a model is made of blocks of which the cache knows how they attend."""
    blocks = getattr(model, "blocks", ())
    return len(blocks) > 0 and all(
        type(block) is TransformerBlock
        and type(block.attention) in ATTENTIONS
        and type(block.feed_forward) in BENDS
        for block in blocks
    )
