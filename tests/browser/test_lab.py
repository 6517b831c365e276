"""JupyterLab as `make lab` starts it, driven as a learner does: open, run, answer, stop, look.

The course's tools and notebooks are copied to a folder of their own; JupyterLab's settings, its list of
trusted notebooks and the list of finished exercises are there too, so that nothing of the user's is
touched. Times are printed and never asserted: `pytest -rP` shows them.
"""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from llm_course.exercises import find

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
    started: float

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")


# --- the server ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server(browser, tmp_path_factory) -> Iterator[Server]:
    """Start tools/lab.py as it stands, in place of a web browser a script that notes what to open."""
    home = tmp_path_factory.mktemp("lab")
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
        "LLM_COURSE_PROGRESS": str(home / "progress.json"),
        "PYTHONPATH": str(ROOT),
    }
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = [
        *(f"--ServerApp.port={free_port()}", *["--allow-root"] * is_root),
        "--ServerApp.shutdown_no_activity_timeout=600",  # should these tests be killed
        "--MappingKernelManager.cull_idle_timeout=600",
    ]
    started = time.perf_counter()
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
        running = Server(address, token, course / "my_notebooks", opened, started)
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


@pytest.fixture
def lab(server, page) -> Iterator[Any]:
    """The page, for a fresh start: untouched copies, no kernel, JupyterLab's settings as they come."""
    for session in server.ask("GET", "sessions"):
        server.ask("DELETE", f"sessions/{session['id']}")
    for original in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(original, server.copies)
    home = server.copies.parent.parent
    shutil.rmtree(home / "lab_settings", ignore_errors=True)
    (home / "progress.json").unlink(missing_ok=True)
    complaints: list[str] = []
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield page
    assert not complaints, "errors in the browser's console"


# The contrast, by WCAG 2, of every text that is seen in some elements, with what lies behind it.
CONTRASTS = """
(elements) => {
  const numbers = (colour) => { const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
                                return [r, g, b, alpha] }
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i])
  const behind = (node) => {
    if (!node) return [255, 255, 255]
    return over(numbers(getComputedStyle(node).backgroundColor), behind(node.parentElement))
  }
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  const luminance = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255)
  const has_text = (node) => node.checkVisibility()
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())
  const nodes = elements.flatMap((element) => [...element.querySelectorAll('*')]).filter(has_text)
  return nodes.map((node) => {
    const ground = behind(node), letter = over(numbers(getComputedStyle(node).color), ground)
    const [dark, bright] = [ground, letter].map(luminance).sort((a, b) => a - b)
    return [(bright + 0.05) / (dark + 0.05), node.outerHTML.slice(0, 200)]
  })
}
"""


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
    status(page, "idle").wait_for(timeout=2 * PATIENCE)
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


# --- the tests ----------------------------------------------------------------------------------------


def test_make_lab_opens_the_first_notebook_and_asks_nothing(lab, server):
    lab.goto(server.opened)  # where the learner's web browser was sent
    expect(lab.locator(f"{NOTEBOOK} h1")).to_contain_text("00 · Welcome")
    print(
        f"{time.perf_counter() - server.started:.0f} s after the start, for the first test of all"
    )
    wait_until_idle(lab)
    lab.wait_for_load_state("networkidle")
    picture(lab, "first")
    expect(lab.locator(".jp-Dialog, .Toastify__toast")).to_have_count(0)
    expect(lab.locator("strong", has_text="What will I be able to build?")).to_be_in_viewport()
    names = lab.locator(".jp-DirListing-itemName").all_text_contents()
    assert names == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", ["00_welcome", "02_bigram", "03_single_head_attention"])
