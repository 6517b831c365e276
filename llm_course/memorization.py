"""What a model knows by heart: passages of its text that stand word for word in what it learned from."""

from typing import NamedTuple


class Passage(NamedTuple):
    """A piece of a text that stands in its source as well, and where it begins in both."""

    text: str
    start: int
    source_start: int


def copied_lengths(text: str, source: str) -> list[int]:
    """Return for each place of the text how many characters from there on stand together in the source.

    One place on, all of them but the first still stand there, so that the search goes on from their end,
    and looks at most twice for each character. Also called matching statistics; Chang and Lawler (1994).
    """
    lengths, length = [], 0
    for start in range(len(text)):
        while start + length < len(text) and text[start : start + length + 1] in source:
            length += 1
        lengths.append(length)
        length = max(0, length - 1)
    return lengths


def longest_passages(text: str, source: str, n: int = 3) -> list[Passage]:
    """Return the longest passages of the text that stand in the source: at most n, none overlapping."""
    lengths = copied_lengths(text, source)
    passages: list[Passage] = []
    for start in sorted(range(len(text)), key=lambda start: -lengths[start]):
        end = start + lengths[start]
        apart = all(end <= p.start or p.start + len(p.text) <= start for p in passages)
        if len(passages) < n and end > start and apart:
            passages.append(Passage(text[start:end], start, source.find(text[start:end])))
    return passages
