"""PyTorch's own transformer with our weights in it, to hold ours against it."""

import torch
from torch import nn

from llm_course.models.cross_attention import Attention
from llm_course.models.encoder_decoder import DecoderBlock, EncoderDecoderTransformer


def as_pytorch(model: EncoderDecoderTransformer) -> nn.Transformer:
    """Return PyTorch's transformer with a copy of the model's weights: its two stacks, without dropout.

    PyTorch puts one more norm behind each stack, which the paper does not have: it is taken out.
    """
    C, H, L = model.config.n_embd, model.config.n_head, model.config.n_layer
    theirs = nn.Transformer(C, H, L, L, 4 * C, dropout=0.0, batch_first=True)
    theirs = theirs.to(model.output.weight)
    theirs.encoder.norm = theirs.decoder.norm = None
    layers = [*theirs.encoder.layers, *theirs.decoder.layers]
    for block, layer in zip([*model.encoder, *model.decoder], layers, strict=True):
        _copy_attention(block.attention, layer.self_attn)
        layer.linear1.load_state_dict(block.feed_forward.wider.state_dict())
        layer.linear2.load_state_dict(block.feed_forward.back.state_dict())
        norms = [block.norm1, block.norm2]
        if isinstance(block, DecoderBlock):
            _copy_attention(block.cross_attention, layer.multihead_attn)
            norms.insert(1, block.norm_cross)
        for n, norm in enumerate(norms, start=1):
            getattr(layer, f"norm{n}").load_state_dict(norm.state_dict())
    return theirs


def _copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    both = ours.query, ours.key_value
    theirs.in_proj_weight.data = torch.cat([part.weight for part in both]).detach()
    theirs.in_proj_bias.data = torch.cat([part.bias for part in both]).detach()
    theirs.out_proj.load_state_dict(ours.output.state_dict())
