"""The practice corpus read back by a scorer of its own, which knows the rules and not the generator."""

import hashlib
import os
import subprocess
import sys
from bisect import bisect_right
from functools import cache
from math import exp, log
from random import Random
from string import ascii_letters
from typing import NamedTuple

import numpy as np
import pytest

from llm_course import practice_words as given
from llm_course.evaluation import evaluate
from llm_course.models.ngram import NgramTable
from llm_course.practice_corpus import LENGTH, best_loss, best_losses, practice_text

SHA256 = "c3f196107c17028f82502b463336f9434ba384c61f911f58044119aac683afbd"
CHARACTERS = set("\n !$&',-.3:;?" + ascii_letters)  # Tiny Shakespeare's
FORMS = {"one": (0, ""), "many": (0, "s"), "adjective": (1, ""), "do": (2, ""), "does": (2, "s")}


class RefusedError(ValueError):
    """The text breaks the rules; the argument is the place of the first character that does."""


class Mixture(NamedTuple):
    weights: dict[str, int]  # of each beginning: how much the strings with it weigh together
    meanings: dict[str, tuple]  # of each whole string: (kind, item, theme)


def words(text):
    return tuple(word.replace("_", " ") for word in text.split())


def mixed(entries):
    """Return the mixture of (string, weight, meaning), making sure that none begins another."""
    entries, weights = list(entries), {}
    for string, weight, _ in entries:
        for end in range(len(string) + 1):
            weights[string[:end]] = weights.get(string[:end], 0) + weight
    assert all(weights[string] == weight for string, weight, _ in entries)
    return Mixture(weights, {string: meaning for string, _, meaning in entries})


def listed(name, theme):
    """Yield the entries of a list of words; of all themes' lists of that name where theme is None."""
    plain = name.lower()
    if plain in FORMS:
        field, suffix = FORMS[plain]
        themes = [theme] if theme else given.THEMES
        lists = {t: [w + suffix for w in words(given.THEMES[t].split("|")[field])] for t in themes}
    else:
        lists = {None: words(given.LISTS[plain])}
    scale = given.SCALES.get(name, 10_000) // len(lists)
    for t, members in lists.items():
        for rank, word in enumerate(members):
            string = (word if name == plain else word[0].upper() + word[1:]) + " "
            yield string, scale // (rank + 10), (name, word, t)


@cache
def options(theme, *parts):
    """Return the mixture of parts: the names of lists, or (kind, form, items) of equal weights."""
    entries = []
    for part in parts:
        if isinstance(part, str):
            entries += listed(part, theme)
        else:
            kind, form, items = part
            weight = given.WEIGHTS.get(kind, 1)
            entries += [(form.format(item), weight, (kind, item, None)) for item in items]
    return mixed(entries)


