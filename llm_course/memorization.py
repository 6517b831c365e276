"""What a model knows by heart: passages of its text that stand word for word in what it learned from."""

from typing import NamedTuple


class Passage(NamedTuple):
    """A piece of a text that stands in its source as well, and where it begins in both."""

    text: str
    start: int
    source_start: int


def copied_lengths(text: str, source: str) -> list[int]:
    """Return for each place of the text how many characters from there on stand together in the source.

    One step on, at most the first of them is lost: so the length never begins at 0 again, and the source
    is searched at most twice a character. Also called matching statistics; Chang and Lawler (1994).
    """
    lengths, length = [], 0
    for start in range(len(text)):
        while start + length < len(text) and text[start : start + length + 1] in source:
            length += 1
        lengths.append(length)
        length = max(0, length - 1)
    return lengths


def longest_passages(text: str, source: str, n: int = 3) -> list[Passage]:
    """Return the n longest passages of the text that stand in the source, the longest first.

    A passage that lies within a longer one does not count: each begins or ends beyond all others.
    """
    lengths = copied_lengths(text, source)
    ends = [start + length for start, length in enumerate(lengths)]
    whole = [i for i, end in enumerate(ends) if lengths[i] and (i == 0 or end > ends[i - 1])]
    longest = sorted(whole, key=lambda start: (-lengths[start], start))[:n]
    passages = [text[start : ends[start]] for start in longest]
    return [
        Passage(passage, start, source.find(passage))
        for passage, start in zip(passages, longest, strict=True)
    ]
