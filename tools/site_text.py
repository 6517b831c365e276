"""Markdown as HTML for the site: MathML, code in colours, headings in order, links that hold."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from formulas import formula
from ipython_pygments_lexers import IPythonLexer
from markdown_it import MarkdownIt
from markdown_it.token import Token
from math_core import LatexError
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

NOTEBOOK = re.compile(r"\d\d_\w+")  # a notebook's name in code, as in "→ `02_bigram`"
MENTION = re.compile(r"\b[Nn]otebooks? \d\d\b(?:(?:, and |, | and | or | to |–)\d\d\b)*")
NUMBERED = re.compile(r"(?:[Nn]otebooks? )?\d\d")
PYTHON = {"python", "python3", "py", "ipython3"}


class SiteError(Exception):
    """Something in the course that the site cannot show: which, why, and what to do about it."""


@dataclass
class Section:
    """A heading of a page and what stands under it, for the table of contents and the search."""

    level: int
    anchor: str
    title: str
    words: list[str] = field(default_factory=list)


@dataclass
class Writing:
    """One page while it is written: its headings so far, and where its links lead.

    `resolve` turns a link's address as it is written into the site's, or None for a place without one.
    """

    source: str  # the file, relative to the repository's root: what error messages name
    resolve: Callable[[str], str | None]
    notebooks: dict[str, str]  # pages by number and by name: {"07": …, "07_generation": …}
    sections: list[Section] = field(default_factory=list)
    _levels: list[int] = field(default_factory=list)
    _anchors: Counter = field(default_factory=Counter)

    def heading(self, level: int, title: str) -> Section:
        """Add a heading; the levels of a page never skip one, and only its title is of level 1."""
        level = level if self.sections else 0
        while self._levels and self._levels[-1] >= max(level, 1):
            self._levels.pop()
        self._levels.append(level)
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")  # as GitHub does
        n_before = self._anchors[anchor]
        self._anchors[anchor] += 1
        anchor = f"{anchor}-{n_before}" if n_before else anchor
        self.sections.append(Section(len(self._levels), anchor, title))
        return self.sections[-1]

    def note(self, text: str) -> None:
        """Keep a piece of text for the search."""
        if self.sections:
            self.sections[-1].words.append(text)


def in_colours(code: str, language: str, attributes: str = "") -> str:
    """Return code as HTML, its words marked with Pygments' short class names."""
    try:
        lexer = IPythonLexer() if language in PYTHON else get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code)
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


MARKDOWN = (
    MarkdownIt("commonmark", {"html": True, "highlight": in_colours})
    .enable(["table", "strikethrough"])
    .use(dollarmath_plugin, allow_space=False, allow_labels=False, renderer=formula)
)


def to_html(markdown: str, page: Writing) -> str:
    """Return a piece of a page's Markdown as HTML, and add its headings and words to the page."""
    tokens = MARKDOWN.parse(markdown)
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            section = page.heading(int(token.tag[1]), plain(tokens[i + 1].children))
            token.tag = tokens[i + 2].tag = f"h{section.level}"
            token.attrSet("id", section.anchor)
        elif token.type == "inline":
            if tokens[i - 1].type != "heading_open":
                page.note(plain(token.children))
            token.children = _linked(token.children, page)
        elif token.type in {"fence", "code_block"}:
            page.note(token.content)
    try:
        html = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    except LatexError as error:
        raise SiteError(
            f"{page.source}: a formula cannot be drawn: {error}. Write it in other commands."
        ) from error
    html = re.sub("<th[^>]*></th>", "<td></td>", html)  # an empty corner is no heading
    return html.replace("<table>", '<div class="scrolls"><table>').replace(
        "</table>", "</table></div>"
    )


def plain(tokens: Sequence[Token] | None) -> str:
    """Return what a reader sees of a line: its words, code and formulas, without marks."""
    return "".join(
        " " if token.type == "softbreak" else "" if token.type == "html_inline" else token.content
        for token in tokens or []
    )


def _linked(tokens: Sequence[Token] | None, page: Writing) -> list[Token]:
    """Return a line with its links led to pages of the site, and links on the notebooks it mentions."""
    line: list[Token] = []
    dropped: list[bool] = []  # for each link that is open: has it no place to lead to?
    for token in tokens or []:
        if token.type == "link_open":
            address = page.resolve(str(token.attrs["href"]))
            dropped.append(address is None)
            token.attrs["href"] = address or ""
        elif token.type == "image":
            token.attrs["src"] = page.resolve(str(token.attrs["src"])) or ""
        if token.type in {"link_open", "link_close"}:
            gone = dropped[-1] if token.type == "link_open" else dropped.pop()
            line += [] if gone else [token]
        elif dropped:
            line.append(token)
        elif token.type == "text":
            line += _mentions(token.content, page)
        elif token.type == "code_inline" and NOTEBOOK.fullmatch(token.content):
            line += _link(token, page.notebooks.get(token.content))
        else:
            line.append(token)
    return line


def _mentions(text: str, page: Writing) -> list[Token]:
    """Return a text with a link on each "notebook 07" and each number of "notebooks 03 to 05"."""
    tokens, end = [], 0
    for mention in MENTION.finditer(text):
        for number in NUMBERED.finditer(text, mention.start(), mention.end()):
            tokens.append(_text(text[end : number.start()]))
            tokens += _link(_text(number[0]), page.notebooks.get(number[0][-2:]))
            end = number.end()
    return [*tokens, _text(text[end:])]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _link(token: Token, address: str | None) -> list[Token]:
    if address is None:
        return [token]
    opening = Token("link_open", "a", 1, attrs={"href": address})
    return [opening, token, Token("link_close", "a", -1)]
