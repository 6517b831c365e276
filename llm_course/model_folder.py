"""Folders of a model in Hugging Face's layout: found, read as if a stranger had made them, and written."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_course.tensor_file import CheckpointError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")
GPT2_SIZES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
OURS = {"made_by": "llm_course"}  # in the config.json of what this course has written
_DECIMAL = {"F64", "F32", "F16", "BF16"}


def find_folder(name: str | Path, *, download: bool = False) -> Path:
    """Return the folder of a model: a path; or by name from LLM_COURSE_GPT2, or Hugging Face's cache.

    The variable LLM_COURSE_GPT2 names a folder that takes the place of "gpt2". The network is asked only
    with `download`, where the cache lacks weights or tokenizer, and never under LLM_COURSE_OFFLINE=1.
    Raises CheckpointError where nothing is found, ConnectionError where a download fails.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    at_home = os.environ.get("LLM_COURSE_GPT2")
    if at_home and str(name) in ("gpt2", "openai-community/gpt2"):
        if Path(at_home).expanduser().is_dir():
            return Path(at_home).expanduser()
        raise CheckpointError(
            f"LLM_COURSE_GPT2 names {at_home}, which is no folder. Set it to one that holds {CONFIG} "
            f"and {WEIGHTS}, or unset it."
        )
    repository = f"openai-community/{name}" if name in GPT2_SIZES else str(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository):
        raise CheckpointError(
            f"There is no folder {name}. Give one that holds {CONFIG} and {WEIGHTS}, or a name: "
            f"{', '.join(GPT2_SIZES)}."
        )
    try:  # only here: the rest of the course does without it
        from huggingface_hub import snapshot_download, try_to_load_from_cache
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"Models are found by name with huggingface_hub, which is not installed: pip install "
            f"huggingface_hub, or give a folder in place of {name}."
        ) from error
    is_offline = os.environ.get("LLM_COURSE_OFFLINE", "0") not in ("", "0")
    for known_as in (repository, str(name)):  # earlier the sizes had no owner
        config = try_to_load_from_cache(known_as, CONFIG)
        if isinstance(config, str) and (
            not download or is_offline or _is_filled(Path(config).parent)
        ):
            return Path(config).parent
    if not download:
        raise CheckpointError(
            f"{name} is not at hand: neither a folder of that name nor Hugging Face's cache has it. "
            "Give a folder, or let it be fetched once with download=True (gpt2: 0.5 GB, gpt2-xl: 6 GB)."
        )
    if is_offline:
        raise ConnectionError("LLM_COURSE_OFFLINE is set, so that nothing was downloaded.")
    files = [CONFIG, WEIGHTS, INDEX, "model-*.safetensors", *TOKENIZER_FILES]
    try:
        return Path(snapshot_download(repository, allow_patterns=files))
    except Exception as error:  # whatever the libraries below it raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConnectionError(
            f"{repository} could not be downloaded: {reason}. Try again later, or copy its files "
            "into a folder by hand and give that."
        ) from error


def _is_filled(folder: Path) -> bool:
    """Return whether weights (in one file) and a tokenizer are there: other programs fetch one of them."""
    has = {name: (folder / name).is_file() for name in (WEIGHTS, *TOKENIZER_FILES)}
    return has[WEIGHTS] and (has["tokenizer.json"] or (has["vocab.json"] and has["merges.txt"]))


@contextlib.contextmanager
def distrusted(folder: Path) -> Iterator[None]:
    """Turn whatever a file of a stranger may cause into a CheckpointError that names the folder."""
    try:
        yield
    except (
        *(ArithmeticError, AttributeError, LookupError, OSError, RecursionError, RuntimeError),
        *(TypeError, ValueError, SafetensorError),
    ) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise CheckpointError(
            f"{folder} holds no model that this course reads: {reason}. "
            f"A GPT-2 of Hugging Face's is needed, as a folder with {CONFIG} and {WEIGHTS}."
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a file; ValueError says what is wrong with it."""
    if not file.is_file():
        raise ValueError(f"{file.name} is missing")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no object")
    return found


class Stored(NamedTuple):
    """A tensor in a file, before it is read."""

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: str

    def read(self) -> Tensor:
        """Return the tensor in float32, in memory of its own."""
        with safe_open(self.file, framework="pt") as file:
            return file.get_tensor(self.name).to(torch.float32, copy=True)


def stored_tensors(folder: Path, prefix: str) -> dict[str, Stored]:
    """Return which tensors of which shapes a folder holds, in one file or several; none is read yet.

    Names come without the `prefix`, which some files have. Pickles are not read: they may run anything.
    """
    names = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
    stored = {}
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise ValueError(f"{INDEX} names {name!r}, which is no file beside it")
        if not (folder / name).is_file():
            pickled = (folder / "pytorch_model.bin").exists()
            hint = "; pytorch_model.bin is not read, as it could run any code" * pickled
            raise ValueError(f"{name} is missing{hint}")
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                part = file.get_slice(key)
                shape, kind = tuple(part.get_shape()), part.get_dtype()
                found = Stored(folder / name, key, shape, kind)
                if (short := key.removeprefix(prefix)) in stored:
                    raise ValueError(f"{short} is there twice")
                stored[short] = found
    return stored


def check_shapes(stored: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError where tensors are missing, too many, of another shape, or no decimal numbers."""
    for name in {**wanted, **stored}:
        found = stored[name].shape if name in stored else "missing"
        if found != wanted.get(name):
            raise ValueError(f"{name} is {found}, and should be {wanted.get(name, 'missing')}")
        if stored[name].kind not in _DECIMAL:
            raise ValueError(f"{name} holds {stored[name].kind}, and no decimal numbers")


def write_folder(folder: Path, files: Mapping[str, bytes | Callable[[Path], None]]) -> None:
    """Write files, or let functions write them, into a folder that appears whole or not at all.

    It is filled under another name, flushed to the disk, then renamed. An earlier export is replaced: for
    a moment, between two renames, it stands beside. Raises CheckpointError where it cannot be written, or
    anything else stands there, which stays as it is.
    """
    is_replaced = _may_be_replaced(folder)
    partial, previous = (
        folder.with_name(f"{folder.name}.{os.getpid()}.{kind}") for kind in ("part", "previous")
    )
    try:
        partial.mkdir(parents=True)
        for name, content in files.items():
            if callable(content):
                content(partial / name)
            else:
                (partial / name).write_bytes(content)
            with (partial / name).open("rb") as file:
                os.fsync(file.fileno())
        if is_replaced:
            folder.rename(previous)
        partial.rename(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"{folder} could not be written: {error.strerror or error}. "
            "Make room there, or choose another place."
        ) from error
    if is_replaced:
        shutil.rmtree(previous)


def _may_be_replaced(folder: Path) -> bool:
    """Return whether an earlier export stands there; CheckpointError where it is anything else."""
    if not folder.exists() and not folder.is_symlink():
        return False
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else {""}
    if names <= {CONFIG, WEIGHTS, *TOKENIZER_FILES} and not folder.is_symlink():
        with contextlib.suppress(ValueError):
            if not names or OURS.items() <= read_json(folder / CONFIG).items():
                return True
    raise CheckpointError(
        f"{folder} is there already, and is no export of this course. Choose another place, or move it."
    )
