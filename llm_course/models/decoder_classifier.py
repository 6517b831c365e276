"""A decoder that answers one question about a text, with one linear layer on what its places know."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.models.decoder_transformer import DecoderTransformer
from llm_course.models.single_head_attention import places_of


class DecoderClassifier(nn.Module):
    """Logits of K classes for texts of one or more windows each.

    A window's C features are those of its last place, or the mean of all places ("mean"); a text's are
    the mean over its windows. The decoder keeps its output layer, so that it can still be judged as a
    language model. Features are shifted and scaled by `shift` and `scale`, which `standardise` sets.
    """

    def __init__(
        self, decoder: DecoderTransformer, n_classes: int, pooling: Literal["mean", "last"] = "mean"
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling must be 'mean' or 'last', and is {pooling!r}")
        self.decoder = decoder
        self.pooling = pooling
        n_embd = decoder.config.n_embd
        self.head = nn.Linear(n_embd, n_classes)
        nn.init.zeros_(self.head.weight)  # all classes are as likely at first
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("shift", torch.zeros(n_embd))
        self.register_buffer("scale", torch.ones(n_embd))

    def features(
        self, windows: Int[Tensor, "N T"], text_of: Int[Tensor, " N"]
    ) -> Float[Tensor, "B C"]:
        """Return what the decoder has to say about each text; window n belongs to text `text_of[n]`."""
        decoder = self.decoder
        places = places_of(windows, decoder.config.context_length)
        x = decoder.token_embedding(windows) + decoder.position_embedding(places)
        for block in decoder.blocks:
            x = block(x)
        x = decoder.norm(x)
        of_window = x.mean(dim=1) if self.pooling == "mean" else x[:, -1]
        counts = torch.bincount(text_of)
        sums = x.new_zeros(len(counts), x.shape[-1]).index_add(0, text_of, of_window)
        return sums / counts[:, None]

    def standardise(self, features: Float[Tensor, "B C"]) -> None:
        """Shift and scale from now on so that these features get mean 0 and standard deviation 1."""
        if (features == features[0]).all(dim=0).any():
            raise ValueError(
                "a feature that is the same in all texts cannot be scaled: give more, different texts"
            )
        self.shift.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0))

    def forward(
        self, windows: Int[Tensor, "N T"], text_of: Int[Tensor, " N"]
    ) -> Float[Tensor, "B K"]:
        """Return the logits of every text."""
        features = (self.features(windows, text_of) - self.shift) / self.scale
        return self.head(self.dropout(features))
