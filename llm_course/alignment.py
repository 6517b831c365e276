"""Where in the source the decoder looks while it writes, to be held against where it should."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from llm_course.evaluation import evaluating
from llm_course.models.encoder_decoder import EncoderDecoderTransformer
from llm_course.recording import record_attention
from llm_course.translation import mirrorish, teaching_batch, true_places


def cross_attention(
    model: EncoderDecoderTransformer, phrases: Sequence[str]
) -> list[Float[Tensor, "L H _T _S"]]:
    """Return for each phrase the cross-attention of every decoder layer and head, padding cut off.

    Row t is where the decoder looks while it says character t of the true translation; the last row is
    that of the end token.
    """
    source, target_in, _ = teaching_batch(phrases)
    with evaluating(model), record_attention(model) as maps:
        model(source, target_in)
    # First the encoder's, then self- and cross-attention of each decoder block in turn.
    cross = torch.stack(maps[model.config.n_layer :][1::2], dim=1)
    sizes = [(len(mirrorish(phrase)) + 1, len(phrase)) for phrase in phrases]
    return [weights[:, :, :T, :S] for weights, (T, S) in zip(cross, sizes, strict=True)]


def share_right(guesses: Sequence[Sequence[int]], phrases: Sequence[str]) -> float:
    """Return the share of all translations' characters that are guessed to come from their true place."""
    n_right = n = 0
    for places, phrase in zip(guesses, phrases, strict=True):
        true = true_places(phrase)
        n_right += sum(guess == place for guess, place in zip(places, true, strict=True))
        n += len(true)
    return n_right / n
