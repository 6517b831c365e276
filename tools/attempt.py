"""The process in which one student's cells run. tools/grade.py starts it, and believes nothing it says.

One request a line comes in, one reply a line goes out, both JSON. What decides about points are the values
that a student's function returned, and they are compared elsewhere, out of this code's reach.
"""

import base64
import contextlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell

from llm_course.exercises import Exercise, find
from llm_course.exercises.check import examine
from llm_course.exercises.trial import run

FILE_SIZE = 100_000_000  # bytes; the largest file that a student's code may write
KINDS = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}


class Unreadable:
    """Stands for a value that cannot be passed on; it equals nothing."""


def encode(value: Any) -> Any:
    """Turn what a function returned into what JSON can hold; a kind that no exercise wants, into {}."""
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu"
        kind = str(value.dtype).removeprefix("torch.")
        if not plain or kind not in KINDS:
            return {}
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {"kind": kind, "shape": list(value.shape), "raw": base64.b64encode(raw).decode()}
    if isinstance(value, (list, tuple)):
        return [encode(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    item = getattr(value, "item", None)  # NumPy's numbers
    return encode(item()) if callable(item) and getattr(value, "shape", None) == () else {}


def decode(value: Any) -> Any:
    """Turn it back, on the side that trusts nobody: nothing is executed, and sizes must agree."""
    if isinstance(value, list):
        return [decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    try:
        kind, shape = KINDS[value["kind"]], [int(size) for size in value["shape"]]
        raw = bytearray(base64.b64decode(value["raw"], validate=True))
        if min(shape, default=1) < 0 or math.prod(shape) * kind.itemsize != len(raw):
            return Unreadable()
        flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
        return flat.reshape(shape)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
        return Unreadable()


def draw(exercise: Exercise, seed: int) -> list[tuple[Any, ...]]:
    """Return the arguments of an exercise's trials, the same ones on both sides."""
    return exercise.draw(torch.Generator().manual_seed(seed))


def limit(memory: int) -> None:
    """Let this process take so many GB more, and write no huge file, where the system can see to it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    taken = 0  # bytes of addresses; PyTorch for a GPU reserves many that it never uses
    with contextlib.suppress(OSError):  # Linux alone tells
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, taken + memory * 10**9),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def run_cell(shell: InteractiveShell, source: str) -> dict[str, Any]:
    """Run a cell as a notebook does, and say what it raised."""
    result = shell.run_cell(source, store_history=False)
    return {"error": told(result.error_before_exec or result.error_in_exec)}


def try_attempt(shell: InteractiveShell, name: str, seed: int) -> dict[str, Any]:
    """Return what was handed in under this name: an answer, or feedback and the values for the seed."""
    if name not in shell.user_ns:
        return {"missing": True}
    attempt, exercise = shell.user_ns[name], find(name)
    if not isinstance(exercise, Exercise):
        return {"answer": attempt if isinstance(attempt, str) else None if attempt is ... else "?"}
    torch.set_default_dtype(torch.float32)  # a cell may have changed what the trials rely on
    torch.set_default_device("cpu")
    torch.set_grad_enabled(True)
    result = examine(exercise, attempt, seed)
    reply = {"said": result.feedback, "attempted": result.attempted, "values": None}
    if result.passed:
        outcomes = [run(attempt, inputs) for inputs in draw(exercise, seed)]
        reply["values"] = [encode(outcome.value) for outcome in outcomes if outcome.error is None]
    return reply


def told(error: BaseException | None) -> str:
    """Return an error's kind and message, also where it cannot speak; "" for none."""
    if error is None:
        return ""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")[:300]
    except Exception:
        return type(error).__name__


def main() -> None:
    """Answer requests until there are no more. Cells see no input, and their output is dropped."""
    process, memory = os.getpid(), int(sys.argv[1])
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), number)
    # As in a kernel: what a cell wrote beside it can be imported, and our tools cannot.
    sys.path[0] = ""
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    limit(memory)
    print(json.dumps({"number": 0}), file=replies, flush=True)
    for line in requests:
        request = json.loads(line)
        try:
            if request["do"] == "cell":
                reply = run_cell(shell, request["source"])
            else:
                reply = try_attempt(shell, request["name"], request["seed"])
            line = json.dumps({"number": request["number"], **reply})
        except BaseException as error:
            line = json.dumps({"number": request["number"], "failed": told(error)})
        if os.getpid() != process:  # a cell has forked: only one of the two may answer
            os._exit(0)
        print(line, file=replies, flush=True)
    os._exit(0)  # threads that were left behind may go on for ever


if __name__ == "__main__":
    main()
