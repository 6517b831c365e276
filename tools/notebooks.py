"""Execute the course's notebooks: to test them, to save them, or to have them run from end to end.

python tools/notebooks.py test [--practice]   nbval: strict on Tiny Shakespeare, lax on the practice corpus
python tools/notebooks.py course              executed copies and a summary table in _build/
python tools/notebooks.py save [FILE …]       execute, normalise and save in place (authors)
"""

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from llm_course.data import load_corpus

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT = 900  # seconds; the longest training takes 100 on two free cores
PICTURE_TAG = "readme-picture"  # a cell whose picture stands in the README


def execute(path: Path) -> tuple[nbformat.NotebookNode, float, str]:
    """Run a notebook from a fresh kernel; return it, the seconds, and what went wrong ("" if nothing)."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # and lines that were rewritten keep their last writing
        extra_arguments=["--log-level=40"],  # errors only
        resources={"metadata": {"path": str(path.parent)}},
    )
    started = time.perf_counter()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return notebook, time.perf_counter() - started, str(error)
    return notebook, time.perf_counter() - started, ""


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Drop what differs from run to run or from machine to machine and tells a reader nothing."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {
            key: cell.metadata[key] for key in ("slideshow", "tags") if key in cell.metadata
        }
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            output
            for output in cell.outputs
            if output.output_type != "stream" or output.text.strip()
        ]


def test(practice: bool) -> int:
    """Run nbval over all notebooks and return its exit status."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # two workers, one thread each
    with tempfile.TemporaryDirectory() as empty:
        if practice:
            environment |= {
                "LLM_COURSE_DATA": "",
                "LLM_COURSE_CACHE": empty,
                "LLM_COURSE_OFFLINE": "1",
            }
        strict = not practice and load_corpus().name == "Tiny Shakespeare"
        if strict:
            print("nbval, strict: every output is compared with the saved one", flush=True)
        else:
            print(
                "nbval, LAX: on the practice corpus outputs differ from the saved ones, so that only "
                "errors and failed assertions count",
                flush=True,
            )
        return subprocess.call(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
                "--no-loadscope-reorder",
                "--nbval" if strict else "--nbval-lax",
                f"--nbval-cell-timeout={CELL_TIMEOUT}",
                "--durations=5",
                # The later ones are the long ones: they go first, so that both workers end together.
                *map(str, reversed(NOTEBOOKS)),
            ],
            cwd=ROOT,
            env=environment,
        )


def course() -> int:
    """Execute every notebook, keep going when one fails, and return 1 if any did."""
    build = ROOT / "_build"
    (build / "notebooks").mkdir(parents=True, exist_ok=True)
    corpus = load_corpus()
    if not NOTEBOOKS:
        print("error: there is no notebook to execute", file=sys.stderr)
        return 1
    table = ["| notebook | code cells | seconds | result |", "|---|---:|---:|---|"]
    problems = []
    for path in NOTEBOOKS:
        notebook, seconds, problem = execute(path)
        nbformat.write(notebook, build / "notebooks" / path.name)
        n_code = sum(cell.cell_type == "code" for cell in notebook.cells)
        result = "failed" if problem else "passed"
        table.append(f"| {path.stem} | {n_code} | {seconds:.1f} | {result} |")
        print(f"{path.stem}: {result} in {seconds:.1f} s", flush=True)
        if problem:
            problems.append(f"{path.stem} failed:\n{problem}")
    summary = "\n".join([f"Corpus: {corpus.name}", "", *table, ""])
    (build / "summary.md").write_text(summary, encoding="utf-8")
    print(f"\n{summary}")
    print(*problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


def save(paths: list[Path]) -> int:
    """Execute notebooks and write them back normalised, each only if it ran through."""
    corpus = load_corpus()
    if corpus.name != "Tiny Shakespeare":
        print(
            "error: notebooks are saved on Tiny Shakespeare; set LLM_COURSE_DATA", file=sys.stderr
        )
        return 1
    failed = 0
    for path in paths or NOTEBOOKS:
        notebook, seconds, problem = execute(path)
        if problem:
            print(f"{path.name} failed and stays as it was:\n{problem}", file=sys.stderr)
            failed = 1
            continue
        normalise(notebook)
        nbformat.write(notebook, path)
        _save_pictures(notebook, path.stem)
        print(f"{path.name}: saved, {seconds:.1f} s", flush=True)
    return failed


def _save_pictures(notebook: nbformat.NotebookNode, stem: str) -> None:
    for cell in notebook.cells:
        if PICTURE_TAG in cell.metadata.get("tags", []):
            picture = next(
                o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})
            )
            target = ROOT / "images" / f"{stem}.png"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(base64.b64decode(picture))


def main() -> int:
    """Read the command line and run what it names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    tester = commands.add_parser("test")
    tester.add_argument("--practice", action="store_true", help="as without network and data")
    commands.add_parser("course")
    commands.add_parser("save").add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args()
    if os.environ.get("LLM_COURSE_DATA"):  # kernels start in another folder
        os.environ["LLM_COURSE_DATA"] = str(
            Path(os.environ["LLM_COURSE_DATA"]).expanduser().resolve()
        )
    with tempfile.TemporaryDirectory() as empty:  # nobody's exercises are done here
        os.environ["LLM_COURSE_PROGRESS"] = str(Path(empty) / "progress.json")
        if options.command == "test":
            return test(options.practice)
        return course() if options.command == "course" else save(options.paths)


if __name__ == "__main__":
    sys.exit(main())
