"""Mirrorish, an invented language of four rules, and phrases to translate into it.

1. The two words of a phrase change places.
2. A word that begins with a consonant is written backwards.
3. Of a doubled letter only one is left.
4. Every vowel (a, e, i, o, u) is written twice.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llm_course.tokenizers import CharTokenizer

VOWELS = "aeiou"
RULES = (1, 2, 3, 4)
START, END, PADDING = "<>_"  # of a text; they are characters like others to the tokenizer
TOKENIZER = CharTokenizer(START + END + PADDING + " abcdefghijklmnopqrstuvwxyz")
PADDING_TOKEN = int(TOKENIZER.encode(PADDING))
SHORTEST, LONGEST = 3, 7  # letters in a word


def mirrorish(phrase: str, rules: Collection[int] = RULES) -> str:
    """Return a phrase of two words in Mirrorish, by all four rules or by some of them."""
    return "".join(phrase[place] for place in true_places(phrase, rules))


def true_places(phrase: str, rules: Collection[int] = RULES) -> list[int]:
    """Return for every character of the translation the place in `phrase` that it comes from.

    ValueError where the phrase is not two words of the letters a to z, with one space between them.
    """
    if not re.fullmatch("[a-z]+ [a-z]+", phrase):
        raise ValueError(
            f"{phrase!r} is no phrase: give two words of the letters a to z, and one space"
        )
    space = phrase.index(" ")
    parts = [range(space), [space], range(space + 1, len(phrase))]
    if 1 in rules:
        parts.reverse()
    return [place for part in parts for place in _places_of_word(phrase, list(part), rules)]


def _places_of_word(phrase: str, places: list[int], rules: Collection[int]) -> list[int]:
    """Return where the characters of one word's translation come from: rules 2 to 4."""
    if 3 in rules:
        places = [p for p in places if p == places[0] or phrase[p] != phrase[p - 1]]
    if 2 in rules and phrase[places[0]] not in VOWELS:
        places = places[::-1]
    if 4 in rules:
        places = [p for p in places for _ in range(2 if phrase[p] in VOWELS else 1)]
    return places


class Words(NamedTuple):
    """The words that a model learns from, and those that it is judged on; no word is in both."""

    train: list[str]
    val: list[str]


def words_of(text: str) -> Words:
    """Return the different words of 3 to 7 letters of a text, in small letters; every tenth is held out.

    ValueError where there are fewer than 100.
    """
    found = re.findall("[a-z]+", text.lower())
    words = sorted({word for word in found if SHORTEST <= len(word) <= LONGEST})
    if len(words) < 100:
        raise ValueError(
            f"the text has {len(words)} different words of {SHORTEST} to {LONGEST} letters, and 100 "
            "are needed: give a longer one"
        )
    held_out = words[::10]
    return Words(sorted(set(words) - set(held_out)), held_out)


def draw_phrases(words: Sequence[str], n: int, generator: torch.Generator) -> list[str]:
    """Return n phrases of two words each, drawn by chance, all words equally likely."""
    drawn = torch.randint(len(words), (n, 2), generator=generator)
    return [f"{words[first]} {words[second]}" for first, second in drawn.tolist()]


def padded(texts: Sequence[str]) -> Int[Tensor, "B T"]:
    """Return the tokens of some texts as rows, filled up with padding to the length of the longest."""
    return pad_sequence(
        [TOKENIZER.encode(text) for text in texts], batch_first=True, padding_value=PADDING_TOKEN
    )


def teaching_batch(
    phrases: Sequence[str], translations: Sequence[str] | None = None
) -> tuple[Int[Tensor, "B S"], Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Return sources, what the decoder reads (< and the translation), and what it is to say (then >)."""
    if translations is None:
        translations = [mirrorish(phrase) for phrase in phrases]
    target = padded([START + translation + END for translation in translations])
    return padded(phrases), target[:, :-1], target[:, 1:]
