"""Writing the likeliest text: token after token (greedy), or with several beginnings in hand (beams)."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_course.evaluation import evaluating
from llm_course.models.encoder_decoder import EncoderDecoderTransformer


def greedy(model: EncoderDecoderTransformer, source: Int[Tensor, "B S"]) -> Int[Tensor, "B T"]:
    """Return for every source the start token and then always the likeliest next, up to the end token.

    Rows that end earlier are filled up with padding. A text that does not end stops with the window.
    """
    config = model.config
    with evaluating(model):
        memory, hidden = model.encode(source), model.padding_mask(source)
        written = source.new_full((len(source), 1), config.start)
        while written.shape[1] <= config.context_length and not _ended(written, config.end).all():
            chosen = _next_log_probs(model, written, memory, hidden).argmax(dim=-1)
            written = torch.cat([written, chosen[:, None]], dim=1)
    return written


def beam_step(
    written: Int[Tensor, "B K T"], scores: Float[Tensor, "B K"], log_probs: Float[Tensor, "B K V"]
) -> tuple[Int[Tensor, "B K T_and_1"], Float[Tensor, "B K"]]:
    """Return the K likeliest of the K · V ways to go on, the likeliest first, and their scores.

    A score is the log-probability of all that a beam has written; `log_probs` are those of what is next.
    """
    K, V = log_probs.shape[1:]
    candidates = scores[:, :, None] + log_probs
    scores, chosen = candidates.flatten(1).topk(K)
    beam, token = chosen // V, chosen % V
    before = written.gather(1, beam[:, :, None].expand(-1, -1, written.shape[2]))
    return torch.cat([before, token[:, :, None]], dim=2), scores


def beam_search(
    model: EncoderDecoderTransformer, source: Int[Tensor, "B S"], n_beams: int
) -> tuple[Int[Tensor, "B K T"], Float[Tensor, "B K"]]:
    """Return for every source K texts, the likeliest first, and their log-probabilities in nats.

    With one beam it is `greedy`. A beam that has ended keeps its score while the others go on. When the
    likeliest has ended it is over: scores only fall, so that none of the others, ended or not, can pass it.
    """
    if type(n_beams) is not int or n_beams < 1:
        raise ValueError(f"n_beams must be a whole number from 1 on, and is {n_beams!r}")
    config, (B, K) = model.config, (len(source), n_beams)
    with evaluating(model):
        memory = model.encode(source).repeat_interleave(K, dim=0)
        hidden = model.padding_mask(source).repeat_interleave(K, dim=0)
        written = source.new_full((B, K, 1), config.start)
        scores = memory.new_full((B, K), -math.inf)
        scores[:, 0] = 0  # all beams begin alike: one is enough
        best = written[:, 0]
        while best.shape[1] <= config.context_length and not _ended(best, config.end).all():
            log_probs = _next_log_probs(model, written.flatten(0, 1), memory, hidden)
            written, scores = beam_step(written, scores, log_probs.unflatten(0, (B, K)))
            best = written[:, 0]
    return written, scores


def log_probs_of(
    model: EncoderDecoderTransformer, source: Int[Tensor, "B S"], written: Int[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """Return the log-probability (nats) that the model gives to these texts, in one pass."""
    with evaluating(model):
        logits, _ = model(source, written[:, :-1])
    each = logits.log_softmax(dim=-1).gather(-1, written[:, 1:, None]).squeeze(-1)
    return each.masked_fill(written[:, 1:] == model.config.padding, 0).sum(dim=-1)


def _next_log_probs(
    model: EncoderDecoderTransformer, written: Int[Tensor, "B T"], memory: Tensor, hidden: Tensor
) -> Float[Tensor, "B V"]:
    """Return the log-probabilities of the next token: never padding, and after the end nothing else."""
    padding = model.config.padding
    log_probs = model.decode(written, memory, hidden)[:, -1].log_softmax(dim=-1)
    is_padding = torch.arange(log_probs.shape[-1], device=written.device) == padding
    has_ended = _ended(written, model.config.end)[:, None]
    log_probs = log_probs.masked_fill(has_ended != is_padding, -math.inf)
    return log_probs.masked_fill(has_ended & is_padding, 0)


def _ended(written: Int[Tensor, "... T"], end: int) -> Bool[Tensor, "..."]:
    """Return whether the end token stands in a text."""
    return (written == end).any(dim=-1)
