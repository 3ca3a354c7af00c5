"""What the README says of options is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tastemap import config, schemas
from tastemap.options import Declared, declared

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README.partition("\n## Options\n")[2].partition("\n## ")[0]
OPTIONS = [option for section in config.SECTIONS.values() for option in declared(section)]


OF_EVERY_JOB = {"--ratings", "--output", "--movies", "--overwrite", "--config", "--quiet", "--log-json"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_option_stands_in_the_table_with_its_default(option: Declared) -> None:
    default = "" if option.default_text is None else f"`{option.default_text}`"
    (row,) = (line for line in TABLE.splitlines() if line.startswith(f"| `{option.flag}` |"))
    told, _, choices = row.removesuffix(" |").partition(" (`")
    assert told == f"| `{option.flag}` | {default} | {option.help}"
    assert set(re.findall(r"`(\w+)`", f"`{choices}")) == set(option.choices)


def test_no_option_stands_in_the_table_that_there_is_not() -> None:
    told = set(re.findall(r"^\| `(--[a-z-]+)[ `]", TABLE, re.MULTILINE))
    assert told == OF_EVERY_JOB | {option.flag for option in OPTIONS}


TABLES = ("ASSIGNMENTS", "PROFILES", "CLUSTER_MOVIES", "CLUSTER_GENRES", "CLUSTER_YEARS")


@pytest.mark.parametrize("name", TABLES)
def test_columns_stand_in_the_table_of_tables(name: str) -> None:
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `{name.lower()}` |"))
    keys = {"cluster", "genre", "year"}  # what a row is
    assert set(getattr(schemas, name).names) - keys <= set(re.findall(r"`(\w+)`", row))
