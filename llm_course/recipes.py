"""How each rung of the ladder is built and trained when nobody says otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from llm_course.models.attention_variants import VariantConfig, VariantTransformer
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.modern_transformer import ModernConfig, ModernTransformer
from llm_course.models.multi_head_attention import MultiHeadConfig, MultiHeadLM
from llm_course.models.single_block_transformer import BlockConfig, SingleBlockTransformer
from llm_course.models.single_head_attention import SingleHeadConfig, SingleHeadLM
from llm_course.optimizers import fastest_dtype
from llm_course.training import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A model, its sizes (all but `vocab_size` have defaults) and its training."""

    model: Callable[[Any], nn.Module]
    config: Callable[..., Any]
    training: TrainConfig


# One training for the three rungs below the decoder, so that only the model differs.
ATTENTION = TrainConfig(
    steps=1500, batch_size=32, learning_rate=3e-3, eval_every=150, eval_windows=500
)
DECODER = TrainConfig(
    steps=3200,
    batch_size=16,
    learning_rate=2e-3,
    warmup_steps=100,
    decay=True,
    eval_every=320,
    eval_windows=500,
)
RECIPES = {
    "bigram": Recipe(
        BigramLM, BigramConfig, TrainConfig(steps=2000, batch_size=128, learning_rate=3e-3)
    ),
    "single-head": Recipe(SingleHeadLM, SingleHeadConfig, ATTENTION),
    "multi-head": Recipe(MultiHeadLM, MultiHeadConfig, ATTENTION),
    "block": Recipe(SingleBlockTransformer, BlockConfig, ATTENTION),
    "decoder": Recipe(DecoderTransformer, DecoderConfig, DECODER),
    "local": Recipe(VariantTransformer, partial(VariantConfig, window=16), DECODER),
    "strided": Recipe(VariantTransformer, partial(VariantConfig, stride=8), DECODER),
    "grouped-query": Recipe(VariantTransformer, partial(VariantConfig, n_kv_head=2), DECODER),
    "multi-query": Recipe(VariantTransformer, partial(VariantConfig, n_kv_head=1), DECODER),
    "modern": Recipe(
        ModernTransformer,
        ModernConfig,
        TrainConfig(
            steps=1300,
            batch_size=24,
            learning_rate=0.015,
            decay=True,
            muon_rate=0.03,
            eval_every=130,
            eval_windows=500,
        ),
    ),
    "sprint": Recipe(  # as good as can be had in five seconds
        ModernTransformer,
        partial(ModernConfig, n_layer=3),
        TrainConfig(
            steps=150,
            batch_size=24,
            learning_rate=0.03,
            decay=True,
            muon_rate=0.06,
            eval_every=50,
            eval_windows=500,
        ),
    ),
}
LADDER = ("bigram", "single-head", "multi-head", "block", "decoder")  # Part I, rung by rung
VARIANTS = ("local", "strided", "grouped-query", "multi-query")  # the decoder with other attentions


def build(
    name: str, vocab_size: int, seed: int = 0, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return the untrained model of this name; the same seed, the same first weights on every device."""
    recipe = RECIPES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.model(recipe.config(vocab_size=vocab_size)).to(device)
    if isinstance(model, ModernTransformer):
        model.training_dtype = fastest_dtype(torch.device(device))
    return model
