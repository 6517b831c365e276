"""Saving a trained model with its tokenizer, and loading it again, from files that nobody need trust."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from llm_course.lora import check_merged
from llm_course.recipes import RECIPES
from llm_course.tensor_file import CheckpointError, read, write
from llm_course.tokenizers import BPETokenizer, CharTokenizer

# The decoder that ships with the course; README.md beside it says how it was trained.
PRETRAINED = Path(__file__).parent / "pretrained" / "decoder.safetensors"


class Checkpoint(NamedTuple):
    """A model, the tokenizer it was trained with, and what was written down about it."""

    model: nn.Module
    tokenizer: CharTokenizer | BPETokenizer
    about: dict[str, str]


def save_checkpoint(
    path: str | Path,
    name: str,
    model: nn.Module,
    tokenizer: CharTokenizer | BPETokenizer,
    about: dict[str, str],
    *,
    dtype: torch.dtype = torch.float32,
    keep_previous: bool = False,
) -> None:
    """Write the weights (safetensors) with the recipe's name, the sizes, the tokenizer and `about`.

    The file appears whole or not at all; with `keep_previous`, one that stood there stays beside it. In
    float16 it is half as large, and the weights are rounded to about three digits. Raises CheckpointError
    when it cannot be written, ValueError for a model with LoRA that is not merged.
    """
    check_merged(model)
    header = {
        "recipe": name,
        "config": json.dumps(asdict(model.config)),
        **_header_of(tokenizer),
        "about": json.dumps(about),
    }
    weights = {key: value.to(dtype) for key, value in model.state_dict().items()}
    write(Path(path), "model", weights, header, keep_previous=keep_previous)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Return the model saved at `path`; raises CheckpointError when it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"There is no model file {path}. Train one: `python -m llm_course train bigram`."
        )
    try:
        header, weights = read(path, "model")
        recipe = RECIPES[header["recipe"]]
        config = recipe.config(**json.loads(header["config"]))
        _check_sizes(recipe.model, config, weights)
        model = recipe.model(config)
        model.load_state_dict(weights)
        tokenizer = _tokenizer_of(header)
        if tokenizer.vocab_size != model.config.vocab_size:
            raise ValueError(
                f"{tokenizer.vocab_size} different tokens, but sizes for {model.config.vocab_size}"
            )
        about = json.loads(header["about"])
        if not isinstance(about, dict) or not isinstance(about.get("corpus"), str):
            raise ValueError("its header does not say what the model was trained on")
        return Checkpoint(model, tokenizer, about)
    except (
        *(ArithmeticError, AttributeError, LookupError, OSError, RecursionError, RuntimeError),
        *(TypeError, ValueError),
    ) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, KeyError):
            reason = f"its header has no valid {reason}"
        raise CheckpointError(
            f"{path} is not a model of this course, or is damaged: {reason}. "
            "Train it again: `python -m llm_course train bigram`."
        ) from error


def _header_of(tokenizer: CharTokenizer | BPETokenizer) -> dict[str, str]:
    """Return what a tokenizer is made of: its characters, or its merges (bytes as hexadecimal digits)."""
    if isinstance(tokenizer, BPETokenizer):
        merges = [[left.hex(), right.hex()] for left, right in tokenizer.merges]
        return {"merges": json.dumps(merges), "special": json.dumps(list(tokenizer.special))}
    return {"characters": "".join(tokenizer.characters)}


def _tokenizer_of(header: dict[str, str]) -> CharTokenizer | BPETokenizer:
    if "merges" not in header:
        return CharTokenizer(header["characters"])
    merges = json.loads(header["merges"])
    pairs = [(bytes.fromhex(left), bytes.fromhex(right)) for left, right in merges]
    return BPETokenizer(pairs, json.loads(header["special"]))


def _check_sizes(
    model: Callable[[Any], nn.Module], config: Any, weights: dict[str, torch.Tensor]
) -> None:
    """Raise ValueError unless the weights are those of such a model, before any memory is taken for it."""
    if getattr(config, "n_layer", 1) > len(weights):
        raise ValueError(f"{config.n_layer} layers are named, and {len(weights)} tensors are there")
    with torch.device("meta"):  # shapes alone
        empty = model(config)
    wanted = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    for name in {**wanted, **weights}:
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != wanted.get(name):
            raise ValueError(f"{name} is {found}, and should be {wanted.get(name, 'missing')}")
        if not weights[name].is_floating_point():
            raise ValueError(f"{name} holds {weights[name].dtype}")
    beside = sum(buffer.nbytes for buffer in empty.buffers())
    if beside > 16 * 2**20 + sum(weight.nbytes for weight in weights.values()):
        raise ValueError(f"its sizes ask for {beside / 2**30:,.1f} GB beside its weights")


def load_pretrained() -> Checkpoint:
    """Return the decoder that ships with the course, trained on Tiny Shakespeare."""
    return load_checkpoint(PRETRAINED)
