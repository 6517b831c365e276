"""The one measure by which every model of the course is judged, and its units."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run without dropout and without gradients inside `with`; give each part its mode back."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def evaluate(model: nn.Module, tokens: Int[Tensor, " N"], n_windows: int | None = None) -> float:
    """Return the mean loss over `tokens` in nats per token, each but the first scored exactly once.

    Windows begin half a window apart, and only the later half of each counts (all of the first), so
    that every prediction sees at least half a window where there is one. With `n_windows`, only so
    many windows are scored, evenly spread: an estimate, for curves.
    """
    context_length = min(model.config.context_length, len(tokens) - 1)
    stride = max(1, context_length // 2)
    total = count_windows(tokens, model.config.context_length)
    last = len(tokens) - 1 - context_length  # where the last window begins: it ends with the tokens
    chosen = torch.arange(total)
    if n_windows is not None and n_windows < total:
        chosen = torch.linspace(0, total - 1, n_windows).round().long()
    device = next((parameter.device for parameter in model.parameters()), tokens.device)

    sum_of_losses, n_scored = 0.0, 0
    for windows in chosen.split(max(1, 8192 // context_length)):
        starts = (windows * stride).clamp(max=last)
        # The first target that no earlier window has scored, counted from the window's beginning.
        new_from = torch.where(windows == 0, 0, (windows - 1) * stride + context_length - starts)
        places = starts[:, None] + torch.arange(context_length)
        inputs, targets = tokens[places].to(device), tokens[places + 1].to(device)
        with evaluating(model), torch.autocast(device.type, enabled=False):
            logits, _ = model(inputs)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        is_new = (torch.arange(context_length) >= new_from[:, None]).flatten().to(device)
        sum_of_losses += losses[is_new].cpu().double().sum().item()
        n_scored += int(is_new.sum())
    return sum_of_losses / n_scored


def count_windows(tokens: Int[Tensor, " N"], context_length: int) -> int:
    """Return how many windows `evaluate` needs to score all these tokens."""
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens leave nothing to predict: at least 2 are needed")
    stride = max(1, context_length // 2)
    return 1 + math.ceil(max(0, len(tokens) - 1 - context_length) / stride)


def bits(nats: float) -> float:
    """Return a loss in bits, the number of yes-or-no questions it is worth."""
    return nats / math.log(2)


def bits_per_byte(nats_per_token: float, tokens: Int[Tensor, " N"], text: str) -> float:
    """Return a loss over `tokens`, which stand for `text`, in bits for each byte of the text.

    However a text is cut, it has as many bytes: so models with different tokens can be compared.
    """
    return bits(nats_per_token) * len(tokens) / len(text.encode("utf-8"))


def nats_per_character(nats_per_token: float, tokens: Int[Tensor, " N"], text: str) -> float:
    """Return a loss over `tokens`, which stand for `text`, for each character of the text."""
    return nats_per_token * len(tokens) / len(text)


def perplexity(nats: float) -> float:
    """Return among how many equally likely tokens a guess would be as hard."""
    return math.exp(nats) if nats < 700 else math.inf  # a float ends at e^709