@cache
def rhymes(ending, first):
    """Return the mixture of last words: of those that rhyme with the first, or of all if it is None."""
    return mixed(
        (word + end, 10_000 // (rank + 10) * times, ("rhyme", word, None))
        for members in map(words, given.RHYMES.split("|"))
        if first is None or first in members
        for rank, word in enumerate(members)
        if word != first
        for end, times in given.ENDINGS[ending].items()
    )


class Scorer:
    """Reads a play from left to right; losses[i] is -ln p of its character i."""

    def __init__(self, text, length=LENGTH):
        self.text = text + "\0"  # no string goes beyond the end
        self.losses, self.choices, self.theme = [], [], None
        while len(self.losses) < length:
            self.scene()
        if len(self.losses) != len(text):
            raise RefusedError(len(self.losses))

    def choose(self, mixture):
        self.choices.append((len(self.losses), mixture))
        weights, beginning = mixture.weights, ""
        while beginning not in mixture.meanings:
            longer = beginning + self.text[len(self.losses)]
            if longer not in weights:
                raise RefusedError(len(self.losses))
            self.losses.append(log(weights[beginning] / weights[longer]))
            beginning = longer
        return mixture.meanings[beginning]

    def pick(self, *parts):
        kind, item, theme = self.choose(options(self.theme, *parts))
        self.theme = self.theme or theme
        return kind, item

    def scene(self):
        self.pick(("place", "SCENE. {} at ", words(given.PLACES)))
        self.pick(("time", "{}.\n\nEnter ", words(given.TIMES)))
        self.stage, self.speaker, self.called = set(), None, None
        for form in "{}, ", "{} and ", "{}.\n\n":
            self.stage.add(self.pick(("cast", form, self.off_stage()))[1])
        kind = "direction"
        while kind != "exeunt":
            kind = self.turn(after_direction=kind != "label")

    def off_stage(self):
        return tuple(name for name in given.CAST if name not in self.stage)

    def on_stage(self, besides=None):
        return tuple(name for name in given.CAST if name in self.stage and name != besides)

    def turn(self, after_direction):
        names = (self.called,) if self.called else self.on_stage(besides=self.speaker)
        parts = [("label", "{}:\n", tuple(name.upper() for name in names))]
        if not self.called and not after_direction:
            parts += [("sound", "{}\n\n", words(given.SOUNDS)), ("exeunt", "Exeunt.{}", ("\n\n",))]
            if len(self.stage) < 5:
                parts.append(("enter", "Enter {}.\n\n", self.off_stage()))
            if len(self.stage) > 2:
                parts.append(("exit", "Exit {}.\n\n", self.on_stage()))
        kind, item = self.pick(*parts)
        if kind == "enter":
            self.stage.add(item)
        elif kind == "exit":
            self.stage.remove(item)
        elif kind == "label":
            self.speaker = item.capitalize()
            self.speech()
        return kind

    def speech(self):
        self.theme = self.called = None
        start, _ = self.pick(*given.STARTS)
        for nth in 1, 2, 3:
            self.couplet(start)
            more = given.STARTS if nth < 3 and not self.called else ()
            start, _ = self.pick(("stop", "{}", ("\n",)), *more)
            if start == "stop":
                return

    def couplet(self, start):
        if start in ("pronoun", "Do"):
            if start == "pronoun":
                self.pick("modal")
                self.pick("do")
            self.phrase("manner")  # an object
            first = self.tail("clause")
            names = ("name", "{}, ", self.on_stage(besides=self.speaker))
            kind, item = self.pick("Do", "invitation", names)
            if kind == "name":
                self.called = item
                self.pick("question")
            if kind != "Do":
                self.pick("do")
            self.phrase("manner")  # an object
            self.tail("question" if self.called else "couplet", first)
        else:
            noun = self.phrase() if start == "conjunction" else self.phrase_after(start.lower())
            self.pick("preposition")
            self.phrase()
            first = self.tail("subject")
            verb = "do" if noun == "many" else "does"
            if self.pick(verb.capitalize(), "adverb")[0] == "adverb":
                self.pick(verb)
            self.phrase("manner")  # an object
            self.tail("couplet", first)

    def phrase(self, *more):
        """Read a phrase, and return which list its noun is of, one or many."""
        kind, _ = self.pick("the", "this", "these", "adjective", "many", *more)
        return self.phrase() if kind == "manner" else self.phrase_after(kind)

    def phrase_after(self, kind):
        nouns = given.FITS.get(kind, ("many",))
        if kind in given.FITS:
            kind, _ = self.pick("adjective", *nouns)
        return self.pick(*nouns)[0] if kind == "adjective" else kind

    def tail(self, ending, first=None):
        self.pick("preposition")
        self.pick("the", "this")
        return self.choose(rhymes(ending, first))[1]


@pytest.fixture(scope="module")
def scorer():
    return Scorer(practice_text())


def test_the_best_losses_are_those_of_the_rules(scorer):
    text, best, losses = practice_text(), best_losses(), np.array(scorer.losses)
    assert len(losses) == len(text) == len(best) >= LENGTH == 1_000_000
    np.testing.assert_allclose(best, losses, rtol=0, atol=1e-9)
    random = Random(0)
    slices = [sorted(random.sample(range(len(text)), 2)) for _ in range(20)]
    for start, stop in [(0, len(text)), (int(0.9 * len(text)), len(text)), *slices]:
        assert abs(best_loss(start, stop) - losses[start:stop].mean()) < 1e-9
    assert best_loss(int(0.9 * len(text))) == best_loss(int(0.9 * len(text)), len(text))


def test_what_may_follow_adds_up_to_one(scorer):
    text = practice_text()
    for place in Random(0).sample(range(len(text)), 200):
        nth = bisect_right(scorer.choices, place, key=lambda choice: choice[0]) - 1
        start, (weights, _) = scorer.choices[nth]
        written = text[start:place]
        p = {c: weights.get(written + c, 0) / weights[written] for c in CHARACTERS}
        assert abs(sum(p.values()) - 1) < 1e-12
        assert abs(p[text[place]] - exp(-best_losses()[place])) < 1e-9


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nCome and darn pockets under their train", "\nCome and darn pockets under their king"),
        ("\nCome and darn pockets under their train", "\nCome and darn pockets under their reign"),
        ("\nSoon launders the seams", "\nSoon launder the seams"),
        ("\nSlowly cut her frilly tunic", "\nSlowly cuts her frilly tunic"),
        ("both quilts by the reign", "each quilts by the reign"),
        ("darn pockets under", "darn kettles under"),
        ("\nMAX:\nI shall tuck", "\nPEG:\nI shall tuck"),  # is not on stage
        ("\nJOSS:\nSink leaky eels", "\nMAX:\nSink leaky eels"),  # spoke last
        ("\nMAX:\nGlimpse", "\nWYN:\nGlimpse"),  # was not called
        ("\nMax, why not skim", "\nJoss, why not skim"),  # calls the speaker
        ("Exit Wyn.", "Exit Zeb."),
        ("Enter Clem.", "Enter Max."),
        ("Enter Wyn, Joss and Max.", "Enter Wyn, Joss and Wyn."),
        ("A kitchen garden", "A kitchen harbour"),
    ],
)
def test_the_scorer_refuses_what_breaks_a_rule(old, new):
    text = practice_text()
    with pytest.raises(RefusedError) as refused:
        Scorer(text.replace(old, new, 1))
    assert 0 <= refused.value.args[0] - text.index(old) <= len(new)


