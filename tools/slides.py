"""Make a deck for a lecture out of each notebook: one HTML file, reveal.js inside, no network.

python tools/slides.py [FILE …]    _build/slides/NAME.html for each notebook, or for those named

The notebooks are the only source: each cell's `slideshow` metadata, which JupyterLab's property inspector
edits, says where it goes (slide, subslide, fragment, - to go on, skip, notes). What a lecture needs
besides is done here; tools/slide_plan.py says which cell ends on which slide. S opens the speaker's view.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from formulas import formula, math_font
from jinja2 import pass_context
from math_core import LatexError
from nbconvert.exporters import SlidesExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from slide_plan import plan, ratio_of

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DECKS = ROOT / "_build" / "slides"
TEMPLATE = Path(__file__).resolve().with_name("slides.html.j2")


class _Renderer(IPythonRenderer):
    """Markdown as nbconvert renders it, with formulas as MathML, which browsers draw by themselves."""

    def block_math(self, body: str) -> str:
        return formula(body.strip(), {"display_mode": True})

    def inline_math(self, body: str) -> str:
        return formula(body.strip(), {"display_mode": False})


def _to_html(source: str) -> str:
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


class DeckExporter(SlidesExporter):
    """nbconvert's slides with our template, and all that they need in the file."""

    def default_filters(self):
        """Give the filters of nbconvert, but for Markdown ours."""
        yield from super().default_filters()
        yield "ratio", ratio_of
        yield "markdown2html", pass_context(lambda context, source: _to_html(source))


def reveal_files() -> dict[str, str]:
    """Return reveal.js' own files, out of the package pyreveal, which brings them unchanged."""
    package = find_spec("pyreveal")
    folder = Path(package.origin).parent / "revealjs"
    names = {
        "css": "dist/reveal.css",
        "js": "dist/reveal.js",
        "notes": "dist/plugin/notes.js",
        "licence": "LICENSE",
    }
    try:
        return {key: (folder / name).read_text(encoding="utf-8") for key, name in names.items()}
    except OSError as error:
        sys.exit(
            f"error: the installed pyreveal has another layout: {error}. "
            "constraints.txt names the version that fits"
        )


def deck(path: Path, reveal: dict[str, str]) -> str:
    """Return the deck of a notebook as one HTML document."""
    notebook = plan(nbformat.read(path, as_version=4))
    exporter = DeckExporter(template_file=str(TEMPLATE))
    resources = {
        "metadata": {"name": path.stem},
        "files_of_reveal": reveal,
        "theme_css": TEMPLATE.with_name("slides.css").read_text(encoding="utf-8"),
        "code_css": HtmlFormatter(style="vs").get_style_defs(".highlight"),
        "fit_js": TEMPLATE.with_name("slides_fit.js").read_text(encoding="utf-8"),
    }
    html, _ = exporter.from_notebook_node(notebook, resources)
    return html.replace("</head>", f"<style>{math_font(html)}</style>\n</head>", 1)


def main() -> int:
    """Write the decks, and say how large each one is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args()
    reveal = reveal_files()
    DECKS.mkdir(parents=True, exist_ok=True)
    for path in options.paths or NOTEBOOKS:
        try:
            html = deck(path, reveal)
        except (OSError, ValueError, SyntaxError, LatexError) as error:
            print(f"error: {path} gives no slides: {error}", file=sys.stderr)
            return 1
        target = DECKS / f"{path.stem}.html"
        target.write_text(html, encoding="utf-8")
        print(f"{target}: {target.stat().st_size / 1000:,.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
