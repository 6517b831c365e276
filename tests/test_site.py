"""The site: all of the course on pages that need no server, with links that hold; and what it refuses."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from fontTools.ttLib import TTFont
from IPython.core.inputtransformer2 import TransformerManager

from llm_course.scoreboard import beyond_part_one, load_recorded

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ADDRESS = "https://github.com/somebody/some-course"  # made up


def load():
    """tools/site.py under another name than Python's own module `site`."""
    sys.path.insert(0, str(TOOLS))  # the tools import each other
    try:
        spec = importlib.util.spec_from_file_location("tools_site", TOOLS / "site.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["tools_site"] = module  # dataclasses look it up
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(TOOLS))


tool = load()


class Seen(HTMLParser):
    """What a test asks of a page: its tags, and its text outside of code and formulas."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._inside = [], "", 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside += tag in {"pre", "code", "math"}

    def handle_endtag(self, tag):
        self._inside -= tag in {"pre", "code", "math"}

    def handle_data(self, data):
        self.text += "" if self._inside else data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site of the course itself, without an address."""
    target = tmp_path_factory.mktemp("site") / "_site"
    tool.build(target, tool.read_course(ROOT, None))
    return target


@pytest.fixture(scope="session")
def seen(site):
    return {path.stem: Seen(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A course of three notebooks and a document, to be changed; formulas without their font."""
    monkeypatch.setattr(tool, "math_font", lambda signs: "")
    root = tmp_path / "course"
    for folder in ("notebooks", "docs", "images", "results"):
        (root / folder).mkdir(parents=True)
    (root / "results" / "a.json").write_text("{}")
    (root / "images" / "a.png").write_bytes(b"")
    table = ""
    for name in ("00_one", "01_two", "02_three"):
        cells = [nbformat.v4.new_markdown_cell(f"# {name[:2]} · A notebook\n\nText.")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")
        table += f"| [{name[:2]} {name[3:]}](notebooks/{name}.ipynb) | why? | 1 min | 2 s |\n"
    (root / "README.md").write_text(
        "# A course\n\nLead.\n\n![A picture of it.](images/a.png)\n\n## The notebooks\n\n"
        f"| notebook | question | read | run |\n|---|---|--:|--:|\n{table}\n"
        "Part I is 00 to 00, Part II 01 to 01, Part III 02 to 02.\n\n## How fast\n\nVery.\n",
        encoding="utf-8",
    )
    (root / "docs" / "glossary.md").write_text(
        "# Glossary\n\n[fast](../README.md#how-fast), [one](../notebooks/00_one.ipynb), "
        "[measured](../results/a.json)\n",
        encoding="utf-8",
    )
    return root


def make(root, repository=None):
    """Build the small course's site."""
    tool.build(root / "_site", tool.read_course(root, repository))
    return root / "_site"


def writing(resolve=lambda link: link):
    return tool.Writing(
        "a.md", resolve, {"03": "03_x.html", "04": "04_y.html", "03_x": "03_x.html"}
    )


# The course's own site


def test_everything_has_a_page(seen):
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    own = {"index", "readme", "search"}
    assert set(seen) == {path.stem for path in NOTEBOOKS} | documents | own
    for path in NOTEBOOKS:
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in seen[path.stem].text
        assert {"href": f"notebooks/{path.name}", "download": None} in seen[path.stem].all("a")


def test_one_leads_to_the_next(seen):
    names = [path.stem for path in NOTEBOOKS]
    for before, after in pairwise(names):
        assert {"rel": "next", "href": f"{after}.html"} in seen[before].all("a")
        assert {"rel": "prev", "href": f"{before}.html"} in seen[after].all("a")


def test_the_front_page_has_the_ladder_and_the_scoreboard(seen):
    text = seen["index"].text
    links = {link["href"] for link in seen["index"].all("a")}
    assert links >= {f"{path.stem}.html" for path in NOTEBOOKS}
    for row in [*load_recorded()[0].rows, *beyond_part_one()]:
        assert row.model in text and f"{row.loss:.3f}" in text and f"{row.parameters:,}" in text
    (picture,) = seen["index"].all("img")
    assert picture["src"] == "images/06_decoder_transformer.png" and len(picture["alt"]) > 40
    assert "100 min" in text and "Part III" in text


def test_headings_are_in_order(seen):
    for name, page in seen.items():
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1, name
        assert all(after <= before + 1 for before, after in pairwise(levels)), name


def test_pictures_are_there_and_described(seen, site):
    for path in NOTEBOOKS:
        outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])]
        n_pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        pictures = seen[path.stem].all("img")
        assert len(pictures) == n_pictures
        for picture in pictures:
            assert len(picture["alt"]) > 40 and int(picture["width"]) > 100
            assert (site / picture["src"]).read_bytes().startswith(b"\x89PNG")


