r"""The course's own practice corpus: a play of a million characters, made by a small grammar.

The course runs on it where Tiny Shakespeare cannot be had. It has the same 65 characters; and who
speaks, what a speech is about, which words rhyme and which verb agrees with which noun depend on
the text 10 to 60 characters back, out of the reach of tables of short histories.

Every choice is among strings of which none begins another; each has the probability weight / sum
of the weights. What may be chosen follows from the text so far: nothing is hidden. So the exact
p(next character | all before it) is the weight of the strings that begin with what is written of
this choice and then that character, over the weight of those that begin with what is written of it.

The words and weights stand in llm_course/practice_words.py.

Lists. In a list, the word of rank r = 0, 1, ... weighs scale // (r + 10), where scale is 10_000 if
SCALES does not have the list's name. In the text a space follows it ("_" in a list is a space too).
The lists are those of LISTS; The, This, These (the words of the, this, these with a capital); and of
each theme adjective, one (its nouns), many (its nouns + "s"), do (its verbs), does (its verbs + "s"),
Do, Does (the words of do, does with a capital). A speech keeps to the theme of its first such word;
up to and including that word, a theme's list means the lists of all 8 themes together, each with
scale // 8.

Rules. "a | b" is one choice among the strings of both, with the weights they have; "a, b" is a,
then b; [w] says that each of the strings weighs WEIGHTS["w"], a choice without any has equal
weights; <x> stands for any x. That the play ends is not predicted, and costs nothing.

play      scenes, up to the first that ends at or past LENGTH characters.
scene     "SCENE. <place> at ", "<time>.\n\nEnter ", "<name>, ", "<name> and ", "<name>.\n\n" (from
          PLACES, TIMES and CAST, nobody twice), a label and its speech, then turns to the Exeunt.
turn      If somebody was called, or a direction comes just before: a label. Else label |
          "<sound>\n\n" [sound] of SOUNDS | "Exeunt.\n\n" [exeunt], which ends the scene |
          "Enter <name>.\n\n" [enter] of those off stage, while fewer than 5 are on stage |
          "Exit <name>.\n\n" [exit] of those on stage, while more than 2 are.
label     "<NAME>:\n" [label], in capitals, of the one called, or else of all on stage except the
          last to speak in this scene (even after an Exit). A speech follows.
speech    1 to 3 couplets, each with its start, The | This | These | conjunction | pronoun | Do. A
          choice of "\n" [stop], which ends the speech, | the next start follows the first and the
          second couplet; after the third, and after one that calls somebody, it is "\n" alone.
couplet   After The, This, These or conjunction: the rest of the phrase (after conjunction: phrase),
          preposition, phrase, tail(subject), and on the second line Does | (adverb, does), object,
          tail(couplet); with Do and do for Does and does if the first phrase's noun is of many.
          After pronoun (then: modal, do) or Do: object, tail(clause), and on the second line
          Do | (invitation, do) | ("<name>, " [name], question, do), object, tail(couplet); the name
          is of anybody else on stage, who is called, and then it is tail(question).
phrase    the | this | these | adjective | many; then, after the: adjective | one | many, after
          this: adjective | one, after these: adjective | many; then, after any adjective, that
          choice without adjective, or many if the phrase began with the adjective.
object    A phrase whose first choice is also | manner; after a manner comes a phrase without it.
tail(e)   preposition, the | this, and "<word><ending>": a word of RHYMES, whose classes "|"
          separates, and an ending of ENDINGS[e]. The weight is (10_000 // (r + 10)) times the
          ending's; r is the word's rank in its class. The second line takes the class of the first
          line's word, without that word; the others keep their ranks.
"""

from bisect import bisect_left, bisect_right
from functools import cache
from itertools import accumulate, pairwise
from math import log
from random import Random

import numpy as np

from llm_course.practice_words import (
    CAST,
    ENDINGS,
    FITS,
    LISTS,
    PLACES,
    RHYMES,
    SCALES,
    SOUNDS,
    STARTS,
    THEMES,
    TIMES,
    WEIGHTS,
)

LENGTH = 1_000_000  # characters; the last scene goes past it
SEED = 65


def words(text: str) -> tuple[str, ...]:
    """Return the words of a list, with spaces in place of "_"."""
    return tuple(word.replace("_", " ") for word in text.split())


