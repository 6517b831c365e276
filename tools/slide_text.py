"""Take the text of a notebook apart: what a slide shows of it, what is for the notes."""

import ast
import re

WORDS = 65  # of running text under one heading; what goes on is for the notes
FENCED = re.compile(r"(```.*?```|\$\$.*?\$\$|<details>.*?</details>)", re.DOTALL)


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


def asks(text: str) -> bool:
    """Tell whether the class is to guess now, and must not see yet what comes next."""
    return re.search(r"\bPredict\b(?! first\.)", text) is not None


def is_set_apart(part: str) -> bool:
    """Tell lists, quotes, tables, formulas, code and pictures from running text."""
    return re.match(r"(- |\d+\. |> |\||\$\$|```|!\[)", part) is not None


def leads(parts: list[str], i: int) -> bool:
    """Tell whether a paragraph only leads to what is set apart after it."""
    return i + 1 < len(parts) and is_set_apart(parts[i + 1]) and len(parts[i].split()) < WORDS


def without_answers(source: str) -> tuple[str, list[str]]:
    """Take the folds out of a text, and return them as notes."""
    folds = re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", source, re.DOTALL)
    answers = [f"**{summary}.** {text.strip()}" for summary, text in folds]
    return re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL).strip(), answers


def first_sentences(paragraph: str, n_words: int) -> tuple[str, str]:
    """Cut a paragraph after the sentence that reaches so many words, never within a mark of Markdown."""
    if len(paragraph.split()) <= n_words + 15:
        return paragraph, ""
    for end in re.finditer(r"(?<=[.?!])\s+(?=[A-Z`*\"(])", paragraph):
        kept = paragraph[: end.start()]
        is_whole = all(kept.count(mark) % 2 == 0 for mark in ("**", "`", "$", '"'))
        if is_whole and kept.count("(") == kept.count(")") and len(kept.split()) >= n_words * 0.6:
            return kept, paragraph[end.end() :]
    return paragraph, ""


def height_of_text(part: str) -> float:
    """Estimate a paragraph's height on a slide, in pixels at scale 1."""
    if part.startswith("#"):
        return 80
    if part.startswith("$$"):
        return 110
    if part.startswith("|"):
        return 40 * len(part.splitlines())
    if part.startswith("```"):
        return 40 + 28 * len(part.splitlines())
    return 20 + sum(40 * (1 + len(line) // 80) for line in part.splitlines())
