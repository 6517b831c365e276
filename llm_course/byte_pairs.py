"""What byte-pair encoding learns: which bytes to put together, by counting which stand together."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import regex

Pair = tuple[int, int]
# What merges never cross: GPT-2's cut into contractions, words, numbers, signs and white space.
PIECE = regex.compile(r"'(?:s|t|d|m|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTED]
# How files name a byte: by itself where that can be printed, else by a sign from U+0100 on.
SIGN_OF = {b: chr(b) for b in _PRINTED} | {b: chr(256 + n) for n, b in enumerate(_OTHERS)}
BYTE_TOKENS = [
    bytes([byte]) for byte in SIGN_OF
]  # the first 256 tokens, in the order of their signs


def pieces(text: str) -> list[str]:
    """Cut a text where no merge goes across; ValueError where half a character is in it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{text[error.start]!r} at position {error.start} is half a character (a lone surrogate), "
            "which has no bytes"
        ) from None
    return PIECE.findall(text)


def single_bytes(piece: str) -> list[bytes]:
    """Return the bytes of a piece, each for itself."""
    return [bytes([byte]) for byte in piece.encode("utf-8")]


def learn_merges(text: str, vocab_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs to merge, the most frequent first, until there are so many tokens or no pairs.

    Of pairs that are equally frequent, the one of the earlier tokens comes first. The counts are kept up to
    date: a merge looks only at the pieces that hold its pair, and each different piece is there once.
    """
    often_of = Counter(pieces(text))
    tokens = list(BYTE_TOKENS)
    token_of = {token: number for number, token in enumerate(tokens)}
    words = [[token_of[byte] for byte in single_bytes(piece)] for piece in often_of]
    often = list(often_of.values())
    counts: Counter[Pair] = Counter()
    holders: dict[Pair, set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += often[number]
            holders[pair].add(number)
    waiting = [(-counts[pair], pair, numbers) for pair, numbers in holders.items()]
    heapq.heapify(waiting)
    while waiting and len(tokens) < vocab_size:
        count, pair, numbers = heapq.heappop(waiting)
        if counts[pair] != -count:  # some of them were merged with others meanwhile
            if counts[pair] > 0:
                heapq.heappush(waiting, (-counts[pair], pair, numbers))
            continue
        left, right = tokens[pair[0]], tokens[pair[1]]
        joined = token_of.setdefault(left + right, len(tokens))
        if joined == len(tokens):
            tokens.append(left + right)
        yield left, right
        new_holders: dict[Pair, set[int]] = defaultdict(set)
        for number in numbers:
            words[number], changes = _join(words[number], pair, joined)
            for changed, by in changes:
                counts[changed] += by * often[number]
                if by > 0:
                    new_holders[changed].add(number)
        for new, its_numbers in new_holders.items():
            if counts[new] > 0:
                heapq.heappush(waiting, (-counts[new], new, its_numbers))


def _join(word: list[int], pair: Pair, joined: int) -> tuple[list[int], list[tuple[Pair, int]]]:
    """Return the word with the pair joined wherever it stands, and which pairs went (−1) and came (+1)."""
    left, right = pair
    new: list[int] = []
    changes: list[tuple[Pair, int]] = []
    i, last = 0, len(word) - 1
    while i <= last:
        if word[i] != left or i == last or word[i + 1] != right:
            new.append(word[i])
            i += 1
            continue
        i += 2
        if new:
            changes += [((new[-1], left), -1), ((new[-1], joined), 1)]
        if i <= last:
            changes += [((right, word[i]), -1), ((joined, word[i]), 1)]
        new.append(joined)
    return new, changes
