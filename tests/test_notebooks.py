"""The rules that every saved notebook keeps; executing them again is `python tools/notebooks.py test`."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
IGNORED = "nbval-ignore-output"
TAGS = {IGNORED, "readme-picture"}

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def is_exercise(cell):
    return re.search(r"^(check|ask|show_progress)\(", cell.source, re.MULTILINE) is not None


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def prose(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def test_it_was_executed_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output.output_type != "error" for output in outputs(path))


def test_it_was_saved_on_tiny_shakespeare(path):
    assert any("Tiny Shakespeare: 1," in output.get("text", "") for output in outputs(path))


def test_nothing_of_this_machine_is_saved(path):
    notebook = read(path)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert all(set(cell.metadata) <= {"slideshow", "tags"} for cell in notebook.cells)
    assert all(output.get("name") != "stderr" for output in outputs(path))
    assert not any("\r" in output.get("text", "") for output in outputs(path))
    assert not re.search("/(root|home|work|tmp|Users)/", path.read_text(encoding="utf-8"))


def test_it_is_small(path):
    words = len(re.sub(r"<[^>]+>|\$[^$]+\$", " ", prose(path)).split())
    sizes = [
        len([line for line in cell.source.splitlines() if line.strip()])
        for cell in code_cells(path)
    ]
    n_exercises = sum(is_exercise(cell) for cell in code_cells(path))
    assert path.stat().st_size < 500_000
    assert len(sizes) - n_exercises <= 40  # an empty function is nothing to read
    assert n_exercises <= 6
    assert words <= 2500
    assert statistics.median(sizes) <= 6 and max(sizes) <= 20


def test_pictures_are_png_and_described(path):
    pictures = [output for output in outputs(path) if "data" in output]
    assert not any("image/svg+xml" in output.data for output in pictures)
    for output in pictures:
        if "image/png" in output.data:
            assert len(output.metadata.get("image/png", {}).get("alt", "")) > 40
    assert not re.search(r"!\[\]\(", prose(path)), "a picture in the text without a description"


def test_every_ignored_output_is_followed_by_a_check(path):
    cells = code_cells(path)
    ignored = [i for i, cell in enumerate(cells) if IGNORED in cell.metadata.get("tags", [])]
    assert len(ignored) <= 0.3 * len(cells)
    for i in ignored:
        assert i + 1 not in ignored and "assert" in cells[i + 1].source, cells[i].source
    assert {tag for cell in cells for tag in cell.metadata.get("tags", [])} <= TAGS


def test_formulas_are_not_broken_by_doubled_backslashes(path):
    assert not re.search(r"\\\\[a-z]", prose(path))


def test_a_dollar_sign_in_the_text_begins_no_formula(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL)
            formulas = re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", text, re.DOTALL)
            assert text.count("$") == sum(formula.count("$") for formula in formulas)
            assert not any(re.search(r"\*\*|^\$ | \$$", formula) for formula in formulas), formulas


def test_every_cell_has_its_place_in_the_slides(path):
    cells = read(path).cells
    assert all(set(cell.metadata.get("slideshow", {})) == {"slide_type"} for cell in cells)
    places = [cell.metadata.slideshow.slide_type for cell in cells]
    assert set(places) <= {"slide", "subslide", "fragment", "-", "skip", "notes"}
    assert places[0] == places[-1] == "slide", "the title, and the five lines"


def test_it_has_the_rhythm(path):
    text = prose(path)
    assert re.match(rf"# {path.stem[:2]} · ", text)
    for part in (
        "you can",
        "### Predict first",
        "Break it",
        "## In five lines",
        "**Next question:**",
    ):
        assert part in text, part
    assert text.count("<details>") == text.count("</details>") >= 2
    five_lines = text.split("## In five lines")[1].split("**Next question:**")[0]
    assert five_lines.count("\n- ") == 5
