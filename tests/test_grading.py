"""Hand-ins are graded: right ones get all their points, and what a student does costs only that one."""

import csv
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import nbformat
import pytest

from llm_course.exercises import EXERCISES, Question, find

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
RIGHT = {
    "windows": """\
def windows(tokens, starts, T):
    places = starts[:, None] + torch.arange(T)
    return tokens[places], tokens[places + 1]""",
    "n_windows": "def n_windows(tokens, T):\n    return len(tokens) - T",
    "loss_in_bits": """\
def loss_in_bits(chances, tokens):
    return -chances[tokens].log2().mean()""",
    "two_guessers": 'two_guessers = "A"',
}
POINTS = {"windows": 5, "n_windows": 5, "loss_in_bits": 10, "two_guessers": 5}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assignments")
    subprocess.run([sys.executable, TOOLS / "assignments.py", folder], check=True, cwd=ROOT)
    return folder


def grade(folder, *options):
    """Return the table as {notebook: {exercise: (points, what happened)}}, and the totals by student."""
    grades, totals = (folder.with_name(f"{folder.name}-{name}.csv") for name in ("rows", "totals"))
    command = [sys.executable, TOOLS / "grade.py", folder, grades, "--summary", totals, *options]
    subprocess.run([*command, "--jobs=2"], check=True)
    found = {}
    with grades.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            assert int(row["points"]) in (0, int(row["max points"]))
            said = int(row["points"]), row["what happened"]
            found.setdefault(row["notebook"], {})[row["exercise"]] = said
    with totals.open(encoding="utf-8-sig", newline="") as file:
        sums = {row["student"]: (row["points"], row["max points"]) for row in csv.DictReader(file)}
    return found, sums


