"""GPT-2: the course's decoder, and the few things that its authors did differently."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llm_course.gpt2_files import read_sizes, read_weights
from llm_course.model_folder import distrusted, find_folder
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.models.single_block_transformer import FeedForward


def gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return x · Φ(x) by the tanh formula; Φ(x) is the chance that a standard normal number is below x.

    Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016). `F.gelu` does the same in one pass.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class GPT2FeedForward(FeedForward):
    """The same two layers, with GELU between them."""

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Return back(gelu(wider(x)))."""
        return self.dropout(self.back(F.gelu(self.wider(x), approximate="tanh")))


class GPT2Attention(MultiHeadAttention):
    """The same attention, with dropout of what it adds, too."""

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Return what attention adds."""
        return F.dropout(super().forward(x), self.dropout, self.training)


@dataclass(frozen=True)
class GPT2Config(DecoderConfig):
    """Sizes of the smallest GPT-2, unless told otherwise."""

    vocab_size: int = 50257
    context_length: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    dropout: float = 0.1


class GPT2(DecoderTransformer):
    """The course's decoder with GELU, one more dropout, other first weights, and tied tables.

    Radford and others, "Language Models are Unsupervised Multitask Learners" (2019).
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.attention = GPT2Attention(config.n_embd, config.n_head, config.dropout)
            block.feed_forward = GPT2FeedForward(config.n_embd, config.dropout)
        self.apply(self._begin)
        for block in self.blocks:  # 2 · n_layer parts add to x: each begins smaller
            for layer in (block.attention.output, block.feed_forward.back):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * config.n_layer))
        self.output.weight = self.token_embedding.weight

    @staticmethod
    def _begin(module: nn.Module) -> None:
        """Draw all matrices and tables small."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, download: bool = False) -> "GPT2":
        """Return a trained GPT-2 from a folder in Hugging Face's layout, or by name: "gpt2", "gpt2-xl".

        See `find_folder` for where a name is looked for. The model is in evaluation mode, in float32.
        Raises CheckpointError for a folder that does not hold one, before memory is taken for it.
        """
        folder = find_folder(name, download=download)
        with distrusted(folder):
            config = GPT2Config(**read_sizes(folder))
            with torch.device("meta"):  # shapes alone
                model = cls(config)
            shapes = {name: tuple(empty.shape) for name, empty in model.named_parameters()}
            weights = read_weights(folder, shapes)
        weights["output.weight"] = weights["token_embedding.weight"]
        model.load_state_dict(weights, assign=True)
        model.output.weight = model.token_embedding.weight
        return model.eval()
