"""Say which part of a notebook stands on which slide, and what the teacher alone reads beside it.

A notebook is written to be read, a slide to be looked at. So of each text a slide keeps its heading, its
first sentences, and what is set apart (lists, formulas, tables); the rest becomes the slide's notes, and
nothing is lost. A folded answer goes to the notes of the question. A picture stands without the code that
drew it. A slide that would be too full goes on on the next one, under the same title.
"""

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
from slide_text import (
    WORDS,
    asks,
    first_sentences,
    height_of_text,
    is_set_apart,
    leads,
    paragraphs,
    without_answers,
    without_imports,
)

KINDS = ("slide", "subslide", "fragment", "-", "skip", "notes")
FULL = 740  # pixels, as estimated below at scale 1; slides_fit.js scales what comes out otherwise
CRAMMED = 840  # for what belongs together: a cell and its output
GUESS_FIRST = "*Let them guess first, hands up, before you go on.*"
ANSWER = re.compile(r"\*\*(Answer(?!s? to \d)|How to read)")  # not those of the exercises
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
    head, *sections = HEADING.split(cell.source)
    sections = _with_their_headings(sections)
    if kind in ("skip", "notes"):
        for section in [head, *sections]:
            shown, answers = without_answers(section)
            titles = re.findall(r"^## (.*)", section, re.MULTILINE)
            block = Block(new_markdown_cell(), kind, title=titles[-1] if titles else "")
            block.notes = answers if kind == "skip" else [shown, *answers]
            block.asks = asks(section)
            yield block
        return
    block = _text(head, kind)
    if (sections and kind == "slide") or not block.cell.source:
        shown, answers = without_answers(head)
        block = Block(new_markdown_cell(), "notes", notes=[shown, *answers])
    yield block
    above = head if kind != "slide" else ""
    for section in sections:
        starts = "slide" if re.match("##? ", section) else "subslide"
        if starts == "subslide" and (kind == "-" or without_answers(above)[0]):
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
    source, answers = without_answers(source)
    title = re.findall(r"^##? (.*)", source, re.MULTILINE)
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
            kept, left = first_sentences(part, WORDS - words)
            shown.append(kept)
            notes += [left] if left else []
        words += len(part.split()) if not is_set_apart(part) else 0
    cell = new_markdown_cell("\n\n".join(shown))
    cell.metadata.looks = "question" if "### Predict first" in source else ""
    height = sum(height_of_text(part) for part in shown)
    return Block(cell, kind, height, title[-1] if title else "", is_question, notes=notes + answers)


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
        )  # few lines, and much that they print
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
    questions: list[Block] = []  # without an answer yet
    asked = False
    for block in blocks:
        answers = [note for note in block.notes if ANSWER.match(note)]
        if answers and questions and not block.asks:
            questions.pop().notes += answers
        if (block.kind in ("skip", "notes") and block.title) or re.match("##? ", block.cell.source):
            section = block.title if slides[1:] else section
        if block.kind == "skip":
            questions += [block] if block.asks and not answers else []
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
            questions += [] if answers else [block]
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


def ratio_of(png: str) -> float:
    """Return a picture's width by its height, which stand at the beginning of every PNG."""
    width, height = struct.unpack(">II", base64.b64decode(png[:44])[16:24])
    return width / height
