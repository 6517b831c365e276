"""Say which part of a notebook stands on which slide, and what the teacher alone reads beside it.

A notebook is written to be read, a slide to be looked at. So of each text a slide keeps its heading, its
first sentences, and what is set apart (lists, formulas, tables); the rest becomes the slide's notes, and
nothing is lost. A folded answer goes to the notes of the question. A picture stands without the code that
drew it. A slide that would be too full goes on on the next one, under the same title.
"""

import ast
import base64
import re
import struct
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

KINDS = ("slide", "subslide", "fragment", "-", "skip", "notes")
WORDS = 65  # of running text under one heading; what goes on is for the notes
FULL = 740  # pixels, as estimated below at scale 1; slides_fit.js scales what comes out otherwise
CRAMMED = 840  # for what belongs together: a cell and its output
GUESS_FIRST = "*Let them guess first, hands up, before you go on.*"
FENCED = re.compile(r"(```.*?```|\$\$.*?\$\$|<details>.*?</details>)", re.DOTALL)
HEADING = re.compile(r"^(?=#{2,3} |# Part |\*\*Break it)", re.MULTILINE)


@dataclass
class Block:
    """What stays together: a piece of text, the input of a cell, or one of its outputs."""

    cell: NotebookNode
    kind: str = "-"
    height: float = 0
    title: str = ""  # of its own heading, if it begins with one
    asks: bool = False  # what comes next must not be seen yet
    given: float = 0  # the height of what a cell gives, which should stand beside it
    notes: list[str] = field(default_factory=list)  # for the slide on which it stands