def test_formulas_are_drawn_and_none_is_left_as_it_was_typed(seen):
    n_displayed = 0
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        typed = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        drawn = [m for m in seen[path.stem].all("math") if m.get("display") == "block"]
        assert len(drawn) == len(re.findall(r"\$\$.+?\$\$", typed, re.S)), path.stem
        n_displayed += len(drawn)
        assert not re.search(r"\$\$|\\[a-z]{2,}", seen[path.stem].text), path.stem
    assert n_displayed >= 15


def test_the_font_has_every_sign_of_the_formulas(site):
    style = (site / "style.css").read_text(encoding="utf-8")
    font = TTFont(BytesIO(b64decode(re.search('base64,([^"]+)', style)[1])))
    signs = {"√", "ℎ", "𝑥", "𝛼"}  # drawn, though not written
    for path in site.glob("*.html"):
        for formula in re.findall("<math.*?</math>", path.read_text(encoding="utf-8"), re.S):
            signs |= {*re.sub(r"<[^>]+>|[\s\u2061]", "", unescape(formula))}
    assert len(signs) > 60
    assert signs - {*map(chr, font.getBestCmap())} == set()
    assert "MATH" in font and len(style) < 100_000


def test_a_page_is_small_and_asks_no_other_machine(site, seen):
    for name, page in seen.items():
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        loaded = [a["src"] for a in page.all("img") + page.all("script")]
        loaded += [a["href"] for a in page.all("link") if a["rel"] == "stylesheet"]
        assert len(html) + sum((site / file).stat().st_size for file in loaded) < 1_500_000, name
        (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
        assert policy.startswith("default-src 'none'") and "http" not in policy
        assert "unsafe" not in policy.replace("style-src-attr 'unsafe-inline'", "")
        assert all("src" in script for script in page.all("script")), name
        assert not [k for _, a in page.tags for k in a if k.startswith("on")], name
    for file in ("style.css", "site.js", "search.js"):
        assert not re.search('https?:|url\\((?!"data:)|fetch\\(|import', (site / file).read_text())


def test_the_search_knows_the_sections(site):
    script = (site / "search_index.js").read_text(encoding="utf-8")
    sections = json.loads(script.removeprefix("const SECTIONS = ").removesuffix(";\n"))
    found = {(s["page"], s["at"]) for s in sections if "scaled_dot_product_attention" in s["text"]}
    assert ("04_multi_head_attention.html", "step-4-the-class") in found
    assert {s["page"] for s in sections} >= {f"{path.stem}.html" for path in NOTEBOOKS}


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    (tmp_path / "a.html").write_text(
        '<p id="here"></p><p id="twice"></p><p id="twice"></p>'
        '<a href="b.html#here">right</a><a href="#here">right</a><a href="mailto:x@y">right</a>'
        '<a href="b.html#there">wrong</a><a href="c.html">wrong</a><a href="../etc">wrong</a>'
        '<img src="https://example.org/x.png"><form action="d.html"></form>'
    )
    assert tool.problems(tmp_path) == [
        "a.html: the place #twice is there twice",
        "a.html: it loads https://example.org/x.png from another machine",
        "a.html: the link b.html#there leads to no place on that page",
        "a.html: the link c.html leads to no file",
        "a.html: the link ../etc leads to no file",
        "a.html: the link d.html leads to no file",
    ]


@pytest.mark.slow
def test_two_builds_are_the_same(site, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "12", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, TOOLS / "site.py", "--to", tmp_path / "again"]
    subprocess.run(command, check=True, env=environment, capture_output=True)

    def bytes_of(folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder): path.read_bytes() for path in files}

    first, second = bytes_of(site), bytes_of(tmp_path / "again")
    assert len(first) > 100 and first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# What is made of text


