"""Grade a folder of handed-in assignments into a table, one row for each student and exercise.

python tools/grade.py HANDED_IN grades.csv [--summary totals.csv] [--assignment 02_bigram]

HANDED_IN holds NAME.ipynb for each student, or a folder for each student with the notebook anywhere below
(as Moodle's download has it, and nbgrader's `submitted`). Run students' code only on a machine, and as a
user, where it can do no harm: docs/assignments.md says what is held off, and what is not.
"""

import argparse
import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from assignments import NOTEBOOKS, SETUP, assignment
from grading import Limits, Step, Verdict, run_steps

LARGEST = 20_000_000  # bytes of a notebook
NOT_GRADED = "NOT GRADED, look at it"
COLUMNS = ("student", "notebook", "exercise", "points", "max points", "what happened")


class HandInError(ValueError):
    """What is wrong with a hand-in as a whole, in words for the table."""


@dataclass(frozen=True)
class HandIn:
    """A file of a student; no path for a student who handed in no notebook."""

    student: str
    path: Path | None


@dataclass(frozen=True)
class Row:
    """One row of the table. `assignment` is "" where nobody can tell which one it was."""

    student: str
    notebook: str
    assignment: str
    exercise: str
    points: int
    most: int
    happened: str


def hand_ins(folder: Path) -> list[HandIn]:
    """Return all hand-ins in order. A student is a file or a folder directly in this one."""
    found = []
    tops = sorted(filter(_counts, folder.iterdir()), key=lambda path: path.name)
    names = [path.stem if path.is_file() else path.name for path in tops]
    for path, name in zip(tops, names, strict=True):
        if names.count(name) > 1:  # anna.ipynb beside anna/
            name = path.name
        own = [file for file in _inside(path) if _is_own(file, folder)]
        found += [HandIn(name, file) for file in own] or [HandIn(name, None)]
    return found


def _inside(path: Path) -> list[Path]:
    """Return the notebooks at or below a path, and the folders that cannot be looked into."""
    if not path.is_dir():
        return [path] if path.suffix.lower() == ".ipynb" else []
    closed, files = set(), []
    for place, _, names in os.walk(path, onerror=lambda error: closed.add(Path(error.filename))):
        if os.access(place, os.X_OK):
            files += [Path(place) / name for name in names if name.lower().endswith(".ipynb")]
        else:
            closed.add(Path(place))
    return sorted([*closed, *filter(Path.is_file, files)])


def _counts(path: Path) -> bool:
    return not path.name.startswith((".", "__MACOSX"))  # checkpoints, and what systems add


def _is_own(file: Path, folder: Path) -> bool:
    """Return whether it lies in this folder, and is no link to somewhere else."""
    way = [file, *file.parents]
    way = way[: way.index(folder)]
    return all(_counts(part) and not part.is_symlink() for part in way)


