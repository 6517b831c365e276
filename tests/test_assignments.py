"""What students are handed: each exercise once, with points, without a solution; and how it is graded."""

import csv
import importlib
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from llm_course.exercises import EXERCISES, Question, ask, examine, show_solution

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def tools():
    """The tools that work together here; they import each other."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(ROOT / "tools")
        names = ("assignments", "attempt", "grading", "grade")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def grader(tools):
    return tools.grade.Grader(tools.grading.Limits())


@pytest.fixture(scope="module")
def asked(tools):
    return tools.grade.Grader(tools.grading.Limits(), "02_bigram")


def cells(path):
    return nbformat.read(path, as_version=4).cells


def marks(cell):
    return cell.metadata.nbgrader


def solutions_of(notebook):
    return [cell for cell in notebook.cells if marks(cell).solution]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_copy_is_as_nbgrader_wants_it(tools, path):
    notebook = tools.assignments.assignment(path)
    nbformat.validate(notebook)
    ids = [marks(cell).grade_id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"\w+", name) for name in ids)
    assert len({cell.id for cell in notebook.cells}) == len(ids)
    for cell in notebook.cells:
        assert marks(cell).schema_version == 3 and marks(cell).cell_type == cell.cell_type
        assert marks(cell).locked != marks(cell).solution
        assert ("points" in marks(cell)) == marks(cell).grade
        assert cell.metadata.get("editable", True) != marks(cell).locked
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_copy_gives_no_solution_away(tools, path):
    notebook = tools.assignments.assignment(path)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"<details|open your choice|show_solution|\bask\(", text)
    prose = "\n".join(cell.source for cell in cells(path) if cell.cell_type == "markdown")
    for answer in re.findall(r"</summary>(.*?)</details>", prose, re.DOTALL):
        assert answer.strip()[:40] not in text
    for cell in solutions_of(notebook):
        exercise = EXERCISES[marks(cell).grade_id.removesuffix("_attempt")]
        if isinstance(exercise, Question):
            assert cell.source.startswith(f"{exercise.name} = ...")
            assert not any(reason in text for _, reason in exercise.options.values())
            assert all(f"- {x}: {said}" in text for x, (said, _) in exercise.options.items())
        else:
            names = {"nn": torch.nn, "torch": torch}
            exec(cell.source, names)
            assert not examine(exercise, names[exercise.name]).attempted


def test_every_exercise_is_there_once_and_a_point_is_a_minute(tools, grader):
    found = {}
    for path in NOTEBOOKS:
        points = grader.points(path.stem)
        assert points and not set(points) & set(found)
        assert {EXERCISES[name].notebook for name in points} == {path.stem}
        found |= points
    assert found == {name: exercise.minutes for name, exercise in EXERCISES.items()}


def test_a_notebook_whose_exercise_is_solved_or_unnumbered_is_refused(tools, tmp_path):
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    place = next(i for i, cell in enumerate(notebook.cells) if 'check("n_windows"' in cell.source)
    path = tmp_path / "changed.ipynb"

    def change(place, old, new):
        assert old in notebook.cells[place].source
        notebook.cells[place].source = notebook.cells[place].source.replace(old, new, 1)
        nbformat.write(notebook, path)

    change(place, "...", "return len(tokens) - T")
    with pytest.raises(ValueError, match="n_windows holds code in place of the dots"):
        tools.assignments.tasks_of(path, cells(path))
    change(place, "return len(tokens) - T", "...")
    assert tools.assignments.tasks_of(path, cells(path))
    change(place - 1, "*(5 minutes)*", "*(6 minutes)*")
    with pytest.raises(ValueError, match="before n_windows does not begin with"):
        tools.assignments.tasks_of(path, cells(path))


def test_what_a_teacher_has_changed_is_not_overwritten(tools, tmp_path):
    files = tools.assignments.write(tmp_path)
    assert len(files) == 1 + 2 * len(NOTEBOOKS)
    assert tools.assignments.write(tmp_path) == files
    copy = tmp_path / "02_bigram.ipynb"
    assert (
        copy.read_bytes() == (tmp_path / "nbgrader/source/02_bigram/02_bigram.ipynb").read_bytes()
    )
    copy.write_text("mine", encoding="utf-8")
    files[-1].unlink()
    with pytest.raises(FileExistsError, match=r"02_bigram\.ipynb is there already and differs"):
        tools.assignments.write(tmp_path)
    assert copy.read_text(encoding="utf-8") == "mine" and not files[-1].exists()


def test_in_an_assignment_solutions_and_reasons_stay_closed(monkeypatch, capsys):
    monkeypatch.setenv("LLM_COURSE_STRICT", "1")
    show_solution("windows")
    said = capsys.readouterr().out
    assert "no solution is shown" in said and "return" not in said
    shown = ask("two_guessers").data
    question = EXERCISES["two_guessers"]
    assert not any(reason in shown for _, reason in question.options.values())
    assert "Right" not in shown and shown.count("<li>") == len(question.options)


def test_students_are_kept_apart_however_they_hand_in(tools, tmp_path):
    for name in (
        *("anna.ipynb", "anna/02.ipynb", "Zoë Öz_17_assignsubmission_file/02_bigram.ipynb"),
        *("Zoë Öz_18_assignsubmission_file/02_bigram.ipynb", "bob/02_bigram/02_bigram.ipynb"),
        *("bob/.ipynb_checkpoints/02-checkpoint.ipynb", "__MACOSX/x.ipynb", "carl/essay.pdf"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dora.IPYNB").touch()
    (tmp_path / "thief").mkdir()
    (tmp_path / "thief" / "02.ipynb").symlink_to(tmp_path / "anna.ipynb")
    found = [
        (one.student, one.path and one.path.relative_to(tmp_path).as_posix())
        for one in tools.grade.hand_ins(tmp_path)
    ]
    assert found == [
        ("Zoë Öz_17_assignsubmission_file", "Zoë Öz_17_assignsubmission_file/02_bigram.ipynb"),
        ("Zoë Öz_18_assignsubmission_file", "Zoë Öz_18_assignsubmission_file/02_bigram.ipynb"),
        ("anna", "anna/02.ipynb"),
        ("anna.ipynb", "anna.ipynb"),
        ("bob", "bob/02_bigram/02_bigram.ipynb"),
        ("carl", None),
        ("dora", "dora.IPYNB"),
        ("thief", None),
    ]


BROKEN = {
    "empty": (b" \n", "the file is empty"),
    "cut": (b'{"cells": [', "damaged: it is no JSON"),
    "deep": (b"[" * 100_000, "damaged: it is no JSON"),
    "binary": (b"\x89PNG\xff\x00", "damaged: it is no JSON"),
    "number": (b"7", "JSON, but no notebook"),
    "no list": (b'{"nbformat": 4, "nbformat_minor": 5, "cells": 3, "metadata": {}}', "no notebook"),
    "foreign": (NOTEBOOKS[1].read_bytes(), "a wrong notebook: no cell of an assignment is in it"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_hand_in_is_named_and_costs_its_student_alone(
    tools, grader, asked, tmp_path, kind
):
    path = tmp_path / "x.ipynb"
    path.write_bytes(BROKEN[kind][0])
    (row,) = grader.rows(tmp_path, tools.grade.HandIn("x", path))
    assert BROKEN[kind][1] in row.happened and (row.points, row.most) == (0, 0)
    rows = asked.rows(tmp_path, tools.grade.HandIn("x", path))
    assert sum(row.most for row in rows) == 45 and not any(row.points for row in rows)
    assert all(BROKEN[kind][1] in row.happened for row in rows)


def test_another_assignment_than_the_one_asked_for_is_a_wrong_one(tools, asked, tmp_path):
    nbformat.write(tools.assignments.assignment(NOTEBOOKS[1]), tmp_path / "x.ipynb")
    row, *_ = asked.rows(tmp_path, tools.grade.HandIn("x", tmp_path / "x.ipynb"))
    assert (
        row.happened == "a wrong notebook: this is 01_text_to_tokens, and 02_bigram was asked for"
    )
    with pytest.raises(ValueError, match="there is no assignment 02_bigran"):
        tools.grade.Grader(tools.grading.Limits(), "02_bigran")


def test_values_come_through_and_forged_ones_equal_nothing(tools):
    encode, decode = tools.attempt.encode, tools.attempt.decode
    for exercise in EXERCISES.values():
        if not isinstance(exercise, Question):
            wanted = [exercise.reference(*inputs) for inputs in tools.attempt.draw(exercise, 3)]
            passed = json.loads(json.dumps([encode(value) for value in wanted]))
            reply = {"said": "", "attempted": True, "values": passed}
            assert tools.grading.judge(exercise.name, reply, 3).said == "right", exercise.name
            other = [exercise.reference(*inputs) for inputs in tools.attempt.draw(exercise, 4)]
            reply["values"] = [encode(value) for value in other]
            assert not tools.grading.judge(exercise.name, reply, 3).passed, exercise.name
    for forged in (
        *({"kind": "float32", "shape": [10**12], "raw": "AAAA"}, {"kind": "os", "shape": [1]}),
        *({"kind": "int64", "shape": [-1, -1], "raw": "AAAAAAAAAAA="}, {"raw": 3}, {}),
        {"kind": "float32", "shape": ["x"], "raw": "&&&"},
    ):
        assert isinstance(decode(forged), tools.attempt.Unreadable)
    for value in (None, 7, {"said": []}, [[[[]]]], "right", [10**400] * 3):
        reply = {"said": "windows: right.", "attempted": True, "values": value}
        assert not tools.grading.judge("windows", reply, 3).passed
        assert not tools.grading.judge("loss_in_bits", reply, 3).passed
    assert encode(torch.ones(2).to_sparse()) == encode(object()) == {}
    assert decode(encode(torch.zeros(0, 3))).shape == (0, 3)


def test_a_table_holds_no_formula_and_replaces_nothing(tools, tmp_path):
    path = tmp_path / "grades.csv"
    cells = ["=1+1", "+1", "-1", "@x", " \t=1", "Zoë", "a\nb\0", "x" * 700, 5]
    tools.grade.write_table(path, ["a"], [cells])
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        _, read = csv.reader(file)
    assert read == ["'=1+1", "'+1", "'-1", "'@x", "'=1", "Zoë", "a b", "x" * 600 + "…", "5"]
    with pytest.raises(FileExistsError):
        tools.grade.write_table(path, ["a"], [])


def test_a_failure_of_the_grading_itself_is_not_silently_no_points(
    tools, tmp_path, monkeypatch, capsys
):
    def no_process(*arguments):
        raise OSError("no more processes")

    (tmp_path / "in").mkdir()
    for student in ("anna", "bob"):
        path = tmp_path / "in" / f"{student}.ipynb"
        nbformat.write(tools.assignments.assignment(NOTEBOOKS[1]), path)
    monkeypatch.setattr(tools.grade, "run_steps", no_process)
    monkeypatch.setattr("sys.argv", ["grade.py", str(tmp_path / "in"), str(tmp_path / "out.csv")])
    assert tools.grade.main() == 1
    assert "could not be graded: anna, bob" in capsys.readouterr().err
    assert (
        "NOT GRADED, look at it: OSError: no more processes" in (tmp_path / "out.csv").read_text()
    )


def test_what_we_may_not_read_is_not_graded_and_no_zero(tools, asked, tmp_path, monkeypatch):
    for student in ("anna", "bob"):
        (tmp_path / student / "02").mkdir(parents=True)
        (tmp_path / student / "02" / "x.ipynb").touch()
    access = os.access
    monkeypatch.setattr(
        tools.grade.os, "access", lambda place, how: "bob" not in str(place) and access(place, how)
    )
    (_, empty), (student, closed) = [
        (one.student, asked.rows(tmp_path, one)[0]) for one in tools.grade.hand_ins(tmp_path)[:2]
    ]
    assert empty.happened == "the file is empty" and student == "bob"
    assert closed.happened.startswith("NOT GRADED, look at it: PermissionError: the folder bob may")


def test_grades_that_are_done_outlive_an_interruption(tools, tmp_path, monkeypatch, capsys):
    def stops_at_bob(folder, hand_in):
        if hand_in.student == "bob":
            raise KeyboardInterrupt
        return [tools.grade.Row(hand_in.student, "x", "01", "y", 5, 5, "right")]

    (tmp_path / "in").mkdir()
    for student in ("anna", "bob", "carl"):
        (tmp_path / "in" / f"{student}.ipynb").touch()
    monkeypatch.setattr(
        tools.grade, "Grader", lambda limits, asked: SimpleNamespace(rows=stops_at_bob)
    )
    outputs = [tmp_path / name for name in ("out.csv", "totals.csv")]
    arguments = ["grade.py", tmp_path / "in", outputs[0], "--summary", outputs[1]]
    monkeypatch.setattr("sys.argv", [*map(str, arguments)])
    assert tools.grade.main() == 1
    assert "stopped; " in capsys.readouterr().err
    for output in outputs:
        text = output.read_text()
        assert "anna" in text and "bob" not in text and "carl" not in text


def test_where_our_own_first_cell_fails_nobody_is_graded(tools, grader, tmp_path, monkeypatch):
    def fails_first(steps, limits):
        steps[0].error = "ModuleNotFoundError: No module named 'torch'"
        return {}

    nbformat.write(tools.assignments.assignment(NOTEBOOKS[1]), tmp_path / "x.ipynb")
    monkeypatch.setattr(tools.grade, "run_steps", fails_first)
    row, *_ = grader.rows(tmp_path, tools.grade.HandIn("x", tmp_path / "x.ipynb"))
    assert row.happened.startswith("NOT GRADED") and "own first cell fails here" in row.happened


def test_a_flood_of_foreign_replies_ends_in_time(tools):
    class Flood:
        def get(self, timeout):
            return b'{"number": 99}'

    process = tools.grading.StudentProcess.__new__(tools.grading.StudentProcess)
    process.replies, process.number = Flood(), 1
    with pytest.raises(tools.grading.GoneError, match="was not done after 0 s"):
        process._wait(0.05)


def test_of_several_notebooks_the_best_counts(tools):
    rows = [
        tools.grade.Row("anna", file, name, exercise, points, 5, "")
        for file, name, exercise, points in (
            *(("1.ipynb", "01", "x", 5), ("1.ipynb", "01", "y", 0)),
            *(("2.ipynb", "01", "x", 5), ("2.ipynb", "01", "y", 5), ("3.ipynb", "02", "z", 0)),
        )
    ]
    rows.append(tools.grade.Row("carl", "", "", "", 0, 0, "no notebook"))
    rows += [tools.grade.Row("dora", "", "01", name, 0, 5, "no notebook") for name in "xy"]
    failed = f"{tools.grade.NOT_GRADED}: OSError"
    rows += [tools.grade.Row("emil", "1.ipynb", "01", name, 0, 5, failed) for name in "xy"]
    rows += [tools.grade.Row("emil", "2.ipynb", "01", name, 5, 5, "right") for name in "xy"]
    assert tools.grade.totals(rows) == [
        ("anna", "01", 10, 10, "the best of 2 notebooks"),
        ("anna", "02", 0, 5, ""),
        ("carl", "", 0, 0, "no notebook"),
        ("dora", "01", 0, 10, "no notebook"),
        ("emil", "01", 10, 10, f"the best of 2 notebooks; {failed}"),
    ]


def test_the_command_line_says_what_is_wrong(tools, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "old.csv").write_text("grades of last year")

    def said(*arguments):
        monkeypatch.setattr("sys.argv", ["grade.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            tools.grade.main()
        assert caught.value.code == 2
        return capsys.readouterr().err

    assert "is no folder; name the one" in said(tmp_path / "no", tmp_path / "new.csv")
    assert "is there already" in said(tmp_path / "in", tmp_path / "old.csv")
    assert "make it first" in said(tmp_path / "in", tmp_path / "no" / "new.csv")
    assert "nothing that was handed in" in said(tmp_path / "in", tmp_path / "new.csv")
    same = tmp_path / "new.csv"
    assert "give them two names" in said(tmp_path / "in", same, "--summary", same)
    assert "1 or more" in said(tmp_path / "in", tmp_path / "new.csv", "--timeout=0")
    assert "no assignment 2" in said(tmp_path / "in", tmp_path / "new.csv", "--assignment=2")
    assert (tmp_path / "old.csv").read_text() == "grades of last year"
