"""Check a built site: every link leads to a page and a place on it, and nothing is loaded from afar."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data"}  # what a browser fetches without being asked


class _Page(HTMLParser):
    """The places of one page, and the addresses that it names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.places: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.places.append(value or "")
            elif name in LOADED or (tag == "link" and name == "href"):
                self.loaded.append(value or "")
            elif name in {"href", "action"}:
                self.links.append(value or "")


def problems(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere, each place named twice, each thing from afar."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.glob("*.html"))}
    found = []
    for path, page in pages.items():
        twice = {place for place in page.places if page.places.count(place) > 1}
        found += [f"{path.name}: the place #{place} is there twice" for place in sorted(twice)]
        for address in page.loaded:
            if urlsplit(address).scheme not in {"", "data"} or address.startswith("//"):
                found.append(f"{path.name}: it loads {address} from another machine")
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or address.startswith("//"):
                continue
            target = path if not parts.path else site / unquote(parts.path)
            if not target.is_file() or not target.resolve().is_relative_to(site.resolve()):
                found.append(f"{path.name}: the link {address} leads to no file")
            elif parts.fragment and unquote(parts.fragment) not in pages[target].places:
                found.append(f"{path.name}: the link {address} leads to no place on that page")
    return found