class Grader:
    """The assignments as they were handed out, against which hand-ins are held."""

    def __init__(self, limits: Limits, asked: str = "") -> None:
        self.limits, self.asked = limits, asked
        self.originals: dict[str, dict[str, Any]] = {}  # assignment: {grade id: cell}
        for path in NOTEBOOKS:
            cells = assignment(path).cells
            self.originals[path.stem] = {cell.metadata.nbgrader.grade_id: cell for cell in cells}
        if asked and asked not in self.originals:
            raise ValueError(f"there is no assignment {asked}, only {', '.join(self.originals)}")

    def points(self, name: str) -> dict[str, int]:
        """Return the exercises of an assignment, and the points of each."""
        marks = {key: cell.metadata.nbgrader for key, cell in self.originals[name].items()}
        return {key: mark.points for key, mark in marks.items() if mark.grade}

    def rows(self, folder: Path, hand_in: HandIn) -> list[Row]:
        """Grade one hand-in."""
        name, problem, verdicts = self.asked, "", {}
        notebook = "" if hand_in.path is None else hand_in.path.relative_to(folder).as_posix()
        try:
            cells = read(hand_in.path)
            name = self.assignment_of(cells)
            verdicts = self.verdicts(name, cells)
        except HandInError as error:
            problem = str(error)
        except Exception as error:  # ours, perhaps; it must not cost the others
            problem = f"{NOT_GRADED}: {type(error).__name__}: {error}"
        if not name:
            return [Row(hand_in.student, notebook, "", "", 0, 0, problem)]
        return [
            Row(
                hand_in.student,
                notebook,
                name,
                exercise,
                most if not problem and verdicts[exercise].passed else 0,
                most,
                problem or "; ".join([verdicts[exercise].said, *verdicts[exercise].notes]),
            )
            for exercise, most in self.points(name).items()
        ]

    def assignment_of(self, cells: list[tuple[str, str]]) -> str:
        """Return the assignment from which most of the cells are; HandInError where it is a wrong one."""
        ids = {mark for mark, _ in cells}
        shared = {"introduction", SETUP}
        counts = {name: len(ids & (set(o) - shared)) for name, o in self.originals.items()}
        name = max(counts, key=counts.get)
        if not counts[name]:
            raise HandInError(
                "a wrong notebook: no cell of an assignment is in it (the course's own notebook, perhaps, "
                "or a copy whose cells lost their marks)"
            )
        if self.asked and name != self.asked:
            raise HandInError(f"a wrong notebook: this is {name}, and {self.asked} was asked for")
        return name

    def verdicts(self, name: str, cells: list[tuple[str, str]]) -> dict[str, Verdict]:
        """Run a hand-in's own cells between the original setup and the original checks."""
        originals, exercises = self.originals[name], self.points(name)
        steps = [Step("", originals[SETUP].source)]
        places = {mark: place for place, (mark, _) in enumerate(cells)}  # of doubles, the last
        notes: dict[str, list[str]] = {exercise: [] for exercise in exercises}
        for place, (mark, source) in enumerate(cells):
            original = originals.get(mark)
            if original is None or not original.metadata.nbgrader.locked:
                steps.append(Step(mark.removesuffix("_attempt") if original else "", source))
            elif mark == SETUP and source.strip() != original.source:
                for said in notes.values():
                    said.append("the first cell was changed, and the original used")
            elif mark in exercises:
                if source.strip() != original.source:
                    notes[mark].append("its check was changed, and the original used")
                if place == places[mark]:
                    steps.append(Step(mark))
        for exercise in exercises:
            if exercise not in places:
                notes[exercise].append("its check was missing, and the original used")
                steps.append(Step(exercise))
        verdicts = run_steps(steps, self.limits)
        if steps[0].error:
            raise OSError(f"the assignment's own first cell fails here: {steps[0].error}")
        for exercise, verdict in verdicts.items():
            own = [step for step in steps[1:] if step.source and step.exercise in ("", exercise)]
            if not verdict.passed:
                errors = [
                    f"{'its' if step.exercise else 'another'} cell: {step.error}"
                    for step in own
                    if step.error
                ]
                verdict.notes += dict.fromkeys(errors)
            elif any(re.search(r"llm_course\.exercises|\.reference\b", s.source) for s in own):
                notes[exercise].append(
                    "LOOK: a cell uses llm_course.exercises, where solutions are"
                )
            verdict.notes += notes[exercise]
        return verdicts


def read(path: Path | None) -> list[tuple[str, str]]:
    """Return the code cells of a file that nobody need trust: grade id ("" for none) and source.

    HandInError for what its student has to answer for; OSError where we may not read it.
    """
    if path is None:
        raise HandInError("no notebook (.ipynb) was handed in; links are not followed")
    if path.is_dir():
        raise PermissionError(f"the folder {path.name} may not be looked into")
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if not raw.strip():
        raise HandInError("the file is empty")
    if len(raw) > LARGEST:
        raise HandInError(f"the file is larger than {LARGEST // 10**6} MB")
    try:
        notebook = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise HandInError("the file is damaged: it is no JSON") from None
    try:
        notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        return [
            (str(cell.metadata.get("nbgrader", {}).get("grade_id", "")), "".join(cell.source))
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]
    except Exception:  # whatever the library says to what is no notebook
        raise HandInError("the file is damaged: it is JSON, but no notebook") from None


