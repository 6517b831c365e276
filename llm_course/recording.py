"""Watching attention from outside: the model's code does not know that it is watched."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_course.evaluation import evaluating
from llm_course.tokenizers import CharTokenizer


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Float[Tensor, "B H T S"]]]:
    """Fill a list with the attention weights of every layer while the model runs inside `with`.

    One entry a layer and forward pass, in the order in which they ran; rows are queries, columns keys.
    The weights are computed anew from each attention layer's inputs, so that its results stay the same.
    """
    maps: list[Tensor] = []

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weights = layer.attention_weights(*inputs).detach()
        if weights.dim() == 3:  # a single head is one of one
            weights = weights[:, None]
        maps.append(weights)

    layers = [layer for layer in model.modules() if hasattr(layer, "attention_weights")]
    handles = [layer.register_forward_hook(watch) for layer in layers]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def attention_maps(
    model: nn.Module, tokenizer: CharTokenizer, text: str
) -> Float[Tensor, "L H T T"]:
    """Return the attention weights of every layer and head while the model reads `text`."""
    device = next(parameter.device for parameter in model.parameters())
    with evaluating(model), record_attention(model) as maps:
        model(tokenizer.encode(text).to(device)[None])
    return torch.cat(maps).cpu()
