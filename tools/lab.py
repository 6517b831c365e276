"""Open JupyterLab on copies of the notebooks: yours to change, never overwritten, and out of git's way."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIES = ROOT / "my_notebooks"
DEFAULTS = ROOT / "tools" / "jupyter"  # no question about news; the user's own settings come first


def copy_notebooks(source: Path, target: Path) -> list[str]:
    """Copy what is not there yet; return a line for each copy whose original has changed since."""
    target.mkdir(exist_ok=True)
    record = target / ".copied.json"
    try:
        copied = json.loads(record.read_text(encoding="utf-8"))
        copied = copied if isinstance(copied, dict) else {}
    except (FileNotFoundError, ValueError):
        copied = {}
    lines = []
    for original in sorted(source.glob("*.ipynb")):
        version = hashlib.sha256(original.read_bytes()).hexdigest()
        copy = target / original.name
        if not copy.exists():
            partial = copy.with_name(f".{copy.name}.part")
            shutil.copy(original, partial)
            partial.replace(copy)  # whole or not at all
            copied[original.name] = version
            partial = record.with_name(f"{record.name}.part")
            partial.write_text(json.dumps(copied, indent=1), encoding="utf-8")
            partial.replace(record)
        elif copied.get(original.name) != version and copy.read_bytes() != original.read_bytes():
            has = "has" if original.name in copied else "may have"  # the record was lost
            lines.append(
                f"{original.name} {has} a newer version than your copy. To get it, rename yours "
                f"in {target.name}/ and run this again."
            )
    return lines


def main() -> None:
    """Make the copies and start JupyterLab on this machine's own address, with its token."""
    try:
        for line in copy_notebooks(ROOT / "notebooks", COPIES):
            print(line)
    except OSError as error:
        sys.exit(
            f"error: the copies in {COPIES} could not be made: {error}. Mend or move that folder."
        )
    if os.environ.get("LLM_COURSE_DATA"):  # kernels start in another folder
        os.environ["LLM_COURSE_DATA"] = str(
            Path(os.environ["LLM_COURSE_DATA"]).expanduser().resolve()
        )
    searched = [str(DEFAULTS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(searched)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"),
        *("--LabApp.news_url=None", "--LabApp.extension_manager=readonly"),  # asks no other machine
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(f"--ServerApp.root_dir={COPIES}", str(COPIES / "00_welcome.ipynb")),
        *sys.argv[1:],
    ]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is JupyterLab's to answer
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    main()
