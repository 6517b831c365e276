"""Tokenizers: from text to the integers that a model reads, and back."""

import heapq
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from llm_course.byte_pairs import BYTE_TOKENS, SIGN_OF, Pair, learn_merges, pieces, single_bytes

BYTE_OF = {sign: byte for byte, sign in SIGN_OF.items()}


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
        return "".join(self.characters[n] for n in _numbers(tokens, self.vocab_size))


class BPETokenizer:
    """One token per frequent sequence of bytes; the vocabulary is the 256 bytes and what was merged.

    `encode` and `decode` are inverse to each other for every text. Sennrich and others,
    "Neural Machine Translation of Rare Words with Subword Units" (2016); on bytes: Radford and others,
    "Language Models are Unsupervised Multitask Learners" (2019).
    """

    def __init__(self, merges: list[tuple[bytes, bytes]]) -> None:
        self.merges = list(merges)
        self.tokens = list(BYTE_TOKENS)
        self._token_of = {token: number for number, token in enumerate(self.tokens)}
        # A pair's place among the merges, and the token that it becomes.
        self._rank: dict[Pair, tuple[int, int]] = {}
        for rank, (left, right) in enumerate(self.merges):
            for part in (left, right):
                if part not in self._token_of:
                    raise ValueError(f"merge {rank} joins {part!r}, which no merge before it makes")
            if left + right not in self._token_of:
                self._token_of[left + right] = len(self.tokens)
                self.tokens.append(left + right)
            pair = self._token_of[left], self._token_of[right]
            self._rank[pair] = rank, self._token_of[left + right]
        self._known: dict[str, list[int]] = {}

    @classmethod
    def train(cls, text: str, vocab_size: int) -> "BPETokenizer":
        """Merge the most frequent pair again and again, until there are so many tokens or no pairs.

        Of pairs that are equally frequent, the one of the earlier tokens is merged.
        """
        if vocab_size < 256:
            raise ValueError(f"the 256 bytes are tokens, and vocab_size is {vocab_size}")
        return cls(list(learn_merges(text, vocab_size)))

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def encode(self, text: str) -> Int[Tensor, " N"]:
        """Return the tokens of a text; ValueError where half a character (a lone surrogate) is in it."""
        numbers: list[int] = []
        for piece in pieces(text):
            if piece not in self._known:
                self._known[piece] = self._merged([self._token_of[b] for b in single_bytes(piece)])
            numbers += self._known[piece]
        return torch.tensor(numbers, dtype=torch.long)

    def decode(self, tokens: Int[Tensor, " N"] | list[int]) -> str:
        """Return the text of these tokens; bytes that are no whole character become U+FFFD."""
        numbers = _numbers(tokens, self.vocab_size)
        return b"".join(self.tokens[n] for n in numbers).decode("utf-8", errors="replace")

    def save(self, path: str | Path) -> None:
        """Write a file that this course and Hugging Face's `tokenizers` read."""
        sign = lambda token: "".join(SIGN_OF[byte] for byte in token)  # noqa: E731
        level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {sign(token): number for number, token in enumerate(self.tokens)},
            "merges": [[sign(left), sign(right)] for left, right in self.merges],
        }
        none = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
        whole = {"version": "1.0", **none, "added_tokens": [], "pre_tokenizer": level}
        whole |= {"decoder": level, "model": model}
        Path(path).write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "BPETokenizer":
        """Read a byte-level BPE from such a file; ValueError says what in it is of another kind."""
        try:
            whole = json.loads(Path(path).read_text(encoding="utf-8"))
            model, level = whole["model"], whole["pre_tokenizer"]
            if model["type"] != "BPE" or level["type"] != "ByteLevel" or level["add_prefix_space"]:
                raise ValueError("it is no byte-level BPE without a space put before")
            pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
            tokenizer = cls([(_unsigned(left), _unsigned(right)) for left, right in pairs])
            vocab = {_unsigned(token): number for token, number in model["vocab"].items()}
            if vocab != tokenizer._token_of:
                raise ValueError("its vocabulary is not what its merges make")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a tokenizer that this course reads: {error}"
            ) from error
        return tokenizer

    def _merged(self, tokens: list[int]) -> list[int]:
        """Merge the pair that was learned first, the leftmost where it stands twice, until none is left."""
        after = [*range(1, len(tokens)), -1]  # the place of the next token that is still there
        before = [*range(-1, len(tokens) - 1)]
        waiting: list[tuple[int, int, Pair]] = []  # rank, place and pair

        def look_at(place: int) -> None:
            if place >= 0 and after[place] >= 0:
                pair = tokens[place], tokens[after[place]]
                if pair in self._rank:
                    heapq.heappush(waiting, (self._rank[pair][0], place, pair))

        for place in range(len(tokens)):
            look_at(place)
        while waiting:
            _, place, pair = heapq.heappop(waiting)
            gone = after[place]
            if gone < 0 or (tokens[place], tokens[gone]) != pair:
                continue  # one of the two was merged meanwhile
            tokens[place], tokens[gone] = self._rank[pair][1], -1
            after[place] = after[gone]
            if after[gone] >= 0:
                before[after[gone]] = place
            look_at(before[place])
            look_at(place)
        return [token for token in tokens if token >= 0]


def _numbers(tokens: Int[Tensor, " N"] | list[int], vocab_size: int) -> list[int]:
    """Return tokens as plain numbers; ValueError names the first that is out of range."""
    numbers = tokens.tolist() if isinstance(tokens, Tensor) else tokens
    for position, token in enumerate(numbers):
        if not 0 <= token < vocab_size:
            raise ValueError(
                f"token {token} at position {position} is not in the vocabulary: "
                f"tokens go from 0 to {vocab_size - 1}"
            )
    return numbers


def _unsigned(signs: str) -> bytes:
    return bytes(BYTE_OF[sign] for sign in signs)
