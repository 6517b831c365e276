"""JupyterLab driven as a learner does: open, run, answer, stop, look.

Times are printed and never asserted: `pytest -rP` shows them. Screenshots are in _build/screenshots.
"""

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from lab_driver import (
    HTML,
    NOTEBOOK,
    PATIENCE,
    PICTURES,
    ROOT,
    Server,
    bring,
    cell,
    choose_theme,
    code_cells,
    errors,
    expect,
    menu,
    open_notebook,
    picture,
    retype,
    run_all,
    saved,
    started,
    status,
    wait_until_idle,
)

from llm_course.exercises import find

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


@pytest.fixture(scope="session")
def server(browser, tmp_path_factory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("lab")) as server:
        yield server


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


def test_make_lab_opens_the_first_notebook_and_asks_nothing(lab, server):
    lab.goto(server.opened)  # where the learner's web browser was sent
    expect(lab.locator(f"{NOTEBOOK} h1")).to_contain_text("00 · Welcome")
    print(f"{time.perf_counter() - server.began:.0f} s after the start, for the first test of all")
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
    tabs = lab.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=".ipynb")
    expect(tabs).to_have_count(6)
    open_notebook(lab, server, name)  # once more
    expect(tabs).to_have_count(6)
    lab.locator('.jp-SideBar [data-id="table-of-contents"]').click()
    expect(lab.locator(".jp-tocItem-content")).to_have_text(headings)
    picture(lab, "contents")
