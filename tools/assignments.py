"""Write assignments, the exercises of each notebook alone: students solve them, tools/grade.py grades.

python tools/assignments.py [FOLDER]     FOLDER is _build/assignments if none is named

FOLDER/02_bigram.ipynb       to hand out: tasks, empty functions, locked checks with points
FOLDER/nbgrader/             the same files as a course folder of nbgrader, with its configuration
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from llm_course.exercises import Exercise, Question, find

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SETUP = "setup"  # the grade id of the first code cell

INTRODUCTION = """\
# Assignment {title}

The exercises of the course's notebook `{stem}`, {points} points in all. Read that notebook first: it is
meant where a task says *above* or *Step 3*.

- Run the first code cell. Then write each function in place of the dots, run it, and run the check below.
- A check that ends without an error has earned its points. Until then it tells what is wrong, and you may
  try as often as you like. `show_hint("{example}")` gives a hint, and costs nothing.
- Keep the functions' names. Cells of your own are welcome; what you change in a check does not count.
- Hand in this file, saved. It is run again from top to bottom, on inputs drawn anew."""

SETUP_CODE = """\
import copy
import math
import os
import re
from bisect import bisect
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import mean, median, stdev

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from llm_course.exercises import check, show_hint

os.environ["LLM_COURSE_STRICT"] = "1"  # an untouched exercise is an error, and solutions stay closed"""

CONFIGURATION = """\
c = get_config()
c.CourseDirectory.course_id = "llm_course"
# No ClearSolutions: the functions are empty already, and it would take their first lines, too.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.{}".format(name)
    for name in (
        "IncludeHeaderFooter",
        "LockCells",
        "ClearOutput",
        "CheckCellMetadata",
        "ComputeChecksums",
        "SaveCells",
    )
]
c.ExecutePreprocessor.timeout = 120
"""


@dataclass(frozen=True)
class Task:
    """One exercise as its notebook poses it: its text, and the empty function ("" for a question)."""

    exercise: Exercise | Question
    text: str
    stub: str

    @property
    def name(self) -> str:
        """The exercise's name, which is the function's name, and the grade id of its check."""
        return self.exercise.name

    @property
    def points(self) -> int:
        """One point for each minute that the notebook says it takes: the rule of all assignments."""
        return self.exercise.minutes


def tasks_of(path: Path, cells: list[nbformat.NotebookNode]) -> list[Task]:
    """Return the exercises of a course notebook, in order; experiments, which have no check, not."""
    found: list[Task] = []
    text = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            text = _last_task(cell.source)
        elif match := re.search(r'^(?:check|ask)\("(\w+)"', cell.source, re.MULTILINE):
            exercise = find(match[1])
            stub = "" if isinstance(exercise, Question) else _stub(cell.source, exercise.name, path)
            if f" *({exercise.minutes} minutes)* " not in text:
                raise ValueError(
                    f"{path.name}: the text before {exercise.name} does not begin with **N** "
                    f"*({exercise.minutes} minutes)*, as llm_course/exercises says"
                )
            found.append(Task(exercise, text, stub))
    return found


def _last_task(markdown: str) -> str:
    """Return the last numbered task of a cell, without answers, and without folds to open."""
    starts = list(re.finditer(r"^\*\*\d+\*\* \*\(\d+ minutes\)\* ", markdown, re.MULTILINE))
    if not starts:
        return ""
    text = re.sub(r"<details>.*?</details>", "", markdown[starts[-1].start() :], flags=re.DOTALL)
    return re.sub(r" Decide, then open your choice.*?\.(?=\s|$)", "", text).strip()


def _stub(source: str, name: str, path: Path) -> str:
    """Return the empty function of an exercise cell; ValueError where it is not empty, or not alone."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if [function.name for function in functions] != [name]:
        raise ValueError(f"{path.name}: the cell of {name} must define {name} and nothing else")
    body = [ast.unparse(node) for node in functions[0].body if not _is_docstring(node)]
    if body != ["..."]:
        raise ValueError(f"{path.name}: {name} holds code in place of the dots; put the dots back")
    return ast.get_source_segment(source, functions[0])


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def assignment(path: Path) -> nbformat.NotebookNode:
    """Return the assignment of a course notebook: a cell of text, the setup, three cells for each task."""
    cells = nbformat.read(path, as_version=4).cells
    tasks = tasks_of(path, cells)
    title = cells[0].source.splitlines()[0].removeprefix("# ")
    introduction = INTRODUCTION.format(
        title=title,
        stem=path.stem,
        points=sum(task.points for task in tasks),
        example=next(task.name for task in tasks if task.stub),
    )
    notebook = new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.cells = [
        _locked(new_markdown_cell(introduction), "introduction"),
        _locked(new_code_cell(SETUP_CODE), SETUP),
    ]
    for number, task in enumerate(tasks, 1):
        notebook.cells += _cells(number, task)
    nbformat.validate(notebook)
    return notebook


def _cells(number: int, task: Task) -> Iterator[nbformat.NotebookNode]:
    text = re.sub(
        r"^\*\*\d+\*\* \*\((\d+ minutes)\)\*",
        rf"**{number}** *(\1, {task.points} points)*",
        task.text,
    )
    stub = task.stub
    if isinstance(task.exercise, Question):
        options = task.exercise.options.items()
        text += "\n\n" + "\n".join(f"- {letter}: {option}" for letter, (option, _) in options)
        stub = f"{task.name} = ...  # your letter, in quotation marks"
    check = f'assert check("{task.name}", {task.name}).passed, "no points yet: read what is printed above"'
    yield _locked(new_markdown_cell(text), f"{task.name}_task")
    yield _marked(new_code_cell(stub), f"{task.name}_attempt", solution=True)
    yield _locked(new_code_cell(check), task.name, grade=True, points=task.points)


def _locked(cell: nbformat.NotebookNode, name: str, **more: bool | int) -> nbformat.NotebookNode:
    cell.metadata |= {"deletable": False, "editable": False}
    return _marked(cell, name, locked=True, **more)


def _marked(cell: nbformat.NotebookNode, name: str, **more: bool | int) -> nbformat.NotebookNode:
    """Give a cell a name that stays, and nbgrader's metadata (schema 3)."""
    kinds = {"grade": False, "solution": False, "locked": False, "task": False}
    cell.id = name.replace("_", "-")
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "grade_id": name,
        "cell_type": cell.cell_type,
        **kinds,
        **more,
    }
    return cell


def write(folder: Path) -> list[Path]:
    """Write all assignments; FileExistsError, and nothing written, where a file there says otherwise."""
    files: dict[Path, str] = {folder / "nbgrader" / "nbgrader_config.py": CONFIGURATION}
    for path in NOTEBOOKS:
        text = nbformat.writes(assignment(path)) + "\n"
        files[folder / path.name] = text
        files[folder / "nbgrader" / "source" / path.stem / path.name] = text
    for path, text in files.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise FileExistsError(
                f"{path} is there already and differs from what would be written. Move or delete the "
                "folder, or name another one."
            )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(files)


def main() -> int:
    """Read the command line, and write the folder it names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "_build" / "assignments")
    folder = parser.parse_args().folder
    try:
        write(folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(NOTEBOOKS)} assignments are in {folder}; how to go on, docs/assignments.md tells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
