"""Build the course as a site that needs no server and no network: pages, search, pictures, downloads.

python tools/site.py [--to FOLDER]    from notebooks/, README.md, docs/ and results/; default _site/

Opened from a folder or served, it is the same: relative links, and no request to another machine. With
`Repository` in pyproject.toml's [project.urls], each notebook can be opened in Colab and on Binder, too.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

import nbformat

try:  # the last four stand beside this file
    from formulas import math_font
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from site_links import problems
    from site_notebook import GITHUB, for_colab, notebook_html, ways_to_run
    from site_text import SiteError, Writing, to_html
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed. Run: python -m pip install -e '.[web]'")

from llm_course.scoreboard import Scoreboard, beyond_part_one, load_recorded

ROOT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "site_files"
PUBLISH_AS_IS = ".nojekyll"  # GitHub's sign for it
OURS = ".llm_course_site"  # names all that we wrote there: with nothing else, it may be replaced
PARTS = {"I": "from counting to a decoder", "II": "better, larger, faster", "III": "further"}
ROW = re.compile(
    r"^\| \[\d\d (.+?)\]\(notebooks/(\w+)\.ipynb\) \| (.+?) \| (.+?) \| (.+?) \|$", re.M
)


@dataclass
class Course:
    """What the site is made from, and the page of each source: {"docs/notation.md": "notation.html"}."""

    root: Path
    repository: str | None
    pages: dict[str, str]

    @property
    def notebooks(self) -> dict[str, str]:
        """The pages of the notebooks by source, in their order."""
        return {s: page for s, page in self.pages.items() if s.startswith("notebooks/")}

    def writing(self, source: str) -> Writing:
        """Return a page to be written, whose links are those of its source."""
        others = [page for origin, page in self.notebooks.items() if origin != source]
        names = {PurePosixPath(page).stem: page for page in others}
        by_number = {name[:2]: page for name, page in names.items()}
        return Writing(source, lambda link: self._resolve(link, source), names | by_number)

    def _resolve(self, link: str, source: str) -> str | None:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path:
            return link
        path = normpath(str(PurePosixPath(source).parent / parts.path))
        place = f"#{parts.fragment}" if parts.fragment else ""
        if path in self.pages:
            return self.pages[path] + place
        if path.startswith("..") or not (self.root / path).exists():
            raise SiteError(f"{source}: the link {link} leads to no file of the course. Mend it.")
        if path.startswith("images/"):
            return path
        return f"{self.repository}/blob/HEAD/{path}{place}" if self.repository else None


@dataclass
class Page:
    """One file of the site: its text, the template around it, and what that asks for."""

    name: str
    writing: Writing
    title: str
    template: str = "page.html"
    needs: dict[str, Any] = field(default_factory=dict)


def read_repository(pyproject: Path) -> str | None:
    """Return the repository's address, None where there is none yet."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address is None:
        return None
    if not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+/?", address):
        raise SiteError(
            f"{pyproject.name}: Repository is {address!r}, which is no address of a repository. "
            "Write it as https://github.com/OWNER/NAME, or leave it out."
        )
    return address.removesuffix("/").removesuffix(".git")


def read_course(root: Path, repository: str | None) -> Course:
    """Find the notebooks and documents of a course, and give each the name of its page."""
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    if not notebooks:
        raise SiteError(f"{root / 'notebooks'} holds no notebook. Run this in the course's folder.")
    pages = {"README.md": "readme.html"}
    for path in [*notebooks, *sorted((root / "docs").glob("*.md"))]:
        name = f"{path.stem}.html"
        if name.lower() in {*pages.values(), "index.html", "search.html"}:
            raise SiteError(f"{path} would be a second page {name}. Give it another name.")
        pages[path.relative_to(root).as_posix()] = name
    return Course(root, repository, pages)


def read_ladder(readme: str, course: Course) -> list[dict[str, Any]]:
    """Return the parts with their notebooks: from the README's table, and its "Part I is 00 to 07"."""
    keys = ("title", "name", "question", "read", "run")
    rows = [dict(zip(keys, row.groups(), strict=True)) for row in ROW.finditer(readme)]
    named, there = [row["name"] for row in rows], [Path(s).stem for s in course.notebooks]
    if named != there:
        odd = sorted({*named} ^ {*there}) or "the order"
        raise SiteError(
            f"README.md's table and notebooks/ differ in {odd}. Mend the table; a row is "
            "| [00 Title](notebooks/00_name.ipynb) | question | read | run |"
        )
    parts = []
    for numeral, title in PARTS.items():
        span = re.search(rf"Part {numeral}(?: is)? (\d\d) to (\d\d)", readme)
        if span is None:
            raise SiteError(f'README.md does not say "Part {numeral} is 00 to 07". Add it.')
        chosen = [row for row in rows if span[1] <= row["name"][:2] <= span[2]]
        parts.append({"title": f"Part {numeral}: {title}", "rows": chosen})
    return parts


def front_page(course: Course) -> Page:
    """Return the README's beginning, the ladder, what the course offers, and the scoreboard."""
    readme = (course.root / "README.md").read_text(encoding="utf-8")
    lead, *sections = re.split(r"^## ", readme, flags=re.M)
    about = next((text for text in sections if text.startswith("The notebooks\n")), "")
    below_table = re.sub(r"^(The notebooks|\|.*)\n", "", about, flags=re.M)
    recorded, made = load_recorded()
    scoreboard = Scoreboard([*recorded.rows, *beyond_part_one()])
    writing = course.writing("README.md")
    needs = {
        "lead": Markup(to_html(lead, writing)),
        "parts": read_ladder(readme, course),
        "below": Markup(to_html(below_table, writing)),
        "scoreboard": Markup(to_html(scoreboard._repr_markdown_(), writing)),
        "made": made,
    }
    return Page("index.html", writing, writing.sections[0].title, "index.html", needs)


