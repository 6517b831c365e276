"""Training the encoder-decoder to translate, letting it translate, and counting what is right."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from llm_course.beam_search import beam_search, greedy
from llm_course.evaluation import evaluating
from llm_course.models.encoder_decoder import EncoderDecoderTransformer
from llm_course.train_config import History, TrainConfig
from llm_course.translation import (
    END,
    TOKENIZER,
    Words,
    draw_phrases,
    mirrorish,
    padded,
    teaching_batch,
)

TRAINING = TrainConfig(
    steps=1000,
    batch_size=64,
    learning_rate=4e-3,
    warmup_steps=50,
    decay=True,
    max_grad_norm=1.0,
    eval_every=100,
    eval_windows=250,
)


def train_translator(
    model: EncoderDecoderTransformer,
    words: Words,
    config: TrainConfig = TRAINING,
    callback: Callable[[int, History], None] | None = None,
) -> History:
    """Train the model in place on phrases drawn anew for each step, and return the record.

    `callback(step, history)` follows every evaluation. `batch_size` and `eval_windows` (None: 500)
    count phrases. Muon and micro-batches are a ValueError.
    """
    if config.muon_rate is not None or config.micro_batches > 1:
        raise ValueError("this loop knows AdamW alone: leave out muon_rate and micro_batches")
    generator = torch.Generator().manual_seed(config.seed)
    n_measured = config.eval_windows or 500
    measured = [teaching_batch(draw_phrases(part, n_measured, generator)) for part in words]
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    history, n_tokens, seconds = History(), 0, 0.0
    model.train()
    for step in range(config.steps + 1):
        if step > 0:
            started = time.perf_counter()
            optimizer.param_groups[0]["lr"] = config.learning_rate_at(step)
            batch = teaching_batch(draw_phrases(words.train, config.batch_size, generator))
            _, loss = model(*batch)
            optimizer.zero_grad()
            loss.backward()
            if config.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            n_tokens += int((batch[2] != model.config.padding).sum())
            seconds += time.perf_counter() - started
        if step % config.eval_every == 0 or step == config.steps:
            with evaluating(model):
                train_loss, val_loss = (model(*batch)[1].item() for batch in measured)
            history.steps.append(step)
            history.tokens.append(n_tokens)
            history.seconds.append(seconds)
            history.train_loss.append(train_loss)
            history.val_loss.append(val_loss)
            if callback is not None:
                callback(step, history)
    return history


def translate(
    model: EncoderDecoderTransformer, phrases: Sequence[str], n_beams: int | None = None
) -> list[str]:
    """Return the model's translations: greedy, or the likeliest that a search with beams finds."""
    source = padded(phrases)
    written = (
        greedy(model, source) if n_beams is None else beam_search(model, source, n_beams)[0][:, 0]
    )
    return [text_of(row) for row in written.tolist()]


def text_of(written: Sequence[int]) -> str:
    """Return what a row of tokens says: what is between the start and the first end."""
    return TOKENIZER.decode(list(written))[1:].split(END)[0]


def exact_match(translations: Sequence[str], phrases: Sequence[str]) -> float:
    """Return the share of phrases that are translated without any fault."""
    pairs = zip(translations, phrases, strict=True)
    return sum(translation == mirrorish(phrase) for translation, phrase in pairs) / len(phrases)