def test_levels_of_headings_skip_none_and_places_are_their_own():
    page = writing()
    html = tool.to_html("# T\n\n### Predict\n\n## A\n\n### Predict\n\n# Part\n\n## B\n", page)
    found = re.findall(r'<(h\d) id="([^"]+)">', html)
    assert found == [
        *[("h1", "t"), ("h2", "predict"), ("h2", "a"), ("h3", "predict-1")],
        *[("h2", "part"), ("h3", "b")],
    ]


def test_a_dollar_is_no_formula():
    page = writing()
    assert "<math" not in tool.to_html(
        "The rows of **$** and **3**, but $ occurs *once*. $5, $6", page
    )
    assert tool.to_html("$h$ and $p_i - 1$", page).count("<math") == 2
    with pytest.raises(tool.SiteError, match=r"a\.md: a formula cannot be drawn.*nosuchthing"):
        tool.to_html(r"$\nosuchthing{x}$", page)


def test_notebooks_that_are_mentioned_are_links():
    html = tool.to_html(
        "Notebook 03, notebooks 03 to 04 and 99, `03_x`, `04_`: 2 notebooks.", writing()
    )
    assert html.count("<a ") == 4
    assert '<a href="03_x.html">Notebook 03</a>, <a href="03_x.html">notebooks 03</a> to' in html
    assert '<a href="04_y.html">04</a> and 99' in html
    assert '<a href="03_x.html"><code>03_x</code></a>' in html
    assert tool.to_html("[see notebook 03](#t)", writing()).count("<a ") == 1


def test_code_is_in_colours_and_text_is_escaped():
    html = tool.to_html("```python\nx = '<b>'\n```\n\n```nosuch\n<b>\n```", writing())
    assert "<span class=\"s1\">'&lt;b&gt;'</span>" in html and "&lt;b&gt;\n</code>" in html
    assert "<b>" not in html


# A small course


def test_links_lead_to_pages_and_those_to_files_wait_for_an_address(small):
    page = (make(small) / "glossary.html").read_text(encoding="utf-8")
    assert 'href="readme.html#how-fast"' in page and 'href="00_one.html"' in page
    assert ", measured</p>" in page
    page = (make(small, ADDRESS) / "glossary.html").read_text(encoding="utf-8")
    assert f'href="{ADDRESS}/blob/HEAD/results/a.json"' in page


def test_colab_and_binder_come_with_an_address(small):
    html = (make(small) / "01_two.html").read_text(encoding="utf-8")
    assert "colab" not in html and "binder" not in html and not (small / "_site" / "colab").exists()
    html = (make(small, ADDRESS) / "01_two.html").read_text(encoding="utf-8")
    assert "https://colab.research.google.com/github/somebody/some-course/blob/colab/01_two" in html
    assert "https://mybinder.org/v2/gh/somebody/some-course/HEAD?labpath=notebooks%2F01_two" in html
    site = make(small, "https://gitlab.com/somebody/some-course")  # neither of ours opens that
    assert "colab" not in (site / "01_two.html").read_text() and not (site / "colab").exists()


