"""One training on several processes, by PyTorch's own engines; the plain loop knows nothing of them.

`torchrun` starts the same program several times, and tells each process its number, the rank. All draw
the same batch, each computes with its own rows of it, and the gradients are averaged: a step of all
together is the step that one process would make.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

STRATEGIES = ("ddp", "fsdp")
T = TypeVar("T")


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Let the processes that `torchrun` has started find each other, and part at the end."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, number, n = next(dist.rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # After a restart the store still has the addresses of those who died (PyTorch 2.13). On several
        # machines restarts are not counted alike: there, torchrun is told not to share it (slurm.sh).
        store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group(backend, store=store, rank=number, world_size=n)
    try:
        yield
        dist.barrier()  # until the first one has written everything
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process: 0 for the one that writes files, and where there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def n_processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def spread(model: nn.Module, strategy: str) -> nn.Module:
    """Return the model as it is to be trained: in training, each process computes with its own rows.

    "ddp": every process holds the whole model. Li and others, "PyTorch Distributed" (2020). "fsdp": each
    holds a part of every tensor, and a block's tensors are whole only while it computes. Rajbhandari and
    others, "ZeRO" (2019), and Zhao and others, "PyTorch FSDP" (2023).
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"there is no strategy {strategy!r}: {' or '.join(STRATEGIES)}")
    model.register_forward_pre_hook(_own_rows)
    keep_dropout_apart()
    if strategy == "ddp":
        return DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard  # a second to import: only who asks for it waits

    for block in getattr(model, "blocks", ()):
        fully_shard(block)
    return fully_shard(model)


def _own_rows(model: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Leave, of each batch in training, every n-th row: others are judged whole by every process."""
    if not model.training:
        return arguments
    n = n_processes()
    if len(arguments[0]) % n:
        raise ValueError(
            f"{len(arguments[0])} windows cannot be shared out evenly to {n} processes: "
            "batch_size / micro_batches must be a multiple of them"
        )
    return tuple(rows[rank() :: n] for rows in arguments)


def keep_dropout_apart() -> None:
    """Let every process but the first draw other random numbers for its dropout."""
    if rank():
        torch.manual_seed(int(torch.randint(1 << 60, ())) + rank())


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model itself, where `spread` has put it into another."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts. All processes must ask together."""
    return tensor.full_tensor() if _is_shared_out(tensor) else tensor


def shared_out_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Return a whole tensor, which every process has, on the pattern's device and shared out as it is."""
    tensor = tensor.to(pattern.device)
    if not _is_shared_out(pattern):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


def _is_shared_out(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")  # a DTensor


def as_the_first(value: T) -> T:
    """Return the value that the first process has, so that all decide alike."""
    if not dist.is_initialized():
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values)
    return values[0]