def all_lists() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return every list by theme ("" if it serves all of them) and name."""
    lists = {("", name): words(text) for name, text in LISTS.items()}
    for theme, text in THEMES.items():
        nouns, lists[theme, "adjective"], verbs = map(words, text.split("|"))
        lists[theme, "one"], lists[theme, "many"] = nouns, tuple(noun + "s" for noun in nouns)
        lists[theme, "do"], lists[theme, "does"] = verbs, tuple(verb + "s" for verb in verbs)
    for theme, name in list(lists):
        if name in (*FITS, "do", "does"):
            lists[theme, name.capitalize()] = tuple(map(str.capitalize, lists[theme, name]))
    return lists


ALL_LISTS = all_lists()
HOME = {word + " ": key for key, text in ALL_LISTS.items() for word in text}  # each word's list


class Choice:
    """A choice of one string in a set, each with a weight, of which no string begins another."""

    def __init__(self, weights: dict[str, int]) -> None:
        self.weights = dict(sorted(weights.items()))
        self.strings = list(self.weights)
        self.ends = [0, *accumulate(self.weights.values())]
        self.known: dict[str, list[float]] = {}
        if not self.strings or not self.strings[0] or min(self.weights.values()) < 1:
            raise ValueError("a choice is among strings, none of them empty, of positive weights")
        for short, long in pairwise(self.strings):
            if long.startswith(short):
                raise ValueError(f"{short!r} begins {long!r}")

    def mass(self, beginning: str) -> int:
        """Return the weight of the strings that begin so: neighbours, since they are sorted."""
        first, last = (bisect_left(self.strings, beginning + end) for end in ("", "\x7f"))
        return self.ends[last] - self.ends[first]

    def costs(self, string: str) -> list[float]:
        """Return -ln p, in nats, of each of the string's characters given those before it."""
        if string not in self.known:
            masses = [self.mass(string[:end]) for end in range(len(string) + 1)]
            self.known[string] = [log(before / after) for before, after in pairwise(masses)]
        return self.known[string]

    def pick(self, random: Random) -> str:
        """Return one of the strings, as probable as its weight makes it."""
        return self.strings[bisect_right(self.ends, random.random() * self.ends[-1]) - 1]


@cache
def equal(weight: int, *strings: str) -> Choice:
    """Return the choice among strings of the same weight."""
    return Choice(dict.fromkeys(strings, weight))


