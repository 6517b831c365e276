"""Speeches, scenes that stay together, names that are hidden, and the counting that is to be beaten."""

from collections import Counter

import pytest
import torch

from llm_course.data import load_corpus
from llm_course.ngram_classifier import NgramClassifier
from llm_course.practice_corpus import practice_text
from llm_course.speakers import (
    HIDDEN,
    Speech,
    find_names,
    hide_names,
    most_talkative,
    read_speeches,
    speaker_task,
    split_by_scene,
)

PLAY = """SCENE. A garden.

Enter Ann and Bob.

ANN:
Good day, Bob.
How: is it?

BOB:
Good day, Ann, in Rome. A good nurse, Ann!

Nurse:
Rome's far. And and Nurses?
"""


def test_a_play_is_read_as_speeches_and_what_is_no_speech_is_left_out():
    speeches = read_speeches(PLAY)
    assert [speech.speaker for speech in speeches] == ["ANN", "BOB", "Nurse"]
    assert speeches[0].text == "Good day, Bob.\nHow: is it?"
    assert speeches[2].text == "Rome's far. And and Nurses?"


def play(*names):
    return "\n\n".join(f"{name}:\nWords." for name in names)


def test_a_scene_ends_where_nobody_goes_on():
    scenes = [speech.scene for speech in read_speeches(play(*"ABABAB", *"CDCD", *"EDE", *"ABA"))]
    assert scenes == [0] * 6 + [1] * 7 + [2] * 3
    assert [s.scene for s in read_speeches(play(*"ABCDEFGHIJKLA"))] == list(range(13))
    assert [s.scene for s in read_speeches(play(*"ABCDEA"))] == [0] * 6  # within reach


def test_names_are_hidden_and_nothing_else():
    names = find_names(PLAY, read_speeches(PLAY))
    assert {"ann", "bob", "rome", "nurse"} <= names and not {"good", "and", "day"} & names
    hidden = hide_names("Good Ann, ROMEO and Bob's nurse in Rome; O Nurse, Annie!", names)
    assert hidden == "Good $, ROMEO and $'s nurse in $; O $, Annie!"


def test_the_most_talkative_come_first():
    speeches = [
        Speech("A", "xx", 0),
        Speech("B", "xxxxx", 0),
        Speech("A", "xx", 0),
        Speech("C", "x", 0),
    ]
    assert most_talkative(speeches, 2) == ["B", "A"]
    with pytest.raises(ValueError, match="4 speakers are wanted, and 3 speak"):
        most_talkative(speeches, 4)


@pytest.mark.parametrize("fold", range(5))
def test_no_scene_is_on_both_sides_and_every_speech_is_judged_once(fold):
    speeches = [Speech("A", str(i), scene=i // 3) for i in range(60)]
    train, test = split_by_scene(speeches, fold)
    assert not {s.scene for s in train} & {s.scene for s in test}
    assert sorted(train + test) == sorted(speeches) and len(test) == 12
    everything = [s for f in range(5) for s in split_by_scene(speeches, f)[1]]
    assert Counter(everything) == Counter(speeches)
    with pytest.raises(ValueError, match="fold must lie from 0 to 4, and is 5"):
        split_by_scene(speeches, 5)


@pytest.mark.parametrize(
    "text", [practice_text, lambda: load_corpus().text], ids=["practice", "at hand"]
)
def test_the_task_gives_no_name_away(text):
    text = text()
    speakers, speeches = speaker_task(text, n_speakers=6, shortest=64)
    assert {speech.speaker for speech in speeches} == set(speakers) and len(speakers) == 6
    assert min(len(speech.text) for speech in speeches) >= 64
    for speech in speeches:
        for speaker in speakers:
            for word in speaker.split():
                assert word.capitalize() not in speech.text.replace("'", " ").split()
    assert any(HIDDEN in speech.text for speech in speeches)
    n_scenes = len({speech.scene for speech in speeches})
    assert n_scenes > 40


def test_counting_is_naive_bayes_by_its_formula():
    texts, labels = ["abab", "abb", "ccb"], torch.tensor([0, 0, 1])
    counting = NgramClassifier(texts, labels, n_classes=2, orders=(1, 2), smoothing=0.5)
    runs = {text: [*text, *(text[i : i + 2] for i in range(len(text) - 1))] for text in texts}
    known = {run for of_text in runs.values() for run in of_text}
    seen = [Counter(runs["abab"] + runs["abb"]), Counter(runs["ccb"])]
    scores = []
    for k, prior in ((0, 2 / 3), (1, 1 / 3)):
        score = torch.tensor(prior).log()
        for run in ["a", "c", "b", "ac", "cb"]:  # of "acb"; "ac" was never seen
            if run in known:
                score += torch.tensor(
                    (seen[k][run] + 0.5) / (seen[k].total() + 0.5 * len(known))
                ).log()
        scores.append(score)
    torch.testing.assert_close(counting.scores(["acb"])[0], torch.stack(scores))
    assert counting.scores(["abab", "ccc"]).argmax(dim=1).tolist() == [0, 1]
    torch.testing.assert_close(counting.scores(["xyz"])[0].exp(), torch.tensor([2 / 3, 1 / 3]))


def test_counting_says_what_it_cannot_count():
    with pytest.raises(ValueError, match="1 texts with 2 labels"):
        NgramClassifier(["a"], torch.tensor([0, 1]), 2, (1,), 0.1)
    with pytest.raises(ValueError, match="smoothing and orders must be above 0"):
        NgramClassifier(["a"], torch.tensor([0]), 2, (1,), 0.0)
