"""The decks of `make slides`; whether all fits on its slide, a real browser tells (tests/browser)."""

import base64
import importlib.util
import re
import struct
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

TOOLS = Path(__file__).parent.parent / "tools"
NOTEBOOKS = sorted((TOOLS.parent / "notebooks").glob("*.ipynb"))
TITLE = "# 99 · A test\n\n**Does it work?**\n\n*5 minutes.*\n\nAfter this you can\n\n- plan."


@pytest.fixture
def load(monkeypatch):
    """Give a file of tools/ as a module; it may import those beside it."""
    monkeypatch.syspath_prepend(TOOLS)

    def module(name):
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return module


@pytest.fixture
def slides_of(load):
    """Plan a notebook of these cells, and give of each slide what is shown and what is noted."""
    planner = load("slide_plan")

    def plan(*cells):
        title = new_markdown_cell(TITLE, metadata={"slideshow": {"slide_type": "slide"}})
        return by_slide(planner.plan(new_notebook(cells=[title, *cells])))[2:]

    return plan


def by_slide(planned):
    slides = []
    for cell in planned.cells:
        kind = cell.metadata.slideshow.slide_type
        if kind in ("slide", "subslide"):
            slides.append(([], []))
        slides[-1][kind == "notes"].append(cell)
    return [(shown, "\n".join(cell.source for cell in notes)) for shown, notes in slides]


def text(source, kind="-"):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def code(source, *outputs, kind="-"):
    metadata = {"slideshow": {"slide_type": kind}}
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def printed(words):
    return new_output("stream", name="stdout", text=words)


def picture():
    size = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 800, 400) + b"\0" * 20
    data = {"image/png": base64.b64encode(size).decode(), "text/plain": "<Figure>"}
    return new_output("display_data", data, metadata={"image/png": {"alt": 'A "line" that falls.'}})


def shown_words(shown):
    return " ".join(cell.source for cell in shown)


def test_the_title_slide_has_number_title_and_question(load):
    planned = load("slide_plan").plan(new_notebook(cells=[new_markdown_cell(TITLE)]))
    (title, notes), (aims, _) = by_slide(planned)
    assert shown_words(title) == "# 99 · A test\n\n**Does it work?**" and "5 minutes" in notes
    assert shown_words(aims).endswith("After this you can\n\n- plan.")
    assert planned.metadata.title == "99 · A test"


def test_an_answer_goes_to_the_notes_of_its_question_even_if_its_cell_is_skipped(slides_of):
    answer = "<details><summary>Answer</summary>\n\nThe second.\n</details>"
    for kind in ("-", "skip"):
        question, result, *_ = slides_of(
            text("## Step 1\n\nA\n\n### Predict first\n\nWhich one?", "slide"),
            code("print(2)", printed("2")),
            text(f"{answer}\n\n## Step 2\n\nMore.", kind),
        )
        assert "Which one?" in shown_words(question[0]) and "hands up" in question[1]
        assert "The second." in question[1]
        assert "Which one?" not in shown_words(result[0]), "the result stands on the next slide"
        assert "details" not in shown_words(question[0]) + shown_words(result[0]) + question[1]


def test_saving_a_notebook_keeps_its_slides(load):
    cell = code("x = 1", kind="subslide")
    cell.metadata |= {"tags": ["nbval-ignore-output"], "collapsed": True, "editable": False}
    notebook = new_notebook(cells=[text("# T", "slide"), cell])
    load("notebooks").normalise(notebook)
    assert [cell.metadata for cell in notebook.cells] == [
        {"slideshow": {"slide_type": "slide"}},
        {"slideshow": {"slide_type": "subslide"}, "tags": ["nbval-ignore-output"]},
    ]


def test_an_answer_is_the_last_open_questions(slides_of):
    fold = "<details><summary>{}</summary>\n\n{}\n</details>"
    first, second = slides_of(
        text("### Predict first\n\nOuter?", "slide"),
        text("**Break it.** Predict: inner?", "slide"),
        text(fold.format("Answer", "To the inner."), "skip"),
        text(fold.format("Answer to the first prediction", "To the outer."), "skip"),
        text(fold.format("Answer to 5", "To an exercise."), "skip"),
    )
    assert "To the outer." in first[1] and "To the inner." not in first[1]
    assert "To the inner." in second[1]
    assert "exercise" not in first[1] + second[1]


def test_an_answer_beside_its_question_is_noted_there(slides_of):
    fold = "<details><summary>Answer</summary>\n\nTen.\n</details>"
    question, step = slides_of(
        text(f"### Predict first\n\nHow many?\n\n{fold}\n\n## Step 1\n\nCount.", "slide")
    )
    assert "Ten." in question[1] and "Ten." not in step[1]


def test_text_before_a_heading_is_for_the_notes_of_the_slide_before(slides_of):
    cells = [text("## One\n\nFirst.", "slide"), text("So far.\n\n## Two\n\nSecond.", "slide")]
    (one, notes), (two, _) = slides_of(*cells)
    assert shown_words(one) == "## One\n\nFirst." and notes == "So far."
    assert shown_words(two) == "## Two\n\nSecond."
    cells[1].metadata.slideshow.slide_type = "-"
    (one, notes), _ = slides_of(*cells)
    assert "So far." in shown_words(one) and notes == ""


