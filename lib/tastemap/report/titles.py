"""Titles and numbers as people read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_ARTICLE = re.compile(
    r"^(?P<rest>.+), (?P<article>The|An|A|Les|Le|La|El|Los|Las|Il|Das|Der|Die|L')(?P<more>( \(.*\))?)$"
)
_SMALL = re.compile(
    r"(?:^|\s)(?:a|an|and|at|by|for|from|in|of|on|or|the|to|with|&|[-\u2013])$", re.IGNORECASE
)


def readable(title: str) -> str:
    """Put an article that was moved behind for sorting back to the front: "Matrix, The" is "The Matrix"."""
    found = _ARTICLE.match(title)
    if found is None:
        return title
    space = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{space}{found['rest']}{found['more']}"


def plain(title: str) -> str:
    """A readable title without other names in parentheses at its end: "Seven (a.k.a. Se7en)" is "Seven"."""
    title = readable(title)
    while (shorter := re.sub(r"\s*\([^()]*\)$", "", title)) not in ("", title):
        title = shorter
    # The article may have stood before the parentheses.
    return readable(title)


def shortened(title: str, width: int) -> str:
    """Cut a title to at most `width` characters, after a word that can end it, with an ellipsis.

    One long word is cut where it has to be.
    """
    if len(title) <= width:
        return title
    words = title[:width].rpartition(" ")[0].rstrip(" ,;:.-–&")
    while found := _SMALL.search(words):
        words = words[: found.start()].rstrip(" ,;:.-–&")
    return (words if len(words) >= width // 3 else title[: width - 1]) + "…"


def distinguished(titles: Sequence[str], width: int) -> list[str]:
    """Shorten titles so that they stay apart: where several begin alike, to their ends."""
    cut = [shortened(title, width) for title in titles]
    many = Counter(cut)
    return [
        short if many[short] == 1 or short == title else _end(title, width)
        for short, title in zip(cut, titles, strict=True)
    ]


def _end(title: str, width: int) -> str:
    words = title[-(width - 1) :].partition(" ")[2]
    return "…" + (words or title[-(width - 1) :])


def count(number: float | None) -> str:
    """A whole number with commas; a dash for what is not told."""
    return "–" if number is None else f"{number:,.0f}"


def percent(share: float) -> str:
    """A share as a percentage of two digits or so: "12 %", "3.4 %", "under 0.1 %"."""
    if 0 < share < 0.001:
        return "under 0.1\u00a0%"
    return f"{share * 100:.{0 if share >= 0.0995 or share == 0 else 1}f}\u00a0%"


def factor(value: float, like: float) -> str:
    """A factor with the digits that suit another one beside it: 1.78, 5.7 and 15."""
    return f"{value:.{0 if like >= 10 else 1 if like >= 2 else 2}f}"


def signed(stars: float) -> str:
    """A difference in stars with its sign: "+0.41", "−0.20"."""
    return f"{stars:+.2f}".replace("-", "\u2212")
