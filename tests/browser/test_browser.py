"""The browser itself: that it draws, and that a page which asks another machine is caught."""

import pytest


def test_it_draws_a_page(page):
    page.set_content("<h1>attention</h1>")
    assert page.inner_text("h1") == "attention"
    assert page.screenshot().startswith(b"\x89PNG")


@pytest.mark.parametrize("away", ["https://example.org/x.png", "http://192.0.2.1/x.png"])
def test_what_a_page_asks_of_another_machine_is_noted_and_blocked(page, asked_away, away):
    with page.expect_event("requestfailed"):
        page.set_content(f'<img src="{away}">')
    assert asked_away == [away]
    asked_away.clear()  # else this test would fail at its end, as any other