def test_a_slide_keeps_the_first_sentences_and_what_is_set_apart(slides_of):
    long = "A sentence of just six words. " * 20
    ((shown, notes),) = slides_of(
        text(f"## S\n\n{long}\n\n- a list\n- is kept\n\nMore of it.", "slide")
    )
    words = shown_words(shown)
    assert words.count("six words.") < 13 and words.endswith("- a list\n- is kept")
    assert words.count("six words.") + notes.count("six words.") == 20 and "More of it." in notes


def test_code_is_shown_without_imports_and_pictures_without_code(slides_of):
    ((shown, _),) = slides_of(
        text("## S", "slide"),
        code("import torch\nfrom a import (\n    b,\n)\n\nx = 1\nprint(x)", printed("1")),
        code("plot()", picture()),
    )
    assert [cell.source for cell in shown] == ["## S", "x = 1\nprint(x)", "", ""]
    assert "image/png" in shown[-1].outputs[0].data


def test_what_is_too_much_goes_on_under_the_same_title(slides_of):
    slides = slides_of(text("## Step 4: long", "slide"), *(code("x = 1\n" * 15) for _ in range(3)))
    assert len(slides) == 3
    assert [shown[0].source for shown, _ in slides[1:]] == ["Step 4: long"] * 2
    assert all(shown[0].metadata.looks == "running" for shown, _ in slides[1:])


def test_choices_are_a_list_and_their_reasons_are_noted(slides_of):
    fold = "<details><summary>{}</summary><div>{}</div></details>"
    html = "<div>" + fold.format("a: one", "No.") + fold.format("b: two", "Right.") + "</div>"
    output = new_output("execute_result", {"text/html": html, "text/plain": "<HTML>"})
    ((shown, notes),) = slides_of(text("## Exercises", "slide"), code('ask("q")', output))
    assert shown[-1].source == "- **a** one\n- **b** two"
    assert "**b** Right." in notes


def test_what_cannot_be_a_slide_is_named(slides_of):
    view = "<div><details><summary>layer 1, head 1</summary><div></div></details></div>"
    folds = code("view()", new_output("execute_result", {"text/html": view}))
    for cell, message in (
        (folds, "'layer 1, head 1'. Let its cell be skip"),
        (code("x = 1", kind="notes"), "'x = 1'. Let it be skip"),
        (text("x", "slides"), "'slides' is unknown; it must be one of slide, "),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            slides_of(text("## S", "slide"), cell)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_deck_is_a_lecture_and_loses_no_text(path, load):
    notebook = nbformat.read(path, as_version=4)
    planned = load("slide_plan").plan(notebook)
    slides = by_slide(planned)
    assert 12 <= len(slides) <= 25
    everything = "\n".join(cell.source for cell in planned.cells)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.metadata.slideshow.slide_type != "skip":
            told = re.sub(r"</?details>|<summary>.*?</summary>", "\n\n", cell.source)
            for paragraph in filter(None, map(str.strip, told.split("\n\n"))):
                assert paragraph[:40] in everything and paragraph[-40:] in everything
    told_away = [words for shown, words in slides if "### Predict first" in shown_words(shown)]
    assert told_away and all("hands up" in words for words in told_away)


def test_a_deck_is_one_file_that_asks_nobody(load, tmp_path, monkeypatch, capsys):
    tool = load("slides")
    formula = text(r"## S" + "\n\n" + r"$$\frac{x}{\ln 2}$$" + "\n\nand $x^2$.", "slide")
    cells = [text(TITLE, "slide"), formula, code("plot()", picture())]
    nbformat.write(new_notebook(cells=cells), tmp_path / "99_test.ipynb")
    monkeypatch.setattr(tool, "DECKS", tmp_path / "decks")
    monkeypatch.setattr(sys, "argv", ["slides.py", str(tmp_path / "99_test.ipynb")])
    assert tool.main() == 0 and "99_test.html" in capsys.readouterr().out
    html = (tmp_path / "decks" / "99_test.html").read_text(encoding="utf-8")
    page = BeautifulSoup(html, "html.parser")
    assert page.title.text == "99 · A test"
    assert len(page.find_all("math")) == 2 and "$" not in page.main.text
    assert "Course Math" in html
    assert page.img["alt"] == 'A "line" that falls.' and page.img["src"].startswith("data:")
    assert not page.find_all("link") and not page.find_all("script", src=True)
    assert not re.search(r"""@import|url\(["']?http""", html)


def test_a_notebook_that_gives_no_slides_is_named(load, tmp_path, monkeypatch, capsys):
    tool = load("slides")
    cells = [text(TITLE, "slide"), text("x", "sub-slide")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "99_test.ipynb")
    monkeypatch.setattr(tool, "DECKS", tmp_path / "decks")
    for name, reason in (
        ("99_test.ipynb", "'sub-slide' is unknown"),
        ("none.ipynb", "No such file"),
    ):
        monkeypatch.setattr(sys, "argv", ["slides.py", str(tmp_path / name)])
        assert tool.main() == 1
        error = capsys.readouterr().err
        assert name in error and reason in error
