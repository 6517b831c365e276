"""The top of the ladder: blocks upon blocks. A decoder-only transformer, as GPT-2 is one."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.single_block_transformer import BlockConfig, LayerNorm, TransformerBlock
from llm_course.models.single_head_attention import places_of


@dataclass(frozen=True)
class DecoderConfig(BlockConfig):
    """Sizes of the course's decoder."""

    context_length: int = 64
    n_embd: int = 128
    n_layer: int = 3


class DecoderTransformer(nn.Module):
    """Embeddings of token and place, `n_layer` causal pre-norm blocks, a last norm, logits.

    Radford and others, "Language Models are Unsupervised Multitask Learners" (2019).
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.n_embd, config.n_head, config.dropout)
            for _ in range(config.n_layer)
        )
        self.norm = LayerNorm(config.n_embd)
        self.output = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._begin)

    @staticmethod
    def _begin(module: nn.Module) -> None:
        """Draw the layers' weights small, so that the first guess is near uniform, at a loss of ln V.

        The embeddings begin larger. It makes no difference that we could measure (results/decoder.json).
        """
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, ""] | None]:
        """Return the logits of every next token, and the mean cross-entropy where targets are given."""
        places = places_of(tokens, self.config.context_length)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding(places))
        for block in self.blocks:
            x = block(x)
        logits = self.output(self.norm(x))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss
