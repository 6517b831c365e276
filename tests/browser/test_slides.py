"""Every slide of every deck, opened from its file as a teacher does: all of it is seen, large enough."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"
NOTEBOOKS = sorted((TOOLS.parent / "notebooks").glob("*.ipynb"))
LOOK = """() => {
  const slide = Reveal.getCurrentSlide();
  const problems = [];
  const seen = [...slide.querySelectorAll("*")].filter(
    (element) => !element.closest("aside") && element.getClientRects().length
  );
  const name = (element) => `${element.tagName} ${element.textContent.trim().slice(0, 40)}`;
  const say = (what, element) => problems.push(`${what}: ${name(element)}`);
  const inside = (box) => box.left >= 0 && box.top >= 0
    && box.right <= innerWidth + 0.5 && box.bottom <= innerHeight + 0.5;
  for (const element of seen) {
    if (!inside(element.getBoundingClientRect())) say("outside", element);
    if (element.tagName === "IMG" && !(element.complete && element.naturalWidth && element.alt))
      say("no picture or no description", element);
    if (element.matches("pre, table, p, li, .prose") && element.scrollWidth > element.clientWidth + 1)
      say("cut off", element);
  }
  const words = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  for (let node = words.nextNode(); node; node = words.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("aside, math") || !parent.getClientRects().length) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if (![...range.getClientRects()].every(inside)) say("words outside", parent);
    const isCode = parent.closest("pre, code");
    const size = parseFloat(getComputedStyle(parent).fontSize);
    const least = isCode ? 15 : parent.closest(".running, table") ? 16 : 20;
    if (size < least - 0.01) say(`${size} px`, parent);
  }
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth || root.scrollHeight > innerHeight) problems.push("scroll bars");
  return problems;
}"""


@pytest.fixture
def screenshots():
    """Return the folder for what is to be looked at."""
    return TOOLS.parent / "_build" / "screenshots"  # conftest.py makes it


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """Build the decks as `make slides` does; each is one file."""
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location("slides", TOOLS / "slides.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    sys.path.remove(str(TOOLS))
    folder = tmp_path_factory.mktemp("decks")
    reveal = tool.reveal_files()

    def build(path):
        target = folder / f"{path.stem}.html"
        if not target.exists():
            target.write_text(tool.deck(path, reveal), encoding="utf-8")
        return target

    return build


def opened(page, deck):
    """Open a deck, and return the list to which go its errors, and what it asks for but itself."""
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "blob:", deck.as_uri()))
            else complaints.append(request.url)
        ),
    )
    page.goto(deck.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    return complaints


def go_to(page, i):
    page.evaluate(
        """i => {
          const place = Reveal.getIndices(Reveal.getSlides()[i]);
          Reveal.slide(place.h, place.v, 1000);  // with all fragments
        }""",
        i,
    )


def walk(page, screenshot):
    """Look at every slide; return what is wrong, with its number, and keep a picture of that slide."""
    found = []
    for i in range(page.evaluate("Reveal.getSlides().length")):
        go_to(page, i)
        problems = page.evaluate(LOOK)
        if problems:
            page.screenshot(path=screenshot.with_name(f"{screenshot.name}_{i + 1:02}.png"))
        found += [f"slide {i + 1}, {problem}" for problem in problems]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_is_seen_whole(path, decks, page, screenshots):
    complaints = opened(page, decks(path))
    assert page.evaluate("Reveal.getTotalSlides()") >= 12
    assert walk(page, screenshots / f"slides_{path.stem}") == []
    assert complaints == []


@pytest.mark.parametrize("size", [(1920, 1080), (1024, 768)], ids=lambda size: f"{size[0]} wide")
def test_a_deck_fits_other_screens(size, decks, page, screenshots):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    opened(page, decks(NOTEBOOKS[3]))
    assert walk(page, screenshots / f"slides_{size[0]}") == []


def test_a_slide_that_is_too_full_is_found(decks, page, screenshots):
    opened(page, decks(NOTEBOOKS[3]))
    page.evaluate(
        """() => {
          const [, second, third] = Reveal.getSlides();
          second.append(...Array.from({ length: 40 }, () => {
            const line = document.createElement("p");
            line.textContent = "one line too many";
            return line;
          }));
          third.querySelector("pre").textContent = "x".repeat(200);
        }"""
    )
    found = walk(page, screenshots / "slides_planted")
    assert {problem.partition(",")[0] for problem in found} == {"slide 2", "slide 3"}
    assert any("outside: P one line too many" in problem for problem in found)
    assert any("cut off: PRE xxx" in problem for problem in found)


def test_the_speakers_window_shows_the_answer_and_the_slide_does_not(decks, page, screenshots):
    complaints = opened(page, decks(NOTEBOOKS[0]))
    number = page.evaluate(
        "Reveal.getSlides().findIndex((slide) => slide.innerText.includes('Predict first'))"
    )
    go_to(page, number)
    answer = "the right letters in the right amounts"
    assert answer in page.evaluate("Reveal.getSlideNotes()")
    assert answer not in page.evaluate("document.querySelector('main').innerText")
    with page.expect_popup() as speakers:
        page.keyboard.press("s")
    notes = speakers.value.locator(".speaker-controls-notes .value")
    notes.get_by_text("Let them guess first").wait_for(timeout=20_000)
    assert answer in notes.inner_text()
    speakers.value.screenshot(path=screenshots / "slides_speaker.png")
    assert complaints == []
