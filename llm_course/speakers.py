"""Who is speaking? A play as speeches, scenes that are kept together, and names that are hidden."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

SCENE_REACH = 6  # speeches to either side of a border
HIDDEN = "$"  # stands for a name; the plays have hardly any other use for it


class Speech(NamedTuple):
    """What somebody says, without the line that names the speaker, and the number of its scene."""

    speaker: str
    text: str
    scene: int


def read_speeches(text: str) -> list[Speech]:
    """Return the speeches of a play in which "NAME:" and a line end stand before each.

    Scenes are not marked in Tiny Shakespeare. Here a new one begins where nobody who had one of the last
    `SCENE_REACH` speeches has one of the next. So two scenes may be taken for one, where somebody
    stays, which does no harm: neighbours stay together.
    """
    found = [re.fullmatch(r"([A-Z][^\n:]*):\n(.+)", part, re.DOTALL) for part in text.split("\n\n")]
    labelled = [match.groups() for match in found if match]
    names = [name for name, _ in labelled]
    speeches, scene = [], 0
    for i, (name, words) in enumerate(labelled):
        before, after = names[max(0, i - SCENE_REACH) : i], names[i : i + SCENE_REACH]
        if i and not set(before) & set(after):
            scene += 1
        speeches.append(Speech(name, words.strip("\n"), scene))
    return speeches


def most_talkative(speeches: Sequence[Speech], n: int) -> list[str]:
    """Return the n speakers with the most characters in their speeches, the first with the most."""
    characters: Counter[str] = Counter()
    for speech in speeches:
        characters[speech.speaker] += len(speech.text)
    if len(characters) < n:
        raise ValueError(f"{n} speakers are wanted, and {len(characters)} speak in this text")
    return [name for name, _ in characters.most_common(n)]


def find_names(text: str, speeches: Sequence[Speech]) -> set[str]:
    """Return the words that count as names, in lower case.

    They are the words of the speakers' own names, and all words that have a capital wherever they stand.
    """
    never_small = set(re.findall(r"[A-Z]?[a-z]+", text))
    small = {word for word in never_small if word.islower()}
    names = {word.lower() for word in never_small if not word.islower()} - small
    for speaker in {speech.speaker for speech in speeches}:
        names |= {word.lower() for word in re.findall(r"[A-Za-z]{2,}", speaker)}
    return names


def hide_names(text: str, names: set[str]) -> str:
    """Return a text with `HIDDEN` in place of every word with a capital that is one of these names."""

    def hidden(match: re.Match[str]) -> str:
        word = match[0]
        return HIDDEN if word[0].isupper() and word.lower() in names else word

    return re.sub(r"[A-Za-z]+", hidden, text)


def split_by_scene(
    speeches: Sequence[Speech], fold: int, n_folds: int = 5
) -> tuple[list[Speech], list[Speech]]:
    """Return the speeches to learn from, and those to be judged on: every fifth scene.

    Scenes stay whole. With `fold` from 0 to 4, every speech is judged on once.
    """
    if not 0 <= fold < n_folds:
        raise ValueError(f"fold must lie from 0 to {n_folds - 1}, and is {fold}")
    train = [speech for speech in speeches if speech.scene % n_folds != fold]
    test = [speech for speech in speeches if speech.scene % n_folds == fold]
    return train, test


def speaker_task(text: str, n_speakers: int, shortest: int) -> tuple[list[str], list[Speech]]:
    """Return the most talkative speakers of a text, and their speeches, names hidden.

    Speeches of fewer than `shortest` characters are left out: there is too little in them to tell from.
    """
    speeches = read_speeches(text)
    speakers = most_talkative(speeches, n_speakers)
    names = find_names(text, speeches)
    chosen = [
        speech._replace(text=hide_names(speech.text, names))
        for speech in speeches
        if speech.speaker in speakers
    ]
    return speakers, [speech for speech in chosen if len(speech.text) >= shortest]
