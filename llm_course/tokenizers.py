"""Tokenizers: from text to the integers that a model reads, and back."""

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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

    `special` are texts with a token of their own behind all others, such as GPT-2's "<|endoftext|>".
    Wherever one stands in a text, it becomes its token, as in `transformers`: cut it out of texts of
    strangers. `encode` and `decode` are inverse to each other for every text. Sennrich and others,
    "Neural Machine Translation of Rare Words with Subword Units" (2016); on bytes: Radford and others,
    "Language Models are Unsupervised Multitask Learners" (2019).
    """

    def __init__(self, merges: list[tuple[bytes, bytes]], special: Sequence[str] = ()) -> None:
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
        known = set(self.tokens)
        self.special: dict[str, int] = {}
        for text in special:
            if not text or text.encode() in known or text in self.special:
                raise ValueError(f"{text!r} cannot be a special token: it is one already, or empty")
            self.special[text] = len(self.tokens)
            self.tokens.append(text.encode())
        # Where two begin at one place, the longer is meant.
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len)[::-1])))
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
        for part, special in self._parts(text):
            for piece in pieces(part):
                if piece not in self._known:
                    whole = [self._token_of[byte] for byte in single_bytes(piece)]
                    self._known[piece] = self._merged(whole)
                numbers += self._known[piece]
            numbers += [self.special[special]] if special else []
        return torch.tensor(numbers, dtype=torch.long)

    def _parts(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield what stands before each special token, with that token; at last the rest, with none."""
        start = 0
        for found in self._special.finditer(text) if self.special else ():
            yield text[start : found.start()], found[0]
            start = found.end()
        yield text[start:], ""

    def decode(self, tokens: Int[Tensor, " N"] | list[int]) -> str:
        """Return the text of these tokens; bytes that are no whole character become U+FFFD."""
        numbers = _numbers(tokens, self.vocab_size)
        return b"".join(self.tokens[n] for n in numbers).decode("utf-8", errors="replace")

    def save(self, path: str | Path) -> None:
        """Write a file that this course and Hugging Face's `tokenizers` read."""
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
            "vocab": self._vocab(),
            "merges": [[_signs(left), _signs(right)] for left, right in self.merges],
        }
        how = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = [
            {"id": n, "content": text, **how, "special": True} for text, n in self.special.items()
        ]
        none = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
        whole = {"version": "1.0", **none, "added_tokens": added, "pre_tokenizer": level}
        whole |= {"decoder": level, "model": model}
        Path(path).write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "BPETokenizer":
        """Read a byte-level BPE from such a file; ValueError says what in it is of another kind."""
        with _distrusted(path):
            whole = json.loads(Path(path).read_text(encoding="utf-8"))
            model, level = whole["model"], whole["pre_tokenizer"]
            if model["type"] != "BPE" or level["type"] != "ByteLevel" or level["add_prefix_space"]:
                raise ValueError("it is no byte-level BPE without a space put before")
            if whole.get("normalizer") is not None or not level.get("use_regex", True):
                raise ValueError("it changes or cuts the text in another way")
            after = whole.get("post_processor") or level
            if after["type"] != "ByteLevel" and after.get("special_tokens") != {}:
                raise ValueError("it adds tokens to each text")
            pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
            added = sorted(whole.get("added_tokens", []), key=lambda token: token["id"])
            others = ("single_word", "lstrip", "rstrip")
            if any(token.get(name) for token in added for name in others):
                raise ValueError("its added tokens look at what is beside them")
            vocab = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
            return cls._checked(pairs, vocab, [token["content"] for token in added])

    def save_files(self, vocab: str | Path, merges: str | Path) -> None:
        """Write GPT-2's two files: vocab.json, the tokens' numbers, and merges.txt, a pair a line."""
        numbers = json.dumps(self._vocab(), ensure_ascii=False)
        Path(vocab).write_text(numbers, encoding="utf-8")
        pairs = [f"{_signs(left)} {_signs(right)}\n" for left, right in self.merges]
        Path(merges).write_text("#version: 0.2\n" + "".join(pairs), encoding="utf-8")

    @classmethod
    def from_files(cls, vocab: str | Path, merges: str | Path) -> "BPETokenizer":
        """Read GPT-2's two files; what the vocabulary has behind the merges' tokens is special."""
        with _distrusted(merges):
            lines = Path(merges).read_text(encoding="utf-8").split("\n")
            if lines[0].startswith("#version"):
                del lines[0]
            pairs = [line.split(" ") for line in lines if line]
            n_known = cls([(_unsigned(left), _unsigned(right)) for left, right in pairs]).vocab_size
        with _distrusted(vocab):
            numbers = json.loads(Path(vocab).read_text(encoding="utf-8"))
            special = sorted((n, text) for text, n in numbers.items() if n >= n_known)
            return cls._checked(pairs, numbers, [text for _, text in special])

    @classmethod
    def _checked(
        cls, pairs: Iterable[Sequence[str]], vocab: dict[str, int], special: Sequence[str]
    ) -> "BPETokenizer":
        tokenizer = cls([(_unsigned(left), _unsigned(right)) for left, right in pairs], special)
        if vocab != tokenizer._vocab():
            raise ValueError("its vocabulary is not what its merges make")
        return tokenizer

    def _vocab(self) -> dict[str, int]:
        """Return the number of every token, each written as files do it."""
        merged = self.tokens[: len(self.tokens) - len(self.special)]
        return {_signs(token): n for n, token in enumerate(merged)} | self.special

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


def _signs(token: bytes) -> str:
    return "".join(SIGN_OF[byte] for byte in token)


def _unsigned(signs: str) -> bytes:
    return bytes(BYTE_OF[sign] for sign in signs)


@contextmanager
def _distrusted(path: str | Path) -> Iterator[None]:
    """Turn whatever a stranger's file may cause into a ValueError that names the file."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a tokenizer that this course reads: {error}") from error
