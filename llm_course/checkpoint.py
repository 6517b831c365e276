"""Saving a trained model with its tokenizer, and loading it again, from files that nobody need trust."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from llm_course.recipes import RECIPES
from llm_course.tokenizers import CharTokenizer

# The decoder that ships with the course; README.md beside it says how it was trained.
PRETRAINED = Path(__file__).parent / "pretrained" / "decoder.safetensors"


class CheckpointError(RuntimeError):
    """A model file that cannot be used; the message names the file, the reason and the remedy."""


class Checkpoint(NamedTuple):
    """A model, the tokenizer it was trained with, and what was written down about it."""

    model: nn.Module
    tokenizer: CharTokenizer
    about: dict[str, str]


def save_checkpoint(
    path: str | Path,
    name: str,
    model: nn.Module,
    tokenizer: CharTokenizer,
    about: dict[str, str],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the weights (safetensors) with the recipe's name, the sizes, the characters and `about`.

    The file appears whole or not at all. In float16 it is half as large, and the weights are rounded to
    about three digits. Raises CheckpointError when it cannot be written.
    """
    header = {
        "recipe": name,
        "config": json.dumps(asdict(model.config)),
        "characters": "".join(tokenizer.characters),
        "about": json.dumps(about),
    }
    path = Path(path)
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {key: value.to(dtype) for key, value in model.state_dict().items()}
        partial.write_bytes(save(weights, metadata=header))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} could not be written: {error.strerror or error}. "
            "Choose another place with --out."
        ) from error


def check_place(path: str | Path) -> None:
    """Raise CheckpointError unless a model can be saved at `path`, to know it before training."""
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
            f"{path} could not be written: {reason}. Choose another place with --out."
        )


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Return the model saved at `path`; raises CheckpointError when it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"There is no model file {path}. Train one: `python -m llm_course train bigram`."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        recipe = RECIPES[header["recipe"]]
        config = recipe.config(**json.loads(header["config"]))
        if weights["token_embedding.weight"].shape != (config.vocab_size, config.n_embd):
            raise ValueError("its weights are not of the sizes that its header names")
        model = recipe.model(config)
        model.load_state_dict(weights)
        tokenizer = CharTokenizer(header["characters"])
        if tokenizer.vocab_size != model.config.vocab_size:
            raise ValueError(
                f"{tokenizer.vocab_size} characters, but sizes for {model.config.vocab_size}"
            )
        about = json.loads(header["about"])
        if not isinstance(about, dict) or not isinstance(about.get("corpus"), str):
            raise ValueError("its header does not say what the model was trained on")
        return Checkpoint(model, tokenizer, about)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, KeyError):
            reason = f"its header has no valid {reason}"
        raise CheckpointError(
            f"{path} is not a model of this course, or is damaged: {reason}. "
            "Train it again: `python -m llm_course train bigram`."
        ) from error


def load_pretrained() -> Checkpoint:
    """Return the decoder that ships with the course, trained on Tiny Shakespeare."""
    return load_checkpoint(PRETRAINED)
