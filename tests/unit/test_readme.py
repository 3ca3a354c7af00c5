"""What the README says of options is what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tastemap import config
from tastemap.options import Declared, declared

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
OPTIONS = [option for section in config.SECTIONS.values() for option in declared(section)]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_option_stands_in_the_table_with_its_default(option: Declared) -> None:
    default = "" if option.default_text is None else f"`{option.default_text}`"
    assert f"| `{option.flag}` | {default} | {option.help}" in README