def hand_in(original, target, solutions, before="", after="", change=None):
    """Write a copy with these solutions, and with cells of the student's own before and after the rest."""
    notebook = nbformat.read(original, as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.nbgrader.grade_id
        if name.endswith("_attempt"):
            cell.source = solutions.get(name.removesuffix("_attempt"), cell.source)
    if before:
        notebook.cells.insert(1, nbformat.v4.new_code_cell(before))
    if after:
        notebook.cells.append(nbformat.v4.new_code_cell(after))
    if change:
        change(notebook.cells)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def reference(name):
    exercise = find(name)
    if isinstance(exercise, Question):
        return f'{name} = "{exercise.right}"'
    return f'from llm_course.exercises import find\n{name} = find("{name}").reference'


def test_solved_copies_get_all_points_untouched_ones_none_and_a_mistake_its_hint(copies, tmp_path):
    everything = {name: reference(name) for name in EXERCISES}
    mistakes = {}
    folder = tmp_path / "in"
    for original in sorted(copies.glob("*.ipynb")):
        exercises = [e for e in EXERCISES.values() if e.notebook == original.stem]
        function = next(e for e in exercises if not isinstance(e, Question))
        mistakes[function.name] = function.mistakes[0]
        wrong = (
            "from llm_course.exercises import find\n"
            f'{function.name} = find("{function.name}").mistakes[0].wrong'
        )
        hand_in(original, folder / original.stem / "solved.ipynb", everything)
        hand_in(original, folder / original.stem / "wrong.ipynb", {function.name: wrong})
    found, totals = grade(folder)
    assert len(totals) == 18 and all(points == most for points, most in totals.values())
    solved = {
        name: row for path, rows in found.items() if "solved" in path for name, row in rows.items()
    }
    assert set(solved) == set(EXERCISES)
    for name, (points, said) in solved.items():
        assert points == EXERCISES[name].minutes and said.startswith("right"), name
        assert ("LOOK: " in said) != isinstance(EXERCISES[name], Question), "it uses the solutions"
    for path, rows in found.items():
        for name, (points, said) in rows.items() if "wrong" in path else ():
            assert points == 0
            assert said == (
                " ".join(mistakes[name].hint.split()) if name in mistakes else "not attempted"
            )


MARK = "a process of the test of tools/grade.py"
BOMB = f"""\
import subprocess, sys
code = "import time; time.sleep(300)  # {MARK}"
for _ in range(30):
    subprocess.Popen([sys.executable, "-c", code])
import os
if hasattr(os, "fork"):
    for _ in range(5):
        os.fork()
while True:
    pass"""
PATCH = """\
import sys, llm_course.exercises as e
c, o = (sys.modules[f"llm_course.exercises.{name}"] for name in ("check", "comparison"))
def yes(exercise, attempt, seed=None):
    return Result(True, "right.")
c.examine.__code__ = yes.__code__
o.equal.__code__ = (lambda value, wanted: True).__code__
e.check = check = lambda *anything: c.Result(True, "right.")
e.find("n_windows").reference.__code__ = (lambda tokens, T: 0).__code__"""
FORGED = """\
import json, os
for number in range(40):
    line = json.dumps({"number": number, "said": "right", "attempted": True, "values": [1, 1, 1]})
    for channel in range(3, 12):
        try:
            os.write(channel, (line + "\\n").encode())
        except OSError:
            pass"""


def without(*names):
    def change(cells):
        cells[:] = [cell for cell in cells if cell.metadata.nbgrader.grade_id not in names]

    return change


def every_check(source):
    def change(cells):
        for cell in cells:
            if cell.metadata.nbgrader.grade:
                cell.source = source

    return change


def set_up_anew(cells):
    for cell in cells:
        if cell.metadata.nbgrader.grade_id == "setup":
            cell.source += "\nimport random"


def renamed(cells):
    for cell in cells:
        name = cell.metadata.nbgrader.grade_id
        if name in ("windows_attempt", "n_windows"):
            cell.metadata.nbgrader.grade_id = f"my_{name}"


def doubled(cells):
    cells.insert(3, nbformat.from_dict({**cells[3], "id": "another"}))


ABUSES = {  # name: (what is handed in, more of it, what gets no points, what is said of n_windows)
    "exits": ({"n_windows": "import sys\nsys.exit()"}, {}, {"n_windows"}, "its cell: SystemExit"),
    "kills": (
        {"n_windows": "import os\nos._exit(0)"},
        {},
        {"n_windows"},
        "ended the whole process",
    ),
    "loops": ({"n_windows": "while True: pass"}, {}, {"n_windows"}, "s, and was stopped"),
    "raises": ({"n_windows": "1 / 0"}, {}, {"n_windows"}, "its cell: ZeroDivisionError: division"),
    "mistypes": ({"n_windows": "def n_windows(:"}, {}, {"n_windows"}, "its cell: SyntaxError"),
    "kills when called": (
        {"n_windows": "def n_windows(tokens, T):\n    import os; os._exit(0)"},
        *({}, {"n_windows"}, "it ended the whole process"),
    ),
    "loops when called": (
        {"n_windows": "def n_windows(tokens, T):\n    while True: pass"},
        *({}, {"n_windows"}, "Does a loop in it never end?"),
    ),
    "crashes": (
        {"n_windows": "def n_windows(tokens, T):\n    import ctypes; ctypes.string_at(0)"},
        *({}, {"n_windows"}, "it ended the whole process"),
    ),
    "bombs": ({"n_windows": BOMB}, {}, {"n_windows"}, "s, and was stopped"),
    "shouts": (
        {"n_windows": RIGHT["n_windows"] + "\nfor _ in range(2000): print('x' * 10**6)"},
        *({}, set(), "right"),
    ),
    "hoards": ({"n_windows": "x = bytearray(10**11)"}, {}, {"n_windows"}, "its cell: MemoryError"),
    "fills the disk": (
        {"n_windows": "with open('big', 'wb') as f:\n    f.write(bytes(2 * 10**8))"},
        *({}, {"n_windows"}, "its cell: OSError"),
    ),
    "asks": ({"n_windows": "input('your name?')"}, {}, {"n_windows"}, "its cell: EOFError"),
    "deletes checks": (
        *(RIGHT, {"change": without("windows", "n_windows")}, set()),
        "right; its check was missing, and the original used",
    ),
    "edits the first cell": (
        *({"n_windows": "n_windows = lambda tokens, T: random.choice([0])"},),
        *({"change": set_up_anew}, {"n_windows"}, "the first cell was changed, and the original"),
    ),
    "deletes a cell": (
        *(RIGHT, {"change": without("n_windows_attempt", "setup")}, {"n_windows"}),
        "there is no n_windows",
    ),
    "renames": (RIGHT, {"change": renamed}, set(), "right; its check was missing"),
    "doubles": (RIGHT, {"change": doubled}, set(), "right"),
    "edits checks": (
        {"n_windows": "def n_windows(tokens, T):\n    return 0"},
        {"change": every_check("print('n_windows: right.')")},
        *({"n_windows"}, "its check was changed, and the original used"),
    ),
    "redefines check": (
        {"n_windows": "def n_windows(tokens, T):\n    return 0"},
        *(
            {"before": "check = print", "after": "check = print"},
            {"n_windows"},
            "the result should be",
        ),
    ),
    "patches the package": (
        {"n_windows": "def n_windows(tokens, T):\n    return 0"},
        {
            "before": PATCH,
            "change": lambda cells: cells.insert(3, nbformat.v4.new_code_cell(PATCH)),
        },
        *({"n_windows"}, "it was called right, but its results are not"),
    ),
    "forges replies": (
        {"n_windows": FORGED, "loss_in_bits": "def loss_in_bits(chances, tokens):\n    return 1"},
        *({}, {"n_windows", "loss_in_bits", "two_guessers"}, "its results are not"),
    ),
    "closes files": ({"n_windows": "import os\nos.closerange(0, 99)"}, {}, {"n_windows"}, "ended"),
    "other numbers": (
        RIGHT,
        {"before": "import torch\ntorch.set_default_dtype(torch.float64)"},
        set(),
        "",
    ),
    "imports": (
        {"n_windows": "from helper import n_windows"},
        *({"before": f"%%writefile helper.py\n{RIGHT['n_windows']}"}, set(), "right"),
    ),
    "writes": (RIGHT, {"before": "open('grades.csv', 'w').write('100 points')"}, set(), "right"),
    "kills beside": (
        {"n_windows": ""},
        {"before": "import os\nos._exit(1)"},
        *({"n_windows"}, "there is no n_windows; another cell: it ended the whole process"),
    ),
    "magic": (
        RIGHT,
        {"before": "%matplotlib inline\n%time sum(range(9))\n!echo yes"},
        set(),
        "right",
    ),
    "=1+1": (RIGHT, {}, set(), "right"),
}
if os.name == "nt":  # where a process can be given no limits
    del ABUSES["fills the disk"]


def test_whatever_a_student_does_costs_only_them_and_only_that_exercise(copies, tmp_path):
    folder, original = tmp_path / "in", copies / "01_text_to_tokens.ipynb"
    hand_in(original, folder / "Zoë Öz_17" / "task.ipynb", RIGHT)
    hand_in(original, folder / "Zoë Öz_18" / "task.ipynb", {})
    for name, (solutions, more, _, _) in ABUSES.items():
        hand_in(original, folder / name / "task.ipynb", {**RIGHT, **solutions}, **more)
    (folder / "empty").mkdir()
    (folder / "empty" / "task.ipynb").touch()
    before = sorted(path for path in folder.rglob("*"))
    found, totals = grade(folder, "--timeout=60", "--memory=4")
    assert sorted(folder.rglob("*")) == before, "students' code has written where the hand-ins are"
    assert len(found) == len(before) // 2 and len(totals) == len(found)
    assert totals["Zoë Öz_17"] == ("25", "25") and totals["Zoë Öz_18"] == ("0", "25")
    assert totals["empty"] == ("0", "0")
    wrong = []
    for name, (_, _, lost, said) in ABUSES.items():
        rows = found[f"{chr(39) * name.startswith('=')}{name}/task.ipynb"]
        none = {exercise for exercise, (points, _) in rows.items() if not points}
        if none != lost or said not in rows["n_windows"][1]:
            wrong.append((name, none, rows))
    assert not wrong, json.dumps(wrong, indent=1, default=sorted)
    assert not (ROOT / "grades.csv").exists()
    if Path("/proc").is_dir():
        time.sleep(0.5)
        left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if MARK.encode() in _read(p)]
        assert not left, f"{len(left)} of its processes go on; this one is {os.getpid()}"


