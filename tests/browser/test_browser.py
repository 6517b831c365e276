"""The browser itself: that it draws, and that a page which asks another machine is caught."""


def test_it_draws_a_page(page):
    page.set_content("<h1>attention</h1>")
    assert page.inner_text("h1") == "attention"
    assert page.screenshot().startswith(b"\x89PNG")
