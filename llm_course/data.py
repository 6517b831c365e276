"""Corpora, the split into training and validation text, windows and batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from llm_course.download import CorpusError, locate, note, read_file, read_tiny_shakespeare
from llm_course.practice_corpus import practice_text


@dataclass(frozen=True)
class Corpus:
    """A text to learn from, its name, and where it was found."""

    name: str
    text: str
    source: str


def load_corpus(path: str | Path | None = None) -> Corpus:
    """Return Tiny Shakespeare, or the text file at `path`.

    Tiny Shakespeare comes from the folder that the environment variable LLM_COURSE_DATA names, else from
    the user's cache, else from the network. Where none has it, the course's own practice corpus takes
    its place, and a note on stderr says so. A file that is there but damaged is a CorpusError.
    """
    if path is not None:
        return _own_text(Path(path))
    try:
        file = locate()
    except ConnectionError as error:
        note(
            f"This runs on the practice corpus, not on Tiny Shakespeare: {error} "
            "Losses and samples differ from the saved ones; everything else is the same."
        )
        return Corpus("Practice corpus", practice_text(), "made by llm_course.practice_corpus")
    return Corpus("Tiny Shakespeare", read_tiny_shakespeare(file).decode("ascii"), str(file))


class Split(NamedTuple):
    """The tokens a model learns from and those it is judged on."""

    train: Int[Tensor, " N"]
    val: Int[Tensor, " M"]


def split(tokens: Int[Tensor, " N"], train_fraction: float = 0.9) -> Split:
    """Cut the tokens once: the first 90 % to learn from, the last 10 % to be judged on."""
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction must lie between 0 and 1, and is {train_fraction}")
    n_train = int(train_fraction * len(tokens))
    return Split(tokens[:n_train], tokens[n_train:])


def split_text(text: str, train_fraction: float = 0.9) -> tuple[str, str]:
    """Cut a text where `split` cuts its characters: for tokenizers that learn from the first part."""
    n_train = int(train_fraction * len(text))
    return text[:n_train], text[n_train:]


def get_batch(
    tokens: Int[Tensor, " N"], batch_size: int, context_length: int, generator: torch.Generator
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Draw windows at random places: the inputs, and the targets, which are one token later.

    Every place where a window and its last target fit is equally likely (N − T of them).
    """
    n_starts = len(tokens) - context_length
    if n_starts < 1:
        raise ValueError(
            f"{len(tokens)} tokens are too few for a window of {context_length} and its last target: "
            f"at least {context_length + 1} are needed"
        )
    starts = torch.randint(n_starts, (batch_size, 1), generator=generator).to(tokens.device)
    places = starts + torch.arange(context_length, device=tokens.device)
    return tokens[places], tokens[places + 1]


def _own_text(file: Path) -> Corpus:
    data = read_file(file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file} is not UTF-8: byte {data[error.start]:#04x} at position {error.start:,} does not "
            "belong there. Save it from your editor with the encoding UTF-8."
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise CorpusError(f"{file} is empty. Give a text of some thousand characters at least.")
    return Corpus(file.stem, text, str(file))
