"""One version, in one place; and notebooks that say so where they and the package do not fit."""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest

import llm_course
from llm_course import made_for

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MINOR = llm_course.__version__.rpartition(".")[0]


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"] == {
        "version": {"attr": "llm_course.__version__"}
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+", llm_course.__version__)


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert versions[0] == llm_course.__version__
    assert versions == sorted(versions, key=lambda v: [*map(int, v.split("."))], reverse=True)


def test_every_notebook_names_this_version_before_it_does_anything_else():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code").source
        imports, _, rest = first.partition("\nmade_for(")
        assert rest.startswith(f'"{MINOR}")'), f"{path.name}: made_for({rest[:6]}"
        assert "from llm_course import made_for" in imports and "=" not in imports, path.name


def test_it_is_silent_where_both_fit(capsys):
    assert made_for(MINOR) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("other", "remedy"),
    [
        ("0.1", "rename your copy and run `make lab`"),
        ("0.20", "`git pull`"),
        ("1.0", "`git pull`"),
    ],
)
def test_otherwise_it_says_which_is_older_and_what_to_do_and_goes_on(
    other, remedy, capsys, monkeypatch
):
    monkeypatch.setattr(llm_course, "__version__", "0.3.1")
    made_for(other)
    said = capsys.readouterr().out
    assert f"written for version {other} of" in said and "has version 0.3.1:" in said
    assert remedy in said and "`python tools/lab.py`" in said
