"""Tokenizers: from text to the integers that a model reads, and back."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from llm_course.bpe import BPETokenizer

__all__ = ["BPETokenizer", "CharTokenizer", "Tokenizer"]


@runtime_checkable
class Tokenizer(Protocol):
    """What all tokenizers have in common; `decode` gives back what `encode` was given."""

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""

    def encode(self, text: str) -> Int[Tensor, " N"]:
        """Return the tokens of a text."""

    def decode(self, tokens: Int[Tensor, " N"] | list[int]) -> str:
        """Return the text of some tokens."""


class CharTokenizer:
    """One token per character; the vocabulary is the sorted set of the characters in `text`.

    `encode` and `decode` are inverse to each other, for every text made of these characters.
    """

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("an empty text has no vocabulary: give a text with characters in it")
        self.characters: list[str] = sorted(set(text))
        self._token_of = {character: token for token, character in enumerate(self.characters)}

    @property
    def vocab_size(self) -> int:
        """The number of different characters."""
        return len(self.characters)

    def encode(self, text: str) -> Int[Tensor, " N"]:
        """Return one token per character; ValueError names the first character it does not know."""
        try:
            return torch.tensor([self._token_of[c] for c in text], dtype=torch.long)
        except KeyError:
            position, character = next(
                (i, c) for i, c in enumerate(text) if c not in self._token_of
            )
            raise ValueError(
                f"character {character!r} (U+{ord(character):04X}) at position {position} is not in "
                f"the vocabulary of {self.vocab_size} characters"
            ) from None

    def decode(self, tokens: Int[Tensor, " N"] | list[int]) -> str:
        """Return the text of these tokens; ValueError names the first that is out of range."""
        numbers = tokens.tolist() if isinstance(tokens, Tensor) else tokens
        for position, token in enumerate(numbers):
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"token {token} at position {position} is not in the vocabulary: "
                    f"tokens go from 0 to {self.vocab_size - 1}"
                )
        return "".join(self.characters[token] for token in numbers)