def plan(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook of which each cell goes to nbconvert's slides as it is."""
    title, *rest = notebook.cells
    blocks = list(title_slide(title))
    for cell in rest:
        blocks += _from_text(cell) if cell.cell_type == "markdown" else _from_code(cell)
    slides = _packed(blocks)
    planned = nbformat.v4.new_notebook(metadata=deepcopy(notebook.metadata))
    planned.metadata.title = re.sub("[#*]", "", title.source.splitlines()[0]).strip()
    planned.cells = [cell for slide in slides for cell in _cells(slide)]
    return planned


def slide_type(cell: NotebookNode) -> str:
    """Return a cell's place in the slides, as JupyterLab's property inspector writes it."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    if kind not in KINDS:
        raise ValueError(f"slide_type {kind!r} is unknown; it must be one of {', '.join(KINDS)}")
    return kind


def title_slide(cell: NotebookNode) -> Iterator[Block]:
    """Give number, title and question a slide, and the next one to what will be learned."""
    heading, question, *others = paragraphs(cell.source)
    first = _text(f"{heading}\n\n{question}", "slide")
    first.cell.metadata.looks = "title"
    aims = [part for i, part in enumerate(others) if is_set_apart(part) or leads(others, i)]
    first.notes = [part for part in others if part not in aims]
    yield first
    yield _text("## Where we are going\n\n" + "\n\n".join(aims), "slide")


def _from_text(cell: NotebookNode) -> Iterator[Block]:
    """Cut a text cell at its headings; what stands before the first belongs to the slide before."""
    kind = slide_type(cell)
    source, answers = _without_answers(cell.source)
    if kind in ("skip", "notes"):
        title = re.findall(r"^## (.*)", source, re.MULTILINE)
        block = Block(new_markdown_cell(), kind, title=title[-1] if title else "")
        block.notes = answers if kind == "skip" else [source, *answers]
        block.asks = asks(source)
        yield block
        return
    head, *sections = HEADING.split(source)
    block = _text(head, kind)
    if (sections and kind == "slide") or not block.cell.source:
        block = Block(new_markdown_cell(), "notes", notes=[head])
    block.notes += answers
    yield block
    sections = _with_their_headings(sections)
    above = head if kind != "slide" else ""
    for section in sections:
        starts = "slide" if re.match("##? ", section) else "subslide"
        if starts == "subslide" and (kind == "-" or above.strip()):
            starts = "-"  # a question stands under the text that leads to it, if there is room
        yield _text(section, starts)
        above = section


def _with_their_headings(sections: list[str]) -> list[str]:
    """Let a heading with no text of its own stand above the section that follows it."""
    joined: list[str] = []
    for section in sections:
        is_bare = bool(joined) and re.fullmatch(r"#+ .*\s*", joined[-1]) is not None
        joined[-1:] = [joined[-1] + section] if is_bare else [*joined[-1:], section]
    return joined


def _text(source: str, kind: str) -> Block:
    """Return a block of what a slide shows of a text; the rest are its notes."""
    source = source.strip()
    title = re.findall(r"^#{1,3} (.*)", source, re.MULTILINE)
    is_question = asks(source)
    shown, notes, words = [], [], 0
    parts = paragraphs(source)
    for i, part in enumerate(parts):
        is_aside = part.startswith(("(", "*Where it comes from"))
        if (
            part.startswith("#")
            or is_set_apart(part)
            or leads(parts, i)
            or (is_question and not is_aside)
        ):
            shown.append(part)
        elif is_aside or words >= WORDS * 0.7:
            notes.append(part)
        else:
            kept, left = _first_sentences(part, WORDS - words)
            shown.append(kept)
            notes += [left] if left else []
        words += len(part.split()) if not is_set_apart(part) else 0
    cell = new_markdown_cell("\n\n".join(shown))
    cell.metadata.looks = "question" if "### Predict first" in source else ""
    height = sum(_height_of_text(part) for part in shown)
    return Block(cell, kind, height, title[-1] if title else "", is_question, notes=notes)


def _from_code(cell: NotebookNode) -> Iterator[Block]:
    """Show what a cell says and then what it gives; of pictures, sources and tables only these."""
    kind = slide_type(cell)
    if kind == "skip":
        return
    if kind == "notes":
        raise ValueError(f"a code cell cannot be notes: {cell.source[:60]!r}. Let it be skip")
    outputs = [_output(output, kind) for output in cell.outputs]
    is_picture = any("data" in output for output in cell.outputs)
    source = "" if is_picture else without_imports(cell.source)
    said = Block(new_code_cell(source), kind, 40 + 27 * len(source.splitlines()))
    said.given = sum(block.height for block in outputs)
    if source and said.height < 180 and said.height + said.given > CRAMMED:
        outputs[0].notes.insert(
            0, f"```python\n{source}\n```"
        )  # a few lines, and what they print is long
    elif source:
        yield said
        kind = "-"
    for block in outputs:
        block.kind, kind = kind, "-"
        yield block


def _output(output: NotebookNode, kind: str) -> Block:
    data = output.get("data", {})
    if "text/html" in data and "image/png" not in data:
        return _choices(data["text/html"], kind)
    if "image/png" in data:
        height = min(400, 1160 / ratio_of(data["image/png"]))  # as small as it may get
    elif "text/markdown" in data:
        lines = data["text/markdown"].splitlines()
        height = 40 + (40 if lines[0].startswith("|") else 27) * len(lines)
    else:
        lines = (output.get("text") or data.get("text/plain", "")).strip().splitlines()
        height = 40 + 27 * sum(1 + len(line) // 92 for line in lines)
    return Block(new_code_cell("", outputs=[output]), kind, height)


def _choices(html: str, kind: str) -> Block:
    """Turn the folds of `ask` into a list of choices; why each is right or wrong is for the notes."""
    choices, reasons = [], []
    for fold in BeautifulSoup(html, "html.parser").div.find_all("details", recursive=False):
        choice = fold.summary.get_text()
        if not re.match("[a-z]: ", choice):
            raise ValueError(
                f"an output that unfolds is no slide: {choice!r}. Let its cell be skip"
            )
        choices.append(f"- **{choice[0]}** {choice[3:]}")
        reasons.append(f"**{choice[0]}** {fold.div.get_text()}")
    return Block(new_markdown_cell("\n".join(choices)), kind, 50 * len(choices), notes=reasons)


def _packed(blocks: list[Block]) -> list[list[Block]]:
    """Put blocks on slides; begin a new one where one is asked for, where it is full, after a question."""
    slides: list[list[Block]] = []
    section, height, belongs = blocks[0].title, 0.0, False
    question, asked = None, False
    for block in blocks:
        answers = [note for note in block.notes if note.startswith(("**Answer", "**How to read"))]
        if answers and question is not None:
            question.notes += answers
        question = None if answers else question
        if (block.kind in ("skip", "notes") and block.title) or re.match("##? ", block.cell.source):
            section = block.title if slides[1:] else section
        if block.kind == "skip":
            question = None if block.asks else question
            continue
        if block.kind == "notes":
            slides[-1][-1].notes += block.notes
            continue
        is_full = height + block.height > (CRAMMED if belongs else FULL)
        is_full |= block.given > 0 and height + block.height + block.given > CRAMMED
        belongs = block.given > 0
        if block.kind in ("slide", "subslide") or is_full or asked:
            block.kind = "slide" if block.kind == "slide" else "subslide"
            slides.append([])
            height = 0.0
            if not re.match("##? ", block.cell.source):
                running = new_markdown_cell(section)
                running.metadata.looks = "running"
                slides[-1].append(Block(running, block.kind))
                block.kind, height = "-", 45.0
        slides[-1].append(block)
        height += block.height
        asked = block.asks
        if block.asks:
            block.notes.insert(0, GUESS_FIRST)
            question = block
    return slides


def _cells(slide: list[Block]) -> Iterator[NotebookNode]:
    """Give nbconvert the cells of a slide, each with its type, and all their notes in one."""
    for i, block in enumerate(slide):
        block.cell.metadata.slideshow = {"slide_type": block.kind}
        yield block.cell
        if i == 0:  # not last: within a fragment they would be seen only with that fragment
            notes = "\n\n".join(note for block in slide for note in block.notes if note.strip())
            if notes:
                yield new_markdown_cell(
                    notes, metadata={"slideshow": {"slide_type": "notes"}, "looks": ""}
                )


def without_imports(source: str) -> str:
    """Leave the imports out of a cell's source: they say nothing to a class."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def paragraphs(source: str) -> list[str]:
    """Split a text at its empty lines, but not within code, formulas or folds."""
    parts: list[str] = []
    for piece in FENCED.split(source):
        parts += [piece] if FENCED.fullmatch(piece) else re.split(r"\n\s*\n", piece)
    return [part.strip() for part in parts if part.strip()]


def ratio_of(png: str) -> float:
    """Return a picture's width by its height, which stand at the beginning of every PNG."""
    width, height = struct.unpack(">II", base64.b64decode(png[:44])[16:24])
    return width / height


def asks(text: str) -> bool:
    """Tell whether the class is to guess now, and must not see yet what comes next."""
    return re.search(r"\b[Pp]redict\b", text) is not None


def is_set_apart(part: str) -> bool:
    """Tell lists, quotes, tables, formulas, code and pictures from running text."""
    return re.match(r"(- |\d+\. |> |\||\$\$|```|!\[)", part) is not None


def leads(parts: list[str], i: int) -> bool:
    """Tell whether a paragraph only leads to what is set apart after it."""
    return i + 1 < len(parts) and is_set_apart(parts[i + 1]) and len(parts[i].split()) < WORDS


def _without_answers(source: str) -> tuple[str, list[str]]:
    """Take the folds out of a text, and return them as notes."""
    folds = re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", source, re.DOTALL)
    answers = [f"**{summary}.** {text.strip()}" for summary, text in folds]
    return re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL).strip(), answers


def _first_sentences(paragraph: str, n_words: int) -> tuple[str, str]:
    """Cut a paragraph after the sentence that reaches so many words, never within a mark of Markdown."""
    if len(paragraph.split()) <= n_words + 15:
        return paragraph, ""
    for end in re.finditer(r"(?<=[.?!])\s+(?=[A-Z`*\"(])", paragraph):
        kept = paragraph[: end.start()]
        is_whole = all(kept.count(mark) % 2 == 0 for mark in ("**", "`", "$", '"'))
        if is_whole and kept.count("(") == kept.count(")") and len(kept.split()) >= n_words * 0.6:
            return kept, paragraph[end.end() :]
    return paragraph, ""


def _height_of_text(part: str) -> float:
    if part.startswith("#"):
        return 80
    if part.startswith("$$"):
        return 110
    if part.startswith("|"):
        return 40 * len(part.splitlines())
    if part.startswith("```"):
        return 40 + 28 * len(part.splitlines())
    return 20 + sum(40 * (1 + len(line) // 80) for line in part.splitlines())
