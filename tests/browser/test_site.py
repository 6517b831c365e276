"""The site in a real browser, opened from its folder as from a stick: readable, reachable, and silent."""

import functools
import http.server
import io
import subprocess
import sys
import threading

import pytest
from conftest import ROOT, SCREENSHOTS
from PIL import Image  # matplotlib brings it along

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OPTIONS = {
    "runOnly": RULES,
    "resultTypes": ["violations"],
    "preload": False,  # it would fetch the style sheet, which the pages forbid
}
SIZES = {"laptop": (1280, 800), "phone": (375, 812)}
SHOWN = ("index", "03_single_head_attention", "09_scaling", "search")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site") / "_site"
    built = subprocess.run(
        [sys.executable, ROOT / "tools" / "site.py", "--to", target], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return target


@pytest.fixture
def open_page(page, site):
    """Open a page of the site by name; what its scripts and its policy complain about fails the test."""
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)

    def go(name, query=""):
        page.goto((site / name).as_uri() + query)

    yield go
    assert complaints == []


UNFOLD = """() => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    for (const picture of document.images) picture.loading = "eager";
}"""
# A page has thousands of coloured words, and few colours: each is looked at where it occurs first.
ONE_OF_EACH_COLOUR = """() => {
    const met = new Set();
    for (const word of document.querySelectorAll("pre span, details code span")) {
        const paper = word.closest("pre, code").className;
        const colour = [word.className, word.getAttribute("style"), paper].join();
        if (met.has(colour)) word.replaceWith(word.textContent);
        met.add(colour);
    }
    document.body.normalize();
}"""


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_can_be_used_by_everybody(open_page, page, site, size, colours):
    """axe-core finds nothing, and nothing but code, tables and formulas scrolls sideways."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    found, wide = [], []
    for path in sorted(site.glob("*.html")):
        open_page(path.name, "?q=attention" if path.stem == "search" else "")
        if path.stem in SHOWN:
            page.screenshot(path=SCREENSHOTS / f"site_{path.stem}_{size}_{colours}.png")
        page.evaluate(UNFOLD)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(path.name)
        if path.stem in SHOWN:
            page.screenshot(
                path=SCREENSHOTS / f"site_{path.stem}_{size}_{colours}_whole.png", full_page=True
            )
        page.evaluate(ONE_OF_EACH_COLOUR)
        result = axe.run(page, options=OPTIONS)
        found += [
            f"{path.name}: {violation['id']}: {node['html'][:150]}: {node['failureSummary']}"
            for violation in result.response["violations"]
            for node in violation["nodes"][:3]
        ]
    assert not found, "\n".join(found)
    assert not wide


def test_the_search_works_from_a_folder(open_page, page):
    open_page("index.html")
    page.get_by_role("searchbox").fill("scaled_dot_product_attention")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    assert "places found" in page.inner_text("#count")
    page.get_by_role("link", name="04 · Many heads: Step 4: the class").click()
    assert page.evaluate("location.hash") == "#step-4-the-class"
    assert abs(page.locator("#step-4-the-class").bounding_box()["y"]) < 100

    open_page("search.html")
    page.get_by_role("searchbox").fill("<b>nothing such")
    assert (
        page.inner_text("#count") == "No places found." and page.locator("#results li").count() == 0
    )
    page.get_by_role("searchbox").fill("KeepBest early")
    assert page.locator("#results mark").first.inner_text().lower() in {"keepbest", "early"}


def test_the_attention_view_lives(open_page, page):
    open_page("03_single_head_attention.html")
    line = page.locator(".output details details").nth(4)
    number = line.locator("> div")
    assert not number.is_visible()
    line.locator("summary").focus()
    page.keyboard.press("Enter")
    assert number.is_visible() and "(place 4) looks at:" in number.inner_text()


def test_the_colours_that_were_chosen_are_remembered(open_page, page):
    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    open_page("index.html")
    light = paper()
    page.get_by_role("button", name="Dark").click()
    dark = paper()
    assert light != dark
    assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
    open_page("00_welcome.html")
    assert paper() == dark
    page.emulate_media(media="print")
    assert paper() == light and not page.locator("header").is_visible()
    page.emulate_media(media="screen", color_scheme="dark")
    page.get_by_role("button", name="Dark").click()
    assert paper() == light, "the choice stands above the system's"


def test_all_is_reached_by_keyboard_and_seen(open_page, page):
    page.set_viewport_size({"width": 375, "height": 812})
    open_page("05_transformer_block.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    scrolling = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        style, tag, wide = page.evaluate(
            "() => { const at = document.activeElement; return [getComputedStyle(at).outlineStyle,"
            " at.tagName, at.scrollWidth > at.clientWidth]; }"
        )
        assert style == "solid", f"the focus on {tag} is not seen"
        scrolling += tag == "PRE" and wide
    assert scrolling > 3, "code that scrolls is a stop on the way"


def test_formulas_are_drawn_with_the_signs_that_grow(open_page, page):
    """A root has its sign; and a brace, ink below its terms, is about as wide as they are."""
    open_page("03_single_head_attention.html")
    page.evaluate("document.fonts.ready")
    root = page.locator("msqrt").first
    inside = root.locator("> *").first.bounding_box()
    assert root.bounding_box()["width"] > inside["width"] + 5

    open_page("09_scaling.html")
    page.evaluate("document.fonts.ready")
    braces = page.locator("munder munder")
    assert braces.count() == 3
    for i in range(3):
        picture = Image.open(io.BytesIO(braces.nth(i).screenshot())).convert("L")
        below = picture.crop((0, int(0.6 * picture.height), *picture.size))
        left, _, right, _ = below.point(lambda light: 255 * (light < 128)).getbbox()
        assert right - left > 0.9 * picture.width
    for i, block in enumerate(page.locator(".math.block").all()):
        block.screenshot(path=SCREENSHOTS / f"site_formula_{i}.png")


def test_without_scripts_it_can_be_read(browser, site):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 375, "height": 812})
    page = context.new_page()
    page.goto((site / "02_bigram.html").as_uri())
    page.locator("main summary").first.click()
    assert page.locator("main details").first.get_attribute("open") is not None
    assert not page.get_by_role("button", name="Dark").is_visible()
    assert page.locator("pre.code").first.evaluate("pre => pre.scrollWidth <= pre.clientWidth")
    context.close()


def test_a_server_gives_the_same_pages(page, site):
    """The policy lets a page that was served have its scripts, too."""
    complaints = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/search.html?q=muon")
        page.wait_for_selector("#results li")
        page.goto(f"http://127.0.0.1:{server.server_port}/03_single_head_attention.html")
        assert page.get_by_role("button", name="Dark").is_visible()
    finally:
        server.shutdown()
        server.server_close()
    assert complaints == []