def test_the_scorer_refuses_another_end():
    scene = practice_text()[: practice_text().index("SCENE", 1)]
    assert len(Scorer(scene, len(scene)).losses) == len(scene)
    for text, length in (scene[:-1], 1), (scene + "SCENE", 1), (scene, len(scene) + 1):
        with pytest.raises(RefusedError, match=f"^{min(len(text), len(scene))}$"):
            Scorer(text, length)


def test_the_text_is_always_the_same():
    assert hashlib.sha256(practice_text().encode()).hexdigest() == SHA256
    program = "from llm_course.practice_corpus import *; print(end=practice_text())"
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    fresh = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert hashlib.sha256(fresh).hexdigest() == SHA256


def test_it_has_the_characters_of_tiny_shakespeare():
    text = practice_text()
    assert len(CHARACTERS) == 65
    assert set(text) == set(text[: int(0.9 * len(text))]) == CHARACTERS


def test_the_best_losses_cannot_be_changed():
    best = best_losses()
    assert best.dtype == np.float64 and best.shape == (len(practice_text()),) and (best >= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        best[0] = 0
    assert best_loss(1_000, 2_000) == pytest.approx(best[1_000:2_000].mean(), abs=1e-12)


@pytest.mark.slow
def test_no_table_comes_near_the_best_loss(practice_data):
    data, tokenizer = practice_data
    losses = {}
    for order in 2, 5, 6, 7, 8:
        table = NgramTable(data.train, tokenizer.vocab_size, order)
        losses[order] = evaluate(table, data.val)
    assert min(losses, key=losses.get) == 6  # both shorter and longer histories do worse
    assert losses[6] > best_loss(int(0.9 * len(practice_text()))) + 0.25
