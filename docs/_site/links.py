"""Checks a built site: `python docs/_site/links.py FOLDER`. Every internal link and anchor leads somewhere, no page
asks the network for a style, a script or a picture, and no `<word>` of a docstring was taken for HTML.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_TAGS = frozenset(
    "html head meta title link style body div nav section header footer form input script h1 h2 h3 h4 h5 h6 hr p br "  # noqa: SIM905
    "small strong em figure figcaption "
    "i b span sup sub code pre a img ul ol li dl dt dd table colgroup col thead tbody tr th td blockquote".split()
)
_LOADED = {("img", "src"), ("script", "src"), ("link", "href")}


class _Page(HTMLParser):
    """The links of a page, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.odd_tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.odd_tags.append(tag)
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            if (tag, name) in _LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def broken(site: Path) -> list[str]:
    """What is wrong, a line each: which page, which link."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        wrong += [f"{path.relative_to(site)}: <{tag}> is no HTML; it wants backticks" for tag in page.odd_tags]
        for link in [*page.links, *page.loaded]:
            why = _trouble(link, path, pages, site, loaded=link in page.loaded)
            if why:
                wrong.append(f"{path.relative_to(site)}: {link} {why}")
    return wrong


def _trouble(link: str, path: Path, pages: dict[Path, _Page], site: Path, *, loaded: bool) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "is loaded from the network" if loaded and parts.scheme != "data" else ""
    start = site if parts.path.startswith("/") else path.parent
    target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "leads nowhere"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "has no such anchor"
    return ""


def main() -> None:
    """Say what is wrong, and fail if anything is."""
    site = Path(sys.argv[1]).resolve()
    wrong = broken(site)
    print("\n".join(wrong) or f"{len(list(site.rglob('*.html')))} pages, every link leads somewhere")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