@cache
def ranked(theme: str, name: str, share: int = 1) -> Choice:
    """Return the choice in a list, whose word of rank r = 0, 1, ... weighs scale // (r + 10)."""
    scale = SCALES.get(name, 10_000) // share
    return Choice({word + " ": scale // (r + 10) for r, word in enumerate(ALL_LISTS[theme, name])})


@cache
def rhyming(first: str, ending: str) -> Choice:
    """Return the choice of a line's last word, which rhymes with `first` if given, and ending."""
    lines = [line for line in map(words, RHYMES.split("|")) if first in ("", *line)]
    rhymes = [(word, 10_000 // (r + 10)) for line in lines for r, word in enumerate(line)]
    ends = ENDINGS[ending].items()
    return Choice({w + end: n * m for w, n in rhymes if w != first for end, m in ends})


@cache
def union(*choices: Choice) -> Choice:
    """Return the choice among the strings of several choices, each string keeping its weight."""
    weights = [item for choice in choices for item in choice.weights.items()]
    if len(dict(weights)) < len(weights):
        raise ValueError("two of the choices share a string")
    return Choice(dict(weights))


@cache
def directions(stage: tuple[str, ...]) -> Choice:
    """Return the choice of a stage direction, by who is on stage."""
    off = [name for name in CAST if name not in stage]
    choices = [equal(WEIGHTS["exeunt"], "Exeunt.\n\n")]
    choices.append(equal(WEIGHTS["sound"], *(f"{sound}\n\n" for sound in words(SOUNDS))))
    if len(stage) < 5:
        choices.append(equal(WEIGHTS["enter"], *(f"Enter {name}.\n\n" for name in off)))
    if len(stage) > 2:
        choices.append(equal(WEIGHTS["exit"], *(f"Exit {name}.\n\n" for name in stage)))
    return union(*choices)


class Playwright:
    """Writes the play choice by choice, one method for each rule, and keeps every cost."""

    def __init__(self, seed: int = SEED) -> None:
        self.random = Random(seed)
        self.text: list[str] = []
        self.costs: list[float] = []
        self.theme = ""  # of the speech, once it is known
        while len(self.costs) < LENGTH:
            self.scene()

    def write(self, choice: Choice) -> str:
        """Write, and return, one string of the choice."""
        string = choice.pick(self.random)
        self.text.append(string)
        self.costs += choice.costs(string)
        return string

    def draw(self, *names: str, also: Choice | None = None) -> str:
        """Write a word of these lists, or a string of `also`; return its list's name, or ""."""
        choices = [also] if also else []
        own = [self.theme] if self.theme else list(THEMES)
        for name in names:
            themes = [""] if ("", name) in ALL_LISTS else own
            choices += [ranked(theme, name, len(themes)) for theme in themes]
        theme, name = HOME.get(self.write(union(*choices)), ("", ""))
        self.theme = theme or self.theme
        return name

    def scene(self) -> None:
        """Write a heading, three entrances, and turns until all leave."""
        self.write(equal(1, *(f"SCENE. {place} at " for place in words(PLACES))))
        self.write(equal(1, *(f"{time}.\n\nEnter " for time in words(TIMES))))
        stage: list[str] = []
        for after in (", ", " and ", ".\n\n"):
            turn = self.write(equal(1, *(name + after for name in CAST if name not in stage)))
            stage.append(turn.removesuffix(after))
        speaker = called = ""
        while turn != "Exeunt.\n\n":
            names = [called] if called else [name for name in stage if name != speaker]
            labels = equal(WEIGHTS["label"], *(f"{name.upper()}:\n" for name in names))
            free = turn.endswith(":\n") and not called
            turn = self.write(union(labels, directions(tuple(stage))) if free else labels)
            if turn.endswith(":\n"):
                speaker = turn[:-2].capitalize()
                called = self.speech([name for name in stage if name != speaker])
            else:  # whom the direction names comes on or goes off
                stage = [name for name in CAST if (name in stage) != (name in turn)]

    def speech(self, others: list[str]) -> str:
        """Write up to three couplets and an empty line; return who was called, or ""."""
        self.theme = called = ""
        couplets, start = 0, self.draw(*STARTS)
        while start:
            called = self.clauses(start, others) if start in ("pronoun", "Do") else ""
            if start not in ("pronoun", "Do"):
                self.sentence(start)
            couplets += 1
            more = () if called or couplets == 3 else STARTS
            start = self.draw(*more, also=equal(WEIGHTS["stop"], "\n"))
        return called

    def sentence(self, start: str) -> str:
        """Write a couplet with the subject in its first line and the verb in its second."""
        number = self.phrase() if start == "conjunction" else self.noun(start.lower())
        self.draw("preposition")
        self.phrase()
        rhyme = self.tail("subject")
        verb = "does" if number == "one" else "do"
        if self.draw("adverb", verb.capitalize()) == "adverb":
            self.draw(verb)
        self.phrase("manner")
        self.tail("couplet", rhyme)
        return ""

    def clauses(self, start: str, others: list[str]) -> str:
        """Write a couplet of two clauses; return who was called, or ""."""
        if start == "pronoun":
            self.draw("modal")
            self.draw("do")
        self.phrase("manner")
        rhyme = self.tail("clause")
        names = equal(WEIGHTS["name"], *(f"{name}, " for name in others))
        second = self.draw("invitation", "Do", also=names)
        called = "" if second else self.text[-1][:-2]
        if called:
            self.draw("question")
        if second != "Do":
            self.draw("do")
        self.phrase("manner")
        self.tail("question" if called else "couplet", rhyme)
        return called

    def phrase(self, *more: str) -> str:
        """Write a noun phrase, perhaps after a manner; return its number."""
        name = self.draw("the", "this", "these", "adjective", "many", *more)
        return self.phrase() if name == "manner" else self.noun(name)

    def noun(self, name: str) -> str:
        """Write the rest of a noun phrase after a word of list `name`; return its number."""
        numbers = FITS.get(name, ("many",))
        if name in FITS:
            name = self.draw("adjective", *numbers)
        return self.draw(*numbers) if name == "adjective" else name

    def tail(self, ending: str, rhyme: str = "") -> str:
        """Write the end of a line; return its last word."""
        self.draw("preposition")
        self.draw("the", "this")
        return self.write(rhyming(rhyme, ending)).rstrip("\n,;:.!?")


@cache
def _play() -> tuple[str, np.ndarray]:
    playwright = Playwright()
    costs = np.array(playwright.costs)
    costs.flags.writeable = False
    return "".join(playwright.text), costs


@cache
def practice_text() -> str:
    """Return the play, the same on every machine."""
    return _play()[0]


def best_losses() -> np.ndarray:
    """Return -ln p(character | all text before it) for each character of the play.

    In nats, float64, as long as the text, read-only. No model's mean can be expected to be lower.
    """
    return _play()[1]


def best_loss(start: int, stop: int | None = None) -> float:
    """Return the mean of the best losses of text[start:stop], in nats per character.

    Each character is predicted from the whole text before it, also from what is before `start`.
    """
    return float(best_losses()[start:stop].mean())
