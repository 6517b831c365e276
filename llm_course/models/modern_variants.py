"""The modern transformer's ideas, each with the lines that take it out again (notebook 12)."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.modern_transformer import ModernTransformer
from llm_course.training import TrainConfig

ADAMW_RATE = 0.008  # without Muon: the best of 0.001, 0.002, 0.004, 0.008 and 0.016


class WithPlaces(nn.Module):
    """Embeddings of characters and places, added, as in the plain decoder."""

    def __init__(self, tokens: nn.Embedding, context_length: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.places = nn.Embedding(context_length, tokens.embedding_dim)
        nn.init.normal_(self.places.weight, std=0.5)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """Return the sum."""
        return self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))


def without_muon(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """AdamW for all."""
    return replace(config, muon_rate=None, learning_rate=ADAMW_RATE)


def without_zeros(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """Parts that begin by adding small random numbers."""
    for block in model.blocks:
        nn.init.normal_(block.attention.output.weight, std=0.02)
        nn.init.normal_(block.back.weight, std=0.02)
    nn.init.normal_(model.output.weight, std=0.02)
    return config


def without_rotation(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """Learned embeddings of the places, and nothing turned."""
    model.token_embedding = WithPlaces(model.token_embedding, model.config.context_length)
    model.rotation = torch.stack([torch.ones_like(model.rotation[0]), model.rotation[1] * 0])
    return config


def without_qk_norm(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """Scores of queries and keys as they come, divided by √D."""
    for block in model.blocks:
        block.attention.normalise = lambda x: x
        block.attention.scale = 1 / math.sqrt(model.config.n_embd // model.config.n_head)
    return config


def without_squares(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """ReLU between the two layers."""
    for block in model.blocks:
        block.bend = F.relu
    return config


def without_bfloat16(model: ModernTransformer, config: TrainConfig) -> TrainConfig:
    """All in float32."""
    model.training_dtype = None
    return config


# In the order in which they are put in; the first stage has none of them.
IDEAS: dict[str, Callable[[ModernTransformer, TrainConfig], TrainConfig]] = {
    "plain": lambda model, config: config,
    "Muon": without_muon,
    "zeros": without_zeros,
    "rotation": without_rotation,
    "QK-norm": without_qk_norm,
    "ReLU²": without_squares,
    "bfloat16": without_bfloat16,
}
