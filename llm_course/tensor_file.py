"""Files of tensors: written whole or not at all, and read as if a stranger had made them."""

import contextlib
import glob
import hashlib
import json
import os
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

KINDS = ("model", "training")
FORMAT = 1  # a course that writes another layout counts it up
_NO_DIGEST = "0" * 64
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it
_CHUNK = 1 << 20


class CheckpointError(RuntimeError):
    """A file that cannot be used; the message names the file, the reason and the remedy."""


def previous(path: Path) -> Path:
    """Return where the file that stood at `path` before is kept."""
    return path.with_name(f"{path.name}.previous")


def check_place(path: str | Path, option: str = "--out") -> None:
    """Raise CheckpointError unless a file can be written at `path`, to know it before training.

    `option`: what the command line calls this place.
    """
    path, reason = Path(path), ""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        reason = "what stands there is not a plain file"
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
    if reason:
        raise CheckpointError(
            f"{path} could not be written: {reason}. "
            f"Choose another place (on the command line: {option})."
        )


def write(
    path: Path,
    kind: str,
    tensors: dict[str, Tensor],
    header: dict[str, str],
    *,
    keep_previous: bool,
) -> None:
    """Write tensors and a header (safetensors), with a SHA-256 of the whole.

    The file appears whole or not at all, even if the power fails: it is written under another name, with
    the process' number in it, flushed to the disk, then renamed. With `keep_previous`, the file that it
    replaces stays beside it. Raises CheckpointError when it cannot be written; what was there stays.
    """
    about = {"kind": kind, "format": str(FORMAT), **header, "sha256": _NO_DIGEST}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(tensors, metadata=about)
    data = data.replace(_digest_field(_NO_DIGEST), _digest_field(_sha256(data)), 1)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep_previous and path.exists():
            path.replace(previous(path))
        partial.replace(path)
        _flush_names(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"{path} could not be written: {error.strerror or error}. "
            "Make room there, or choose another place (on the command line: --out)."
        ) from error


def read(path: Path, kind: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and the tensors of a file that `write` has written.

    Nothing is executed, and nothing larger than the file is allocated. Raises ValueError with the reason
    where it is not such a file or not as it was written, OSError where it cannot be read.
    """
    header = read_header(path, kind)
    try:
        with safe_open(path, framework="pt") as file:
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def read_header(path: Path, kind: str) -> dict[str, str]:
    """Return the header alone, once the whole file has been found to be as it was written."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > _LONGEST_HEADER:
            raise ValueError("it is no safetensors file")
        if 8 + length > size:
            raise ValueError(f"it is cut short: {size:,} bytes, and its header alone asks for more")
        raw = file.read(length)
        header = _metadata(raw)
        if header.get("kind") not in KINDS:
            raise ValueError("it was not written by this course")
        if header["kind"] != kind:
            raise ValueError(f"it holds a {header['kind']}, where a {kind} is asked for")
        if header.get("format") != str(FORMAT):
            raise ValueError(
                f"it has format {header.get('format')}, and this course reads format {FORMAT}: "
                "update the course"
            )
        digest = header.get("sha256", "")
        blank = raw.replace(_digest_field(digest), _digest_field(_NO_DIGEST), 1)
        if _sha256(length.to_bytes(8, "little") + blank, file) != digest:
            raise ValueError("it is not as it was written: its SHA-256 is another one")
    return header


def _metadata(raw: bytes) -> dict[str, str]:
    try:
        header = json.loads(raw)["__metadata__"]
        if not all(isinstance(value, str) for value in header.values()):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("it was not written by this course") from None
    return header


def _digest_field(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()


def _sha256(start: bytes, rest: BinaryIO | None = None) -> str:
    digest = hashlib.sha256(start)
    while rest is not None and (chunk := rest.read(_CHUNK)):
        digest.update(chunk)
    return digest.hexdigest()


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that died while writing have left, once it is a minute old."""
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.lstat().st_mtime > 60:
                leftover.unlink()


def _flush_names(folder: Path) -> None:
    """Let a rename survive a loss of power, where folders can be flushed (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
