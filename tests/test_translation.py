import re
from collections import Counter

import pytest
import torch

from llm_course.practice_corpus import practice_text
from llm_course.translation import (
    LONGEST,
    PADDING_TOKEN,
    RULES,
    SHORTEST,
    TOKENIZER,
    VOWELS,
    Words,
    draw_phrases,
    mirrorish,
    padded,
    teaching_batch,
    true_places,
    words_of,
)


@pytest.mark.parametrize(
    ("phrase", "translation"),
    [
        ("noble king", "gniik eelboon"),
        ("good night", "thgiin doog"),  # good: god, dog, doog
        ("old apple", "aaplee oold"),  # vowels come first: not turned
        ("open door", "rood oopeen"),
        ("tall eel", "eel laat"),
        ("rhythm shh", "hs mhtyhr"),  # y is no vowel
    ],
)
def test_mirrorish_by_hand(phrase, translation):
    assert mirrorish(phrase) == translation


def by_string_operations(phrase):
    """The rules once more, without places."""
    words = [re.sub(r"(.)\1+", r"\1", word) for word in phrase.split()[::-1]]
    words = [word if word[0] in VOWELS else word[::-1] for word in words]
    return re.sub("([aeiou])", r"\1\1", " ".join(words))


@pytest.fixture(scope="module", params=["shakespeare", "practice"])
def words(request):
    if request.param == "practice":
        return words_of(practice_text())
    return words_of(request.getfixturevalue("tiny_shakespeare"))


def test_the_rules_are_the_same_as_string_operations(words, generator):
    for phrase in draw_phrases(words.train, 2000, generator):
        assert mirrorish(phrase) == by_string_operations(phrase)
        places = true_places(phrase)
        assert "".join(phrase[p] for p in places) == mirrorish(phrase)


def test_every_character_but_a_doubled_one_has_a_place(words, generator):
    for phrase in draw_phrases(words.train, 500, generator):
        missing = set(range(len(phrase))) - set(true_places(phrase))
        assert all(phrase[p] == phrase[p - 1] for p in missing)
        times = Counter(true_places(phrase))
        assert all(n == 1 + (phrase[p] in VOWELS) for p, n in times.items())


def test_without_rules_it_is_a_copy_and_every_rule_is_needed(words, generator):
    phrases = draw_phrases(words.val, 500, generator)
    assert all(mirrorish(phrase, ()) == phrase for phrase in phrases)
    for rule in RULES:
        fewer = set(RULES) - {rule}
        right = sum(mirrorish(phrase, fewer) == mirrorish(phrase) for phrase in phrases)
        assert right < 0.85 * len(phrases)


@pytest.mark.parametrize("phrase", ["", "king", "a b c", "Noble king", "noble  king", "o king!"])
def test_what_is_no_phrase_is_refused(phrase):
    with pytest.raises(ValueError, match="is no phrase: give two words"):
        mirrorish(phrase)


def test_no_word_is_on_both_sides(words):
    assert isinstance(words, Words) and not set(words.train) & set(words.val)
    assert 0.09 < len(words.val) / len(words.train + words.val) < 0.11
    assert len(words.val) >= 150
    assert all(SHORTEST <= len(word) <= LONGEST for part in words for word in part)


def test_a_short_text_is_refused():
    with pytest.raises(ValueError, match="has 2 different words of 3 to 7 letters, and 100"):
        words_of("To be, or not to be: that, that.")


def test_all_words_are_equally_likely_on_both_sides(generator):
    drawn = [phrase.split() for phrase in draw_phrases(["one", "two", "six"], 6000, generator)]
    for side in (0, 1):
        counts = Counter(words[side] for words in drawn)
        assert all(abs(n - 2000) < 200 for n in counts.values()) and len(counts) == 3


def test_a_batch_shifts_the_translation_by_one():
    source, target_in, targets = teaching_batch(["old king", "to a"])
    read, say = ([TOKENIZER.decode(row) for row in rows] for rows in (target_in, targets))
    assert [TOKENIZER.decode(row) for row in source] == ["old king", "to a____"]
    assert read == ["<gniik oold", "<aa oot>___"] and say == ["gniik oold>", "aa oot>____"]
    assert torch.equal(target_in[:, 1:][targets[:, :-1] != PADDING_TOKEN][:10], targets[0, :10])


def test_the_longest_translation_fits_the_window():
    longest = " ".join(["aeioua" + "e"] * 2)
    assert len(mirrorish(longest)) + 1 <= 32 and padded([longest]).shape == (1, 15)
