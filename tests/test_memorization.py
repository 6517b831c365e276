"""Copied passages against searching for every piece, and against difflib."""

from difflib import SequenceMatcher

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_course.memorization import Passage, copied_lengths, longest_passages

texts = st.text("ab\n", max_size=30)


@settings(deadline=None)
@given(texts, texts)
def test_lengths_are_those_of_trying_every_piece(text, source):
    by_trying = [
        max(n for n in range(len(text) - start + 1) if text[start : start + n] in source)
        for start in range(len(text))
    ]
    assert copied_lengths(text, source) == by_trying


@settings(deadline=None)
@given(texts, texts)
def test_the_longest_is_the_longest_common_substring(text, source):
    match = SequenceMatcher(None, text, source, autojunk=False).find_longest_match()
    passages = longest_passages(text, source)
    assert (len(passages[0].text) if passages else 0) == match.size
    for passage in passages:
        for whole, start in ((text, passage.start), (source, passage.source_start)):
            assert whole[start : start + len(passage.text)] == passage.text
    places = [place for p in passages for place in range(p.start, p.start + len(p.text))]
    assert len(places) == len(set(places)) and len(passages) <= 3
    assert [len(p.text) for p in passages] == sorted((len(p.text) for p in passages), reverse=True)


def test_passages_are_found_with_their_places():
    source = "to be or not to be, that is the question"
    found = longest_passages("he said: not to be! is the end?", source, n=2)
    assert found == [Passage(" not to be", 8, 8), Passage(" is the ", 19, 24)]


def test_nothing_is_copied_from_nothing():
    assert copied_lengths("abc", "") == [0, 0, 0] and copied_lengths("", "abc") == []
    assert longest_passages("abc", "xyz") == []