def harmless(value: object) -> object:
    """Return a text that no spreadsheet takes for a formula, in one line."""
    if not isinstance(value, str):
        return value
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", value).strip()
    line = line if len(line) <= 600 else f"{line[:600]}…"
    return f"'{line}" if re.match(r"[=+\-@＝＋－＠]", line) else line


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a new file, which spreadsheets open with the right letters (UTF-8 with its mark).

    Each row is in the file as soon as it is there, so that what comes later cannot cost it.
    """
    with path.open("x", encoding="utf-8-sig", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([harmless(value) for value in row])
            file.flush()


def totals(rows: list[Row]) -> list[tuple[str, str, int, int, str]]:
    """Return a line for each student and assignment; of several hand-ins, the one with most points."""
    lines = []
    for student, name in dict.fromkeys((row.student, row.assignment) for row in rows):
        own = [row for row in rows if (row.student, row.assignment) == (student, name)]
        sums = {row.notebook: 0 for row in own}
        for row in own:
            sums[row.notebook] += row.points
        best = max(sums, key=sums.get)
        most = sum(row.most for row in own if row.notebook == best)
        notes = [f"the best of {len(sums)} notebooks"] if len(sums) > 1 else []
        said = {row.happened for row in own if row.notebook == best}
        if not sums[best] and len(said) == 1:  # one reason for all
            notes += said
        ungraded = {row.happened for row in own if row.happened.startswith(NOT_GRADED)}
        notes += sorted(ungraded - set(notes))
        lines.append((student, name, sums[best], most, "; ".join(notes)))
    return lines


def main() -> int:
    """Read the command line, grade, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("handed_in", type=Path)
    parser.add_argument("grades", type=Path, help="a file to be written (CSV)")
    parser.add_argument("--summary", type=Path, help="another one: a line for each student")
    parser.add_argument(
        "--assignment", default="", help="which was asked for; others get no points"
    )
    parser.add_argument("--timeout", type=float, default=120, help="seconds a notebook (120)")
    parser.add_argument(
        "--memory", type=int, default=4, help="GB for a process besides PyTorch; not on Windows (4)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at the same time (1)")
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text at all
        stream.reconfigure(errors="backslashreplace")
    outputs = [path for path in (options.grades, options.summary) if path]
    if not options.handed_in.is_dir():
        parser.error(f"{options.handed_in} is no folder; name the one with the hand-ins")
    if len({path.resolve() for path in outputs}) < len(outputs):
        parser.error("the grades and the summary are two files; give them two names")
    for path in outputs:
        if path.exists():
            parser.error(f"{path} is there already; move it, or name another file")
        if not path.parent.is_dir():
            parser.error(f"{path.parent} is no folder; make it first")
    if min(options.timeout, options.memory, options.jobs) < 1:
        parser.error("--timeout, --memory and --jobs must be 1 or more")
    try:
        grader = Grader(Limits(options.timeout, options.memory), options.assignment)
    except ValueError as error:
        parser.error(str(error))
    found = hand_ins(options.handed_in)
    if not found:
        parser.error(f"{options.handed_in} holds nothing that was handed in")
    rows: list[Row] = []
    pool = ThreadPoolExecutor(options.jobs)

    def table() -> Iterator[tuple[object, ...]]:
        for own in pool.map(lambda hand_in: grader.rows(options.handed_in, hand_in), found):
            rows.extend(own)
            points, most = sum(row.points for row in own), sum(row.most for row in own)
            print(harmless(f"{own[0].student}: {points} of {most} ({own[0].notebook})"), flush=True)
            for r in own:
                yield r.student, r.notebook, r.exercise, r.points, r.most, r.happened

    is_stopped = False
    try:
        write_table(options.grades, COLUMNS, table())
    except KeyboardInterrupt:
        is_stopped = True
    finally:  # after Ctrl-C, too: only those that are running are waited for
        pool.shutdown(cancel_futures=True)
    if options.summary:
        columns = ("student", "assignment", "points", "max points", "note")
        write_table(options.summary, columns, totals(rows))
    if is_stopped:
        print(f"error: stopped; {options.grades} holds what was graded until then", file=sys.stderr)
        return 1
    ungraded = sorted({row.student for row in rows if row.happened.startswith(NOT_GRADED)})
    if ungraded:
        print(
            f"error: could not be graded: {', '.join(ungraded)}; the table says why",
            file=sys.stderr,
        )
    return 1 if ungraded else 0


if __name__ == "__main__":
    sys.exit(main())
