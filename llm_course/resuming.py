"""Keeping a training, so that it can go on after a crash as if nothing had happened.

A checkpoint holds all that a step depends on: weights, the optimizers' memory, the state of both random
generators (of the batches, of dropout), and the record so far. The learning rate follows from the step.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_course.data import Split
from llm_course.distributed import (
    as_the_first,
    keep_dropout_apart,
    n_processes,
    rank,
    shared_out_like,
    whole,
)
from llm_course.download import note
from llm_course.tensor_file import (
    CheckpointError,
    check_place,
    previous,
    read,
    read_header,
    write,
)
from llm_course.train_config import History, TrainConfig

DTYPES = {str(dtype): dtype for dtype in (None, torch.float16, torch.bfloat16, torch.float32)}


@dataclass
class Run:
    """A training: what it changes, and what it is given."""

    model: nn.Module
    data: Split
    config: TrainConfig
    optimizers: list[torch.optim.Optimizer]
    generator: torch.Generator  # of the batches
    history: History


def keep(path: Path, run: Run) -> None:
    """Write the checkpoint. Where that fails, say so and go on: the one before stays."""
    header = {"training": json.dumps(_about(run) | {"history": asdict(run.history)})}
    tensors = _tensors(run)  # on several processes, all give their parts, and the first one writes
    if rank():
        return
    try:
        write(path, "training", tensors, header, keep_previous=True)
    except CheckpointError as error:
        note(f"{error} The training goes on; an earlier checkpoint, if there is one, stays.")


def restore(path: Path, run: Run, resume: bool) -> None:
    """Bring the run to where the checkpoint left it, and say so; without a file, leave it at the start.

    Raises CheckpointError where something stands there and `resume` was not asked for, and where it is no
    checkpoint of this very training. If the file is damaged, the one before it is taken.
    """
    _restore_here(path, run, resume)
    if as_the_first(run.history.steps) != run.history.steps:
        raise CheckpointError(
            f"{path} is not the file that the first process sees. Choose a folder that all machines share."
        )


def _restore_here(path: Path, run: Run, resume: bool) -> None:
    check_place(path)
    files = [file for file in (path, previous(path)) if file.exists()]
    if not files:
        if resume:
            print(f"There is no {path} yet: from the beginning.")
        return
    if not resume:
        raise CheckpointError(
            f"{files[0]} is there already: {_found(files[0])}. resume=True (on the command line: --resume) "
            "goes on with it. To begin anew, delete it or choose another name."
        )
    problems = []
    for file in files:
        try:
            header, tensors = read(file, "training")
            saved = json.loads(header["training"])
            history = _checked_history(saved["history"])
            _compare(saved, run)
            _fill(run, saved, history, tensors)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            problems.append(f"{file} cannot be gone on with: {reason}.")
            continue
        for problem in problems:
            note(f"{problem} The one before it is taken.")
        print(f"Going on with {file}: {_where(saved)}.")
        return
    raise CheckpointError(f"{' '.join(problems)} To begin anew, delete it or choose another name.")


def _tensors(run: Run) -> dict[str, Tensor]:
    """Return all tensors of a run by name; none shares its memory with another."""
    weights = run.model.state_dict().items()
    tensors = {f"model.{name}": whole(value).clone() for name, value in weights}
    for number, optimizer in enumerate(run.optimizers):
        for name, parameter in run.model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{number}.{key}.{name}"] = whole(value)
    tensors["random.batches"] = run.generator.get_state()
    tensors["random.dropout"] = torch.get_rng_state()
    device = next(run.model.parameters()).device
    if device.type == "cuda":
        tensors["random.dropout on cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def _about(run: Run) -> dict[str, Any]:
    """Return what a run that goes on must agree with, and in which precision it computes."""
    return {
        "model": type(run.model).__name__.removeprefix("FSDP"),
        "sizes": asdict(run.model.config),
        "config": asdict(run.config),
        "data": _digest(run.data),
        "dtypes": [str(getattr(run.model, "training_dtype", None))]
        + [str(getattr(optimizer, "dtype", None)) for optimizer in run.optimizers],
        "processes": n_processes(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _digest(data: Split) -> str:
    digest = hashlib.sha256()
    for tokens in data:
        digest.update(tokens.cpu().numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def _compare(saved: Any, run: Run) -> None:
    """Raise ValueError with the first thing in which the saved run is another one."""
    wanted = _about(run)
    if saved["model"] != wanted["model"]:
        raise ValueError(f"it trains a {saved['model']}, and this is a {wanted['model']}")
    for part in ("sizes", "config"):
        for name in {**wanted[part], **saved[part]}:
            there, here = (side[part].get(name, "not named") for side in (saved, wanted))
            if there != here:
                raise ValueError(f"{name} is {there} there, and {here} here")
    if saved["data"] != wanted["data"]:
        raise ValueError("it was trained on another text")
    there, here = saved["dtypes"][0], wanted["dtypes"][0]
    if there != here and "None" in (there, here):  # else one was measured: that of the start stays
        raise ValueError(
            f"training_dtype is {there} there, and {here} here (use_autocast, or --bfloat16)"
        )
    for name in ("processes", "threads", "torch"):
        there = saved.get(name, wanted[name])
        if there != wanted[name]:
            note(
                f"{name}: {there} there, {wanted[name]} here. The last digits may differ "
                "from those of a training that was never interrupted."
            )


def _fill(run: Run, saved: Any, history: History, tensors: dict[str, Tensor]) -> None:
    """Check every tensor, then put all of them in their places."""
    parameters = dict(run.model.named_parameters())
    weights, states, random = {}, [{} for _ in run.optimizers], {}
    for full_name, tensor in tensors.items():
        group, _, name = full_name.partition(".")
        if group == "model":
            weights[name] = tensor
        elif group == "random":
            random[name] = tensor
        else:
            number, key, name = name.split(".", 2)
            if tensor.ndim and tensor.shape != parameters[name].shape:
                raise ValueError(f"{full_name} has shape {tuple(tensor.shape)}")
            states[int(number)].setdefault(name, {})[key] = tensor
    wanted = {name: value.shape for name, value in run.model.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != wanted:
        raise ValueError("its weights are not those of this model")
    dtypes = [DTYPES[name] for name in saved["dtypes"]]
    if len(dtypes) != 1 + len(run.optimizers):
        raise ValueError("its optimizers are not those of this training")
    batches, dropout = random["batches"], random["dropout"]
    torch.Generator().set_state(batches)  # raises where it is none
    torch.Generator().set_state(dropout)

    for name, pattern in run.model.state_dict().items():
        pattern.copy_(shared_out_like(weights[name], pattern))
    if dtypes[0] is not None:
        run.model.training_dtype = dtypes[0]
    for optimizer, dtype, state in zip(run.optimizers, dtypes[1:], states, strict=True):
        if dtype is not None:
            optimizer.dtype = dtype
        for name, values in state.items():
            parameter = parameters[name]
            optimizer.state[parameter] = {
                key: shared_out_like(value, parameter) if value.ndim else value.to(parameter.device)
                for key, value in values.items()
            }
    run.generator.set_state(batches)
    torch.set_rng_state(dropout)
    if "dropout on cuda" in random:
        torch.cuda.set_rng_state(random["dropout on cuda"])
    keep_dropout_apart()
    for name, values in asdict(history).items():
        getattr(run.history, name)[:] = values


def _checked_history(saved: Any) -> History:
    history = History(**saved)
    columns = list(asdict(history).values())
    if any(type(value) not in (int, float) for column in columns for value in column):
        raise ValueError("its history is damaged")
    if not history.steps or len({len(column) for column in columns}) != 1:
        raise ValueError("its history is damaged")
    return history


def _found(file: Path) -> str:
    try:
        return _where(json.loads(read_header(file, "training")["training"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"{file} is no checkpoint that could be used ({error})"


def _where(saved: Any) -> str:
    history = saved["history"]
    return (
        f"step {history['steps'][-1]:,} of {saved['config']['steps']:,}, "
        f"validation loss {history['val_loss'][-1]:.3f}"
    )
