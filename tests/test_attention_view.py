import re
from html.parser import HTMLParser

import pytest
import torch

from llm_course.attention_view import attention_view


def view(n_layer=2, n_head=3, text="ab<\n"):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(n_layer, n_head, len(text), len(text), generator=generator).tril()
    maps = scores / scores.sum(-1, keepdim=True)
    return maps, attention_view(maps, text).data


def test_it_is_html_that_every_jupyter_lets_through():
    _, html = view()
    tags = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.add(tag)
            assert {name for name, _ in attributes} <= {"open", "style", "title"}

    Reader().feed(html)
    assert tags == {"div", "details", "summary", "code", "span"}
    assert html.count("<details") == html.count("</details>") == 2 * 3 * (1 + 4)


def test_every_character_tells_what_it_looks_at():
    maps, html = view()
    line = re.findall(r"&lt; \(place 2\) looks at: ([^<]*)</div>", html)[4]  # layer 2, head 2
    weights = sorted(maps[1, 1, 2, :3].tolist(), reverse=True)
    assert [float(number) for number in re.findall(r"[\d.]+", line)] == [
        round(w, 2) for w in weights
    ]


def test_nothing_after_a_character_is_shown_on_its_line():
    _, html = view(text="abcd")
    first = re.search(r"<code>(.*?)</code>", html)[1]
    assert re.sub(r"<[^>]+>", "", first) == "a"


def luminance(colour):
    """As WCAG 2 defines it, of red, green and blue from 0 to 255."""
    parts = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_every_letter_can_be_read_on_its_colour():
    maps = torch.linspace(0.03, 1, 98).view(98, 1, 1, 1)
    html = attention_view(maps, "a").data
    spans = re.findall(r"rgb\((\d+),(\d+),(\d+)\);color:(white|black)", html)
    assert len(spans) == 98
    for *paper, letters in spans:
        lights = luminance(map(int, paper)), luminance([255 * (letters == "white")] * 3)
        assert (max(lights) + 0.05) / (min(lights) + 0.05) >= 4.5, (paper, letters)


def test_the_output_is_the_same_each_time_and_small():
    assert view()[1] == view()[1]
    assert len(view(3, 4, "abcdefghijklmnopqrstuvwx")[1]) < 450_000


def test_texts_that_do_not_fit_are_named():
    maps, _ = view()
    with pytest.raises(ValueError, match="maps of 4 characters do not fit a text of 2"):
        attention_view(maps, "ab")
    with pytest.raises(ValueError, match="25 characters are too many to show: 24 at most"):
        view(text="a" * 25)