def pages_of(course: Course, pictures: Path) -> list[Page]:
    """Return all pages but the front one, and write the notebooks' pictures to a folder."""
    pages = []
    for source, name in course.pages.items():
        path, writing = course.root / source, course.writing(source)
        if source in course.notebooks:
            body = notebook_html(path, writing, pictures)
            ways = ways_to_run(path.stem, course.repository)
        else:
            body, ways = to_html(path.read_text(encoding="utf-8"), writing), []
        if not writing.sections:
            raise SiteError(f"{source} has no title. Begin it with a line `# Title`.")
        title = "README" if source == "README.md" else writing.sections[0].title
        pages.append(Page(name, writing, title, needs={"body": Markup(body), "ways": ways}))
    nowhere = Writing("search", lambda link: link, {})
    return [*pages, Page("search.html", nowhere, "Search", "search.html")]


def write_site(course: Course, target: Path) -> None:
    """Write all files of the site to an empty folder."""
    templates = Environment(
        loader=FileSystemLoader(FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages = [front_page(course), *pages_of(course, target / "pictures")]
    in_order = [page for page in pages if page.name in course.notebooks.values()]
    documents = [p for p in pages if p.template == "page.html" and p not in in_order]
    neighbours = {
        page.name: (before, after)
        for before, page, after in zip(
            [None, *in_order[:-1]], in_order, [*in_order[1:], None], strict=True
        )
    }
    written = []
    for page in pages:
        titles = [section.title for section in page.writing.sections]
        before, after = neighbours.get(page.name, (None, None))
        html = templates.get_template(
            page.template
        ).render(
            page=page,
            contents=[
                section  # what stands on a page several times, such as "Predict first", tells nothing
                for section in page.writing.sections[1:]
                if section.level < 4 and titles.count(section.title) == 1
            ],
            documents=documents,
            before=before,
            after=after,
            **page.needs,
        )
        (target / page.name).write_text(html, encoding="utf-8")
        written.append(html)
    style = (FILES / "style.css").read_text(encoding="utf-8")
    (target / "style.css").write_text(math_font("".join(written)) + style, encoding="utf-8")
    (target / "search_index.js").write_text(search_index(pages), encoding="utf-8")
    for name in ("site.js", "search.js", "icon.svg"):
        shutil.copyfile(FILES / name, target / name)
    shutil.copytree(course.root / "images", target / "images")
    (target / PUBLISH_AS_IS).touch()
    copy_notebooks(course, target)
    names = sorted(path.name for path in target.iterdir())
    (target / OURS).write_text("\n".join([*names, OURS, ""]), encoding="utf-8")


def search_index(pages: list[Page]) -> str:
    """Return the sections of all pages as a script, which a page may load where it may not read a file."""
    entries = [
        {"page": page.name, "at": section.anchor, "on": page.title, "title": section.title}
        | {"text": " ".join(" ".join(section.words).split())}
        for page in pages
        if page.template == "page.html"
        for section in page.writing.sections
    ]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return f"const SECTIONS = [\n{lines}\n];\n"


def copy_notebooks(course: Course, target: Path) -> None:
    """Copy the notebooks for downloading, and for Colab where it is known whence they install."""
    for_github = course.repository and GITHUB.fullmatch(course.repository)
    for folder in ("notebooks", *(["colab"] if for_github else [])):
        (target / folder).mkdir()
    for source in course.notebooks:
        path = course.root / source
        shutil.copyfile(path, target / "notebooks" / path.name)
        if for_github:
            copy = for_colab(nbformat.read(path, as_version=4), course.repository)
            nbformat.write(copy, target / "colab" / path.name)


def foreign(folder: Path) -> list[str]:
    """Return the names in a folder that no earlier site of ours wrote there."""
    mark = folder / OURS
    own = mark.read_text(encoding="utf-8").splitlines() if mark.is_file() else []
    return sorted({path.name for path in folder.iterdir()} - set(own))


def build(target: Path, course: Course) -> int:
    """Write the site, check its links, put it in place of the one before; return its number of pages."""
    if target.exists() and not target.is_dir():
        raise SiteError(f"{target} is a file. Name a folder: nothing is overwritten.")
    if target.exists() and (others := foreign(target)):
        raise SiteError(
            f"{target} holds other things ({others[0]}). Name an empty folder: nothing is overwritten."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".site_") as folder:
        fresh = Path(folder) / "new"
        fresh.mkdir()
        write_site(course, fresh)
        if found := problems(fresh):
            raise SiteError("the site would be broken:\n" + "\n".join(found))
        if target.exists():
            target.rename(Path(folder) / "old")
        fresh.rename(target)
    return len(list(target.glob("*.html")))


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=ROOT / "_site", metavar="FOLDER")
    target = parser.parse_args().to
    try:
        n_pages = build(target, read_course(ROOT, read_repository(ROOT / "pyproject.toml")))
    except (SiteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{n_pages} pages: open {target / 'index.html'} in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
