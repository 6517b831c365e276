"""A plain training loop."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from llm_course.data import Split, get_batch
from llm_course.distributed import n_processes, unwrapped
from llm_course.evaluation import count_windows, evaluate
from llm_course.optimizers import make_optimizers
from llm_course.resuming import Run, keep, restore
from llm_course.train_config import History, TrainConfig

__all__ = ["DivergedError", "History", "TrainConfig", "train"]

Callback = Callable[[int, History], bool | None]


class DivergedError(ArithmeticError):
    """The loss is no number any more; the message says where it happened and what to try."""


def train(
    model: nn.Module,
    data: Split,
    config: TrainConfig,
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> History:
    """Train the model in place and return the record.

    It runs where the model is, on batches that depend on `config.seed` alone. `callback(step, history)`
    follows every evaluation, and may end the training by returning True; "Interrupt kernel" ends it, too.
    Progress goes to stdout: one line that rewrites itself, or in a log file a line an evaluation.

    Every evaluation also writes the file `checkpoint`, if one is named. After a crash, the same call with
    `resume=True` goes on from there, and ends as if nothing had happened: bit for bit, on the same
    machine. The callback sees what is measured from there on. Raises DivergedError when the loss is not
    finite, CheckpointError for files, ValueError for `resume=True` without one.
    """
    generator = torch.Generator().manual_seed(config.seed)
    n_parts, n_windows = config.micro_batches, config.batch_size // config.micro_batches
    rates = config.learning_rate, config.muon_rate
    optimizers = make_optimizers(unwrapped(model), *rates, config.weight_decay)
    history = History()
    run = Run(unwrapped(model), data, config, optimizers, generator, history)
    if checkpoint is not None:
        restore(Path(checkpoint), run, resume)
    elif resume:
        raise ValueError("resume=True needs checkpoint=, the file of the training that is to go on")
    if not history.steps:
        _measure(run, 0, 0.0, callback)
    context_length = run.model.config.context_length
    tokens = data.train.to(next(model.parameters()).device)
    step = done = history.steps[-1]
    seconds = history.seconds[-1]
    model.train()
    try:
        for step in (progress := _progress_bar(done + 1, config.steps)):
            started = time.perf_counter()
            share = config.learning_rate_at(step) / config.learning_rate
            for optimizer, rate in zip(optimizers, rates, strict=False):
                optimizer.param_groups[0]["lr"] = share * rate
            for part in range(n_parts):
                inputs, targets = get_batch(tokens, n_windows, context_length, generator)
                _, loss = model(inputs, targets)
                if loss.is_cpu and not loss.isfinite():  # a GPU would have to be waited for
                    raise _diverged(run, step, loss.item())
                if part == 0:
                    for optimizer in optimizers:
                        optimizer.zero_grad()
                (loss / n_parts).backward()
            if config.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            for optimizer in optimizers:
                optimizer.step()
            seconds += time.perf_counter() - started
            if step % config.eval_every == 0 or step == config.steps:
                is_enough = _measure(run, step, seconds, callback)
                if checkpoint is not None:
                    keep(Path(checkpoint), run)
                measured = f"validation loss {history.val_loss[-1]:.3f}"
                progress.set_postfix_str(measured, refresh=False)
                if progress.disable:
                    print(f"step {step:,} of {config.steps:,}: {measured}")
                if is_enough:
                    break
    except KeyboardInterrupt:
        print(
            f"Stopped in step {step:,} of {config.steps:,}, last measured after {history.steps[-1]:,}."
        )
    return history


def _measure(run: Run, step: int, seconds: float, callback: Callback | None) -> bool:
    """Add one entry to the history, and return whether the callback wants no more.

    The same number of windows is taken from training and validation text.
    """
    model, data, config, history = run.model, run.data, run.config, run.history
    context_length = model.config.context_length
    n_windows = config.eval_windows or count_windows(data.val, context_length)
    losses = [evaluate(model, tokens, n_windows) for tokens in (data.train, data.val)]
    if not all(map(math.isfinite, losses)):
        raise _diverged(run, step, losses[1])
    history.steps.append(step)
    history.tokens.append(step * config.batch_size * context_length)
    history.seconds.append(seconds)
    history.train_loss.append(losses[0])
    history.val_loss.append(losses[1])
    return callback is not None and callback(step, history) is True


def _diverged(run: Run, step: int, loss: float) -> DivergedError:
    """Say what is known: the gradients at hand are those of the last step that was made."""
    grads = (
        [] if n_processes() > 1 else [p.grad for p in run.model.parameters() if p.grad is not None]
    )
    length, remedy = "length", "max_grad_norm=1.0"
    if run.config.max_grad_norm is not None:
        length, remedy = "clipped length", "a smaller max_grad_norm"
    before = f", after a gradient of {length} {nn.utils.get_total_norm(grads):.3g}" if grads else ""
    rate = run.config.learning_rate_at(max(step, 1))
    return DivergedError(
        f"the loss is {loss} in step {step:,} of {run.config.steps:,}, at a learning rate of "
        f"{rate:.3g}{before}. Build the model anew and try a third of the learning rate, or "
        f"warmup_steps=100, or {remedy}."
    )


def _progress_bar(first: int, steps: int) -> tqdm:
    """Count from `first` to `steps` on a line that rewrites itself, in a terminal or a notebook."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    return tqdm(
        range(first, steps + 1),
        desc="training",
        unit="step",
        initial=first - 1,
        total=steps,
        file=sys.stdout,
        leave=False,
        disable=not (in_notebook or sys.stdout.isatty()),
    )