def test_a_notebook_runs_from_top_to_bottom(lab, server, name):
    before = saved(server, name)
    for number, code in enumerate(code_cells(before)):
        code.execution_count = 1000 + number  # so that a new count tells a new run
    nbformat.write(before, server.copies / f"{name}.ipynb")
    open_notebook(lab, server, name)
    print(f"{name}: {run_all(lab):.0f} s in the browser")
    expect(errors(lab.locator(NOTEBOOK))).to_have_count(0)
    menu(lab, "File", "Save Notebook")
    expect(lab.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(0)

    after = saved(server, name)
    counts = [code.execution_count for code in code_cells(after)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for code in code_cells(after) for output in code.outputs]
    assert all(output.output_type != "error" for output in outputs)
    described = [
        output.metadata["image/png"]["alt"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    sizes = lab.locator(PICTURES).evaluate_all(
        "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(sizes) == len(described) and min(sizes) > 300
    assert min(map(len, described)) > 40
    if name == "03_single_head_attention":
        use_the_attention_view(lab)


def use_the_attention_view(page: Any) -> None:
    """Open it by the mouse and by the keys alone; point at a letter."""
    view = page.locator(HTML).first
    head = view.locator("details").first
    line = head.locator("details").nth(
        2
    )  # "the": its largest weights, which no two trainings share
    numbers = line.get_by_text("(place 2) looks at:")
    bring(line)
    expect(numbers).to_be_hidden()
    line.locator("summary").click()
    expect(numbers).to_be_visible()
    assert re.search(r"looks at: (. [01]\.\d\d(, )?){3}", numbers.inner_text())

    line.locator("summary").press("Enter")
    expect(numbers).to_be_hidden()
    page.keyboard.press("Tab")  # the next line
    page.keyboard.press("Enter")
    expect(head.get_by_text("(place 3) looks at:")).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(numbers).to_be_visible()

    letter = line.locator("span[title]").last
    letter.hover()
    under_the_mouse = page.evaluate(
        "[...document.querySelectorAll('span[title]:hover')].at(-1).title"
    )
    assert under_the_mouse == letter.get_attribute("title")
    assert f"e {under_the_mouse}" in numbers.inner_text()


def test_a_notebook_that_was_never_run_shows_all_it_has_saved(lab, server):
    """It is not trusted then: JupyterLab filters its HTML, and of the course's all must pass."""
    open_notebook(lab, server, "03_single_head_attention")
    assert lab.locator('[title*="not trusted" i]').count() >= 1
    use_the_attention_view(lab)
    picture(lab, "view_before_running")

    fold = lab.locator(f"{NOTEBOOK} .jp-MarkdownCell details").first
    answer = fold.get_by_text("More than ⅔")
    bring(fold)
    expect(answer).to_be_hidden()
    fold.locator("summary").click()
    expect(answer).to_be_visible()
    fold.locator("summary").press("Enter")
    expect(answer).to_be_hidden()
    lab.keyboard.press("Space")
    expect(answer).to_be_visible()
    expect(fold.locator("mjx-container")).to_have_count(1)  # e² ≈ 7.4
    picture(lab, "fold")

    formula = lab.locator(f'{NOTEBOOK} mjx-container[display="true"]').first
    bring(formula)
    assert formula.bounding_box()["width"] > 100
    expect(lab.locator(f"{NOTEBOOK} mjx-merror")).to_have_count(0)
    picture(lab, "formula")

    # JupyterLab gives its images no description. It stands above them, in the cell that draws.
    drawing = cell(lab, "plot_attention(maps, text, gamma=0.5)")
    expect(drawing).to_contain_text("A lower-triangular attention map of 'the king and the queen'")
    expect(drawing.locator("img")).to_be_visible()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_an_exercise_names_the_mistake_and_then_passes(lab, server, theme):
    open_notebook(lab, server, "03_single_head_attention")
    choose_theme(lab, theme)
    exercise = cell(lab, "def causal_means(x):")
    output = exercise.locator(".jp-OutputArea")
    expect(output).to_have_text("causal_means: not attempted yet.")
    retype(lab, exercise, "...", "return x.mean(dim=1, keepdim=True).expand_as(x)")
    hint = {mistake.name: mistake.hint for mistake in find("causal_means").mistakes}["mean_of_all"]
    expect(output).to_have_text(f"causal_means: {hint}")
    picture(lab, f"mistake_{theme}")
    retype(lab, exercise, "x.mean", "return x.cumsum(dim=1) / x.new_ones(x.shape).cumsum(dim=1)")
    expect(output).to_have_text("causal_means: right.")
    picture(lab, f"right_{theme}")

    progress = cell(lab, 'show_progress("03")')
    progress.locator(".cm-content").click()
    lab.keyboard.press("Shift+Enter")
    expect(progress.locator(".jp-OutputArea")).to_contain_text("✓ causal_means")
    expect(progress.locator(".jp-OutputArea")).to_contain_text("1 of 4 done")


def test_the_stop_button_ends_a_training_with_a_sentence(lab, server):
    open_notebook(lab, server, "03_single_head_attention")
    training = cell(lab, "history = train(model, data, config)")
    output = training.locator(".jp-OutputArea")
    training.locator(".jp-InputPrompt").click()
    menu(lab, "Run", "Run All Above Selected Cell")
    status(lab, "busy").wait_for()
    wait_until_idle(lab)
    rest = "batch_size=32, learning_rate=3e-3, eval_every=150, eval_windows=500"
    retype(lab, training, "steps=1500", f"steps=500_000, {rest}")
    expect(output).to_contain_text(re.compile(r"training: .*\b[1-9]\d*/500000"))
    picture(lab, "training")
    lab.get_by_role("button", name=re.compile("Interrupt the kernel")).click()
    expect(output).to_contain_text(re.compile(r"Stopped in step [\d,]+ of 500,000, last measured"))
    wait_until_idle(lab)
    expect(errors(training)).to_have_count(0)
    expect(output).to_contain_text("nats per character")  # the rest of the cell was run
    picture(lab, "stopped")

    retype(lab, training, "steps=500_000", f"steps=20, {rest}")
    expect(output).to_have_text(
        re.compile(r"^after \d+ s of training: [\d.]+ nats per character\s*$")
    )
    expect(errors(training)).to_have_count(0)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_what_the_course_draws_can_be_read_in_both_themes(lab, server, theme):
    open_notebook(lab, server, "03_single_head_attention")
    choose_theme(lab, theme)
    outputs = lab.locator(f"{HTML}, {NOTEBOOK} .jp-OutputArea-output.jp-RenderedText")
    outputs.locator("details").evaluate_all("folds => folds.forEach(fold => fold.open = true)")
    texts = outputs.evaluate_all(CONTRASTS)
    assert len(texts) > 100
    contrast, text = min(texts)
    print(f"{theme}: the least contrast is {contrast:.2f}, of {text!r}")
    assert contrast >= 4.5, text
    bring(lab.locator(HTML).first.locator("details details").nth(8))
    picture(lab, f"view_{theme}")
    bring(lab.locator(PICTURES).nth(1))
    picture(lab, f"plot_{theme}")


def test_the_later_notebooks_open_with_their_headings_in_order(lab, server):
    for name in ("05", "13", "14", "15", "16", "17"):
        name = next(path.stem for path in (ROOT / "notebooks").glob(f"{name}_*"))
        open_notebook(lab, server, name)
        expect(errors(lab.locator(NOTEBOOK))).to_have_count(0)
        expect(lab.locator(f"{NOTEBOOK} mjx-merror")).to_have_count(0)
        prose = "\n\n".join(
            c.source for c in saved(server, name).cells if c.cell_type == "markdown"
        )
        headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
        assert len(headings) > 8
        expect(lab.locator(f"{NOTEBOOK} .jp-MarkdownCell").locator("h1, h2, h3")).to_contain_text(
            headings
        )
        picture(lab, f"opened_{name}")
