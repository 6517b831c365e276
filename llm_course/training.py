"""A plain training loop and its record."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from tqdm import tqdm

from llm_course.data import Split, get_batch
from llm_course.evaluation import count_windows, evaluate
from llm_course.optimizers import make_optimizers


@dataclass(frozen=True)
class TrainConfig:
    """How to train: steps of `batch_size` windows, plain AdamW unless told otherwise.

    `warmup_steps`: the learning rate climbs to its full value in so many steps. `decay`: from there it
    falls on a straight line, to 0 after the last step. `max_grad_norm`: a longer gradient is shortened
    to this length. `muon_rate`: Muon moves the blocks' matrices at it. `eval_every` counts steps.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: bool = False
    max_grad_norm: float | None = None
    muon_rate: float | None = None
    eval_every: int = 100
    eval_windows: int | None = None  # None: every window of the validation tokens
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")
        for name in ("max_grad_norm", "muon_rate"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}")
        if self.eval_windows is not None and self.eval_windows < 1:
            raise ValueError(f"eval_windows must be at least 1, and is {self.eval_windows}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.decay:
            left = (self.steps - step + 1) / (self.steps - self.warmup_steps)
            return self.learning_rate * left
        return self.learning_rate


@dataclass
class History:
    """What was measured along training, one entry an evaluation, the first before the first step.

    `tokens` counts the targets seen so far; `seconds` is time spent in steps, evaluations left out;
    the losses are nats per token, both measured by `evaluate`.
    """

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    data: Split,
    config: TrainConfig,
    callback: Callable[[int, History], None] | None = None,
) -> History:
    """Train the model in place and return the record; `callback(step, history)` follows every evaluation.

    The batches depend on `config.seed` alone. Progress goes to stdout: one line that
    rewrites itself, or in a log file a line an evaluation.
    """
    generator = torch.Generator().manual_seed(config.seed)
    rates = config.learning_rate, config.muon_rate
    optimizers = make_optimizers(model, *rates, config.weight_decay)
    history, seconds = History(), 0.0
    _measure(model, data, config, history, 0, seconds, callback)
    model.train()
    for step in (progress := _progress_bar(config.steps)):
        started = time.perf_counter()
        share = config.learning_rate_at(step) / config.learning_rate
        for optimizer, rate in zip(optimizers, rates, strict=False):
            optimizer.param_groups[0]["lr"] = share * rate
        inputs, targets = get_batch(
            data.train, config.batch_size, model.config.context_length, generator
        )
        _, loss = model(inputs, targets)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        seconds += time.perf_counter() - started
        if step % config.eval_every == 0 or step == config.steps:
            _measure(model, data, config, history, step, seconds, callback)
            measured = f"validation loss {history.val_loss[-1]:.3f}"
            progress.set_postfix_str(measured, refresh=False)
            if progress.disable:
                print(f"step {step:,} of {config.steps:,}: {measured}")
    return history


def _measure(
    model: nn.Module,
    data: Split,
    config: TrainConfig,
    history: History,
    step: int,
    seconds: float,
    callback: Callable[[int, History], None] | None,
) -> None:
    """Add one entry to the history: the same number of windows for training and validation text."""
    context_length = model.config.context_length
    n_windows = config.eval_windows or count_windows(data.val, context_length)
    history.steps.append(step)
    history.tokens.append(step * config.batch_size * context_length)
    history.seconds.append(seconds)
    history.train_loss.append(evaluate(model, data.train, n_windows))
    history.val_loss.append(evaluate(model, data.val, n_windows))
    if callback is not None:
        callback(step, history)


def _progress_bar(steps: int) -> tqdm:
    """Count from 1 to `steps` on a line that rewrites itself, where there is a terminal or a notebook."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    return tqdm(
        range(1, steps + 1),
        desc="training",
        unit="step",
        file=sys.stdout,
        leave=False,
        disable=not (in_notebook or sys.stdout.isatty()),
    )
