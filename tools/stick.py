"""Put the course, what it needs and its text on a stick, for a room without internet.

python tools/stick.py FOLDER      FOLDER is the stick, or any folder outside of the course's

The packages fit the kind of computer and the Python that run this. Run it on one of each kind: their
packages lie side by side in one folder, and pip takes what fits.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from llm_course import __version__
from llm_course.download import CorpusError, copy_corpus

ROOT = Path(__file__).resolve().parent.parent
COURSE = "llm-course"  # the folder in the zip file
PAGES = {"site": ROOT / "_site", "slides": ROOT / "_build" / "slides"}  # go along if they are built
ENOUGH = 1_000_000_000  # bytes; with PyTorch's CPU build it took 343 million of them
INSTRUCTIONS = """\
LARGE LANGUAGE MODELS FROM SCRATCH, version {version}, without internet

You need: Python on the computer. The packages on this stick fit:
{fitting}

1. Unpack {course}.zip on the computer, and copy the folder data beside the folder
   {course} that came out of it: the one that holds README.md.
2. Open a terminal in that folder {course}. Below, put the path of this stick in place
   of STICK.

On Linux and macOS:

   python3 -m venv .venv
   .venv/bin/python -m pip install --no-index -f STICK/wheels -c constraints.txt -e '.[lab,test]'
   LLM_COURSE_DATA=../data .venv/bin/python tools/lab.py

On Windows, in PowerShell (STICK is perhaps E:):

   py -m venv .venv
   .venv\\Scripts\\python -m pip install --no-index -f STICK\\wheels -c constraints.txt -e ".[lab,test]"
   $env:LLM_COURSE_DATA = "..\\data"
   .venv\\Scripts\\python tools\\lab.py

The last line of each is the one to use from then on: JupyterLab opens on the first notebook.
(LLM_COURSE_DATA names the folder data. Without it the course runs on its practice corpus.)
{pages}"""


class StickError(RuntimeError):
    """Something that keeps the stick from being made; the message says what to do."""


def requirements() -> list[str]:
    """Return what the course needs to be installed, run and tested, as pyproject.toml names it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, extras = settings["project"], settings["project"]["optional-dependencies"]
    build = settings["build-system"]["requires"]
    return [*build, *project["dependencies"], *extras["lab"], *extras["test"]]


def check_stick(stick: Path) -> None:
    """Raise StickError where nothing should be written."""
    if not stick.is_dir():
        raise StickError(
            f"there is no folder {stick}. Plug the stick in, or make the folder first."
        )
    if ROOT in (stick.resolve(), *stick.resolve().parents):
        raise StickError(f"{stick} lies in the course's own folder. Choose one outside of it.")
    if (free := shutil.disk_usage(stick).free) < ENOUGH:
        raise StickError(
            f"{stick} has {free / 1e9:.1f} GB free, and {ENOUGH / 1e9:.0f} GB should be. "
            "Make room on it, or take a larger one."
        )


def course_files() -> Iterator[Path]:
    """Yield the course's files, without git's own and without what .gitignore names."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    ignored = [".git", *(line.rstrip("/") for line in lines)]
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not any(fnmatch(f, name) for name in ignored))
        for file in sorted(f for f in files if not any(fnmatch(f, name) for name in ignored)):
            yield Path(folder) / file


def write_course(stick: Path) -> None:
    """Write the course as one zip file: whole, or not at all."""
    target, partial = stick / f"{COURSE}.zip", stick / f"{COURSE}.zip.part"
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in course_files():
                archive.write(file, Path(COURSE) / file.relative_to(ROOT))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{target.name}: {target.stat().st_size / 1e6:.0f} MB")


def pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run this Python's pip; raise StickError where it fails. What it says is seen as it comes."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    command += ["-c", str(ROOT / "constraints.txt"), *requirements()]
    if subprocess.call(command, env=environment):
        raise StickError(
            f"`pip {arguments[0]}` failed; its own words are above. Look at the network, and run "
            "this again: what is on the stick already stays."
        )


def write_wheels(stick: Path, index: str) -> None:
    """Fetch every package as a wheel, and see that with these alone all can be installed."""
    wheels = stick / "wheels"
    extra = ["--extra-index-url", index] if index else []
    pip("wheel", "--quiet", "--wheel-dir", str(wheels), *extra)
    print("Trying whether these are enough, without the network …", flush=True)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    plain["PIP_CONFIG_FILE"] = os.devnull  # no other place that this machine's pip may know of
    local = ["--no-index", "--find-links", str(wheels)]
    pip("install", "--quiet", "--dry-run", "--ignore-installed", *local, environment=plain)
    size = sum(file.stat().st_size for file in wheels.glob("*.whl"))
    print(f"wheels: {len([*wheels.glob('*.whl')])} packages, {size / 1e6:.0f} MB")


def write_instructions(stick: Path) -> None:
    """Say on the stick what to do with it, and for which computers it is; earlier ones stay named."""
    kinds = stick / "wheels" / "fits.txt"
    version = ".".join(platform.python_version_tuple()[:2])
    here = f"{platform.system()}, {platform.machine()}, Python {version}"
    known = kinds.read_text(encoding="utf-8").splitlines() if kinds.exists() else []
    fitting = sorted({*known, here})
    kinds.write_text("\n".join([*fitting, ""]), encoding="utf-8")
    pages = ["   site/index.html"] if (stick / "site" / "index.html").exists() else []
    pages += [f"   slides/{deck.name}" for deck in sorted((stick / "slides").glob("*.html"))]
    text = INSTRUCTIONS.format(
        version=__version__,
        fitting="\n".join(f"   {kind}" for kind in fitting),
        course=COURSE,
        pages="\n".join(["", "To read in a browser:", "", *pages, ""]) if pages else "",
    )
    (stick / "READ_ME_FIRST.txt").write_text(text, encoding="utf-8")


def main() -> int:
    """Write the stick; errors are one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stick", type=Path, metavar="FOLDER")
    parser.add_argument("--torch-index", default="", metavar="URL", help="one more package index")
    options = parser.parse_args()
    stick = options.stick.expanduser()
    try:
        check_stick(stick)
        print(f"{copy_corpus(stick / 'data').name}: checked")
        write_course(stick)
        write_wheels(stick, options.torch_index)
        for name, folder in PAGES.items():
            if folder.exists():
                shutil.copytree(folder, stick / name, dirs_exist_ok=True)
            print(f"{name}: {'copied' if folder.exists() else f'not built (`make {name}`)'}")
        write_instructions(stick)
    except (StickError, CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{stick} is ready. Begin with READ_ME_FIRST.txt on it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
