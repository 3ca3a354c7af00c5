"""Titles and numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemap.report.titles import count, distinguished, factor, percent, plain, readable, shortened, signed


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The", "The Matrix"),
        ("Lord of the Rings: The Two Towers, The", "The Lord of the Rings: The Two Towers"),
        ("Bug's Life, A", "A Bug's Life"),
        ("Avventura, L' (Adventure, The)", "L'Avventura (Adventure, The)"),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, Il)",
            "The Good, the Bad and the Ugly (Buono, il brutto, Il)",
        ),
        ("Theory of Everything", "Theory of Everything"),
        ("Me, Myself & Irene", "Me, Myself & Irene"),
        ("The", "The"),
    ],
)
def test_articles_come_back_to_the_front(title: str, expected: str) -> None:
    assert readable(title) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Seven (a.k.a. Se7en)", "Seven"),
        ("City of Lost Children, The (Cité des enfants perdus, La)", "The City of Lost Children"),
        ("Léon: The Professional (a.k.a. The Professional) (Léon)", "Léon: The Professional"),
        ("(500) Days of Summer", "(500) Days of Summer"),
        ("(1984)", "(1984)"),
    ],
)
def test_other_names_go(title: str, expected: str) -> None:
    assert plain(title) == expected


@pytest.mark.parametrize(
    ("title", "width", "expected"),
    [
        ("Heat", 4, "Heat"),
        ("The Lord of the Rings: The Two Towers", 26, "The Lord of the Rings…"),
        ("Star Wars: Episode IV - A New Hope", 26, "Star Wars: Episode IV…"),
        ("Monsters and Men of Steel", 12, "Monsters…"),
        ("Donaudampfschifffahrtsgesellschaft", 12, "Donaudampfs…"),
        ("O Donaudampfschifffahrtsgesellschaft", 12, "O Donaudamp…"),
    ],
)
def test_titles_are_cut_after_a_word_that_can_end_them(title: str, width: int, expected: str) -> None:
    assert shortened(title, width) == expected


@given(st.text(min_size=1, max_size=80), st.integers(8, 60))
def test_a_cut_title_fits_and_is_a_beginning(title: str, width: int) -> None:
    cut = shortened(title, width)
    assert len(cut) <= width and (cut == title or title.startswith(cut.removesuffix("…")))


def test_titles_that_begin_alike_stay_apart() -> None:
    towers = [f"The Lord of the Rings: The {end}" for end in ("Two Towers", "Return of the King")]
    cut = distinguished([*towers, "Heat", "Back to the Future Part II, with Explanations"], 26)
    assert cut[:2] == ["…Rings: The Two Towers", "…The Return of the King"]
    assert cut[2:] == ["Heat", "Back to the Future Part…"]
    assert distinguished(["Heat", "Heat"], 26) == ["Heat", "Heat"]


def test_numbers_have_sensible_digits() -> None:
    assert [count(1234567.0), count(0)] == ["1,234,567", "0"]
    shares = [0, 0.0004, 0.004, 0.0996, 0.3333, 1]
    assert [percent(share).replace("\u00a0", " ") for share in shares] == [
        *("0 %", "under 0.1 %", "0.4 %", "10 %", "33 %", "100 %")
    ]
    assert [factor(1.777, 1.777), factor(1.0449, 2.5), factor(8.4, 15.2)] == ["1.78", "1.0", "8"]
    assert [signed(0.414), signed(-0.2), signed(-1.0)] == ["+0.41", "\u22120.20", "\u22121.00"]
