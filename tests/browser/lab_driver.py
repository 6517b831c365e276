"""JupyterLab as `make lab` starts it, and what a learner does in it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="`make browser` installs playwright")
expect = playwright.expect

ROOT = Path(__file__).resolve().parent.parent.parent
SCREENSHOTS = ROOT / "_build" / "screenshots"
PATIENCE = 120_000  # milliseconds; the machine may be busy with other things
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the one that is seen
PICTURES = f"{NOTEBOOK} .jp-OutputArea-output img"
HTML = f"{NOTEBOOK} .jp-OutputArea-output.jp-RenderedHTML"


@dataclass(frozen=True)
class Server:
    """Where it answers, where the learner's copies lie, and what the web browser was told to open."""

    address: str
    token: str
    copies: Path
    opened: str
    began: float

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")


@contextmanager
def started(home: Path) -> Iterator[Server]:
    """Start tools/lab.py as it stands, in place of a web browser a script that notes what to open.

    It runs in a copy of the course in `home`; JupyterLab's settings, its list of trusted notebooks and the
    list of finished exercises are there too, so that nothing of the user's is touched.
    """
    course = home / "course"
    for part in ("tools", "notebooks"):
        shutil.copytree(ROOT / part, course / part)
    noted, note, log = home / "opened.txt", home / "note.py", home / "log.txt"
    note.write_text(f"import sys\nopen({str(noted)!r}, 'w').write(sys.argv[1])\n")
    folders = {
        f"JUPYTER{name}_DIR": str(home / name.lower())
        for name in ("_CONFIG", "_DATA", "_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")
    }
    environment = os.environ | folders
    environment |= {
        "BROWSER": f"{Path(sys.executable).as_posix()} {note.as_posix()} %s",
        "IPYTHONDIR": str(home / "ipython"),
        "LLM_COURSE_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # the other core is the browser's
        "LLM_COURSE_PROGRESS": str(home / "progress.json"),
        "PYTHONPATH": str(ROOT),
    }
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = [
        *(f"--ServerApp.port={free_port()}", *["--allow-root"] * is_root),
        "--ServerApp.shutdown_no_activity_timeout=600",  # should these tests be killed
        "--MappingKernelManager.cull_idle_timeout=600",
    ]
    began = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(course / "tools" / "lab.py"), *arguments],
            **{"cwd": course, "env": environment, "stdout": output, "stderr": subprocess.STDOUT},
            start_new_session=True,  # so that all of it can be ended
        )
    running = None
    try:
        until(lambda: noted.exists() and noted.read_text(), process, log)
        opened = noted.read_text()
        page = Path(urllib.request.url2pathname(opened.removeprefix("file://"))).read_text()
        address, token = re.search(r"(http://127\.0\.0\.1:\d+)/\S*\?token=(\w+)", page).groups()
        running = Server(address, token, course / "my_notebooks", opened, began)
        yield running
    finally:
        try:
            if running:
                running.ask("POST", "shutdown")  # its kernels too
                process.wait(60)
        finally:
            if process.poll() is None or not running:  # kernels end when their server is gone
                kill_group(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(is_so: Callable[[], Any], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not is_so():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")
        time.sleep(0.1)


def kill_group(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait(60)


# --- what a learner does ------------------------------------------------------------------------------


def open_notebook(page: Any, server: Server, name: str) -> None:
    """Double-click its name in the list of files; wait until all of it is drawn and has its kernel."""
    if not page.url.startswith(server.address):
        page.goto(f"{server.address}/lab?token={server.token}&reset")
    page.locator(".jp-DirListing-item", has_text=name).dblclick()
    cells = page.locator(f"{NOTEBOOK} .jp-Cell")
    expect(page.locator(f"{NOTEBOOK} h1").first).to_contain_text(f"{name[:2]} · ")
    expect(cells).to_have_count(len(saved(server, name).cells))  # they are added bit by bit
    wait_until_idle(page)


def menu(page: Any, *names: str) -> None:
    for name in names:
        exactly = re.compile(f"^{re.escape(name)}$")
        page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel", has_text=exactly).click()


def status(page: Any, state: str) -> Any:
    return page.locator(f'{NOTEBOOK} .jp-Notebook-ExecutionIndicator[data-status="{state}"]')


def wait_until_idle(page: Any) -> None:
    status(page, "idle").wait_for(timeout=6 * PATIENCE)
    expect(page.locator(f"{NOTEBOOK} .jp-InputPrompt", has_text="*")).to_have_count(0)


def run_all(page: Any) -> float:
    """Choose it in the menu; return the seconds until the kernel is idle."""
    started = time.perf_counter()
    menu(page, "Run", "Run All Cells")
    status(page, "busy").wait_for()
    wait_until_idle(page)
    return time.perf_counter() - started


def cell(page: Any, text: str) -> Any:
    """Return the cell with this text in its source, scrolled to where it can be seen."""
    found = page.locator(f"{NOTEBOOK} .jp-Cell").filter(
        has=page.locator(".jp-InputArea", has_text=text)
    )
    bring(found)
    return found


def retype(page: Any, in_cell: Any, line: str, new: str) -> None:
    """Put the cursor on the line that contains this, type another in its place, and run the cell."""
    in_cell.locator(".cm-line", has_text=line).click()
    page.keyboard.press("End")
    page.keyboard.press("Shift+Home")  # up to the first character that is no space
    page.keyboard.type(new)
    expect(in_cell.locator(".cm-line", has_text=new)).to_have_count(1)
    page.keyboard.press("Shift+Enter")


def errors(inside: Any) -> Any:
    """Return a locator of tracebacks and of what went to stderr."""
    return inside.locator('[data-mime-type$="jupyter.error"], [data-mime-type$="jupyter.stderr"]')


def choose_theme(page: Any, theme: str) -> None:
    menu(page, "Settings", "Theme", f"JupyterLab {theme}")
    page.locator(f'body[data-jp-theme-name="JupyterLab {theme}"]').wait_for(state="attached")


def bring(element: Any) -> None:
    """Scroll to the middle of the window, until nothing moves: cells above may still find their height."""
    element.evaluate(
        """async (element) => {
          const pause = () => new Promise((resolve) => setTimeout(resolve, 100))
          for (let last = null, top = 0; top !== last; await pause()) {
            last = top
            element.scrollIntoView({block: "center"})
            top = element.getBoundingClientRect().top
          }
        }"""
    )
    expect(element).to_be_in_viewport()


def picture(page: Any, name: str) -> None:
    page.screenshot(path=SCREENSHOTS / f"lab_{name}.png")


def saved(server: Server, name: str) -> nbformat.NotebookNode:
    return nbformat.read(server.copies / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
