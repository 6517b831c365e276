"""The documents beside the notebooks: links lead somewhere, terms and exercises are where they say."""

import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from markdown_it import MarkdownIt

from llm_course.exercises import EXERCISES

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", ROOT / "CHANGELOG.md"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GUIDE = ROOT / "docs" / "teachers_guide.md"


def prose(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def anchors(text):
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path):
    tokens = MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8"))
    for child in (child for token in tokens for child in token.children or []):
        for name in ("href", "src"):
            if target := child.attrs.get(name):
                yield unquote(target)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path):
    for target in links(path):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists() and there.is_relative_to(ROOT), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_it_is_good_markdown(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") and len(re.findall(r"^# ", text, re.M)) == 1
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
    assert text.count("\n```") % 2 == 0
    for block in re.findall(r"</summary>\n(.)", text):
        assert block == "\n", "a fold whose Markdown no renderer reads: leave a line empty"


def test_every_page_is_linked_from_the_readme_or_another_page():
    linked = {
        (path.parent / target.split("#")[0]).resolve() for path in PAGES for target in links(path)
    }
    assert set(DOCS) <= linked


def entries():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    pattern = r"^- \*\*(.+?)\*\*: (.+) \(\[(\d\d)\]\(\.\./notebooks/(.+?)\.ipynb\)\)$"
    found = re.findall(pattern, text, re.M)
    assert len(found) == len(re.findall(r"^- ", text, re.M)) > 100
    return found


def test_each_term_stands_in_the_notebook_that_is_named():
    texts = {path.stem: prose(path) for path in NOTEBOOKS}
    for term, _, number, stem in entries():
        assert stem.startswith(number), term
        assert term.lower() in texts[stem].lower(), f"{term} is not in {stem}"


def test_terms_are_in_the_order_of_the_alphabet_and_explained_shortly():
    terms = [re.sub("[^a-z0-9 ]", "", term.lower()) for term, *_ in entries()]
    assert terms == sorted(terms) and len(entries()) == len({term for term, *_ in entries()})
    for term, text, *_ in entries():
        assert len(re.findall(r"[.!?](?: |$)", text)) <= 4, term


def sections():
    parts = re.split(r"^### (?=\d\d · )", GUIDE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {part[:2]: re.split(r"^## ", part, flags=re.M)[0] for part in parts}


def test_the_guide_has_a_section_for_each_notebook_that_is_no_wall():
    assert list(sections()) == [path.stem[:2] for path in NOTEBOOKS]
    for number, section in sections().items():
        assert len(section.strip().splitlines()) <= 40, number
        assert 2 <= section.count("<details>") <= 4, number
        for part in (
            "**Aim.**",
            "**Minutes.**",
            "**What goes wrong.**",
            "**To discuss.**",
            "**Set.**",
        ):
            assert part in section, f"{number}: {part}"


def test_the_guide_has_the_minutes_of_the_readme_and_of_the_exercises():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    to_read = dict(re.findall(r"^\| \[(\d\d) .+?\| (\d+) min \|", readme, re.M))
    for path in NOTEBOOKS:
        number = path.stem[:2]
        exercises = sum(
            map(int, re.findall(r"^\*\*\d+\*\* \*\((\d+) minutes?\)\*", prose(path), re.M))
        )
        wanted = f"**Minutes.** {to_read[number]} to read, {exercises} for the exercises"
        assert wanted in sections()[number], f"{number}: {wanted}"


def test_the_guide_names_each_exercise_where_it_is():
    for number, section in sections().items():
        named = set(re.findall(r"`([a-z]+(?:_[a-z_]+)?)`", section.split("**Set.**")[1]))
        there = {name for name, e in EXERCISES.items() if e.notebook.startswith(number)}
        assert named and named <= there, f"{number}: {named - there}"