def test_the_first_cell_in_colab_installs_the_course_and_nothing_else(small):
    copy = nbformat.read(make(small, ADDRESS) / "colab" / "00_one.ipynb", as_version=4)
    nbformat.validate(copy)
    first, *rest = copy.cells
    original = nbformat.read(small / "notebooks" / "00_one.ipynb", as_version=4)
    assert [cell.source for cell in rest] == [cell.source for cell in original.cells]
    python = TransformerManager().transform_cell(first.source)
    calls = [node.value for node in ast.parse(python).body]
    assert [call.func.attr for call in calls] == ["system", *["run_line_magic"] * 2]
    clone, install, enter = (" ".join(argument.value for argument in c.args) for c in calls)
    assert clone.endswith(f"git clone --quiet --depth 1 {ADDRESS} /content/course")
    assert install == "pip install --quiet --editable /content/course"
    assert enter == "cd -q /content/course"


def test_the_address_is_one_field_and_checked(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\nname = 'x'\n")
    assert tool.read_repository(file) is None
    file.write_text(f"[project.urls]\nRepository = '{ADDRESS}.git'\n")
    assert tool.read_repository(file) == ADDRESS
    for wrong in (
        "github.com/a/b",
        "https://github.com/",
        "https://x.org/a; rm -rf b",
        "javascript:1",
    ):
        file.write_text(f"[project.urls]\nRepository = '{wrong}'\n")
        with pytest.raises(tool.SiteError, match=r"OWNER/NAME, or leave it out"):
            tool.read_repository(file)


def test_only_a_site_is_replaced_and_only_by_a_whole_one(small):
    site = make(small)
    (small / "docs" / "glossary.md").write_text("# Glossary\n\n[gone](../nowhere.md)\n")
    with pytest.raises(
        tool.SiteError, match=r"glossary\.md: the link \.\./nowhere\.md leads to no file"
    ):
        make(small)
    (small / "docs" / "glossary.md").write_text("# Glossary\n\n[no place](notation.md#there)\n")
    (small / "docs" / "notation.md").write_text("# Notation\n")
    with pytest.raises(tool.SiteError, match="notation.html#there leads to no place"):
        make(small)
    assert "measured" in (site / "glossary.html").read_text(), "the one before is still there"
    assert not list(small.glob(".site_*"))

    (small / "mine").mkdir()
    (small / "mine" / ".nojekyll").touch()  # a site, and not ours
    (small / "mine" / "thesis.txt").write_text("years of work")
    (site / "CNAME").write_text("example.org")  # ours, and more
    for target in (small / "mine", small / "mine" / "thesis.txt", site):
        with pytest.raises(tool.SiteError, match="nothing is overwritten"):
            tool.build(target, tool.read_course(small, None))
    assert (small / "mine" / "thesis.txt").read_text() == "years of work"
    assert (site / "CNAME").read_text() == "example.org"


def test_what_cannot_be_shown_is_named(small):
    path = small / "notebooks" / "01_two.ipynb"
    good = nbformat.read(path, as_version=4)
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    failed = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    for output, says in ((picture, "cell 1: a picture without a desc"), (failed, "with an error")):
        bad = nbformat.v4.new_notebook(cells=[*good.cells, nbformat.v4.new_code_cell("1")])
        bad.cells[1].outputs = [output]
        nbformat.write(bad, path)
        with pytest.raises(tool.SiteError, match=says):
            make(small)
    path.rename(small / "notebooks" / "03_other.ipynb")
    with pytest.raises(tool.SiteError, match=r"differ in \['01_two', '03_other'\]. Mend the table"):
        make(small)


def test_a_name_is_given_once_and_a_page_has_a_title(small):
    (small / "docs" / "glossary.md").write_text("No title.\n")
    with pytest.raises(tool.SiteError, match=r"docs/glossary\.md has no title"):
        make(small)
    (small / "docs" / "index.md").write_text("# Index\n")
    with pytest.raises(tool.SiteError, match=r"a second page index\.html"):
        make(small)


def test_the_command_line_says_what_is_wrong_in_one_line(small, monkeypatch, capsys):
    monkeypatch.setattr(tool, "ROOT", small)
    monkeypatch.setattr(tool.sys, "argv", ["site.py", "--to", str(small / "docs")])
    (small / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert tool.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "docs" in said