def _read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


NBGRADER = "0.9.6"
NAME = "01_text_to_tokens"
WITH_MISTAKES = RIGHT | {
    "n_windows": "def n_windows(tokens, T):\n    return len(tokens) - T + 1",
    "loss_in_bits": "def loss_in_bits(chances, tokens):\n    while True: pass",
    "two_guessers": 'two_guessers = "b"',
}
SCORES = """\
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    scores = {
        one.student.id: {grade.name: [grade.score, grade.max_score] for grade in one.notebooks[0].grades}
        for one in book.assignment_submissions("01_text_to_tokens")
    }
print(json.dumps(scores))"""


@pytest.fixture(scope="module")
def python():
    """A Python with nbgrader beside all that is installed here, kept in _build/ for the next time."""
    folder = ROOT / "_build" / f"nbgrader-{NBGRADER}"
    program = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        here = Path(paths["purelib"]) / "course.pth"
        here.write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
        install = [program, "-m", "pip", "install", "-q", "--retries=1", f"nbgrader=={NBGRADER}"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=400)
        if "No matching distribution" in done.stderr or "ConnectionError" in done.stderr:
            pytest.skip(f"nbgrader {NBGRADER} cannot be fetched: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    return program


def test_nbgrader_gives_the_same_points(python, copies, tmp_path):
    course = copies / "nbgrader"
    folder = course / "submitted"
    hand_ins = {"right": RIGHT, "untouched": {}, "with_mistakes": WITH_MISTAKES}
    for student, solutions in hand_ins.items():
        path = folder / student / NAME / f"{NAME}.ipynb"
        hand_in(copies / f"{NAME}.ipynb", path, solutions)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # it calls alembic by its name
        "PYTHONPATH": str(ROOT),
        "LLM_COURSE_PROGRESS": str(tmp_path / "progress.json"),
    }

    def run(*arguments):
        command = [python, *arguments]
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "nbgrader", "generate_assignment", NAME)
    made, original = (
        [cell.source for cell in nbformat.read(course / part / NAME / f"{NAME}.ipynb", 4).cells]
        for part in ("release", "source")
    )
    assert made == original, "nbgrader hands out what we hand out"
    run("-m", "nbgrader", "autograde", NAME)
    theirs = json.loads(run("-c", SCORES))
    ours, _ = grade(folder)
    assert {
        student: {name: [row[0], EXERCISES[name].minutes] for name, row in ours[path].items()}
        for student in hand_ins
        for path in (f"{student}/{NAME}/{NAME}.ipynb",)
    } == theirs
    sums = [sum(score for score, _ in theirs[student].values()) for student in hand_ins]
    assert sums == [25, 0, 5]
