"""Options: declaring, converting and checking them, and what users are told."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np
import pytest

from tastemap.options import Declared, declared, option, read_section, unknown


@dataclasses.dataclass(frozen=True)
class Section:
    """One of every kind."""

    n_trees: int = option(3, "how many", minimum=1, maximum=2**31 - 1)
    height: float = option(1.5, "metres", minimum=0)
    lowest: float | None = option(None, "metres above the sea")
    kind: str = option("oak", "of tree", choices=("oak", "beech", "birch"))
    label: str = option("", "on the gate")
    fenced: bool = option(True, "all around")
    ages: tuple[int, ...] = option((5,), "years", minimum=1, words={"any": (1, 10, 100)})
    kinds: tuple[str, ...] = option(("oak", "beech"), "of trees", choices=("oak", "beech", "birch"))


def spec(name: str) -> Declared:
    return next(found for found in declared(Section) if found.name == name)


def test_declared_in_order_with_types_and_flags() -> None:
    found = declared(Section)
    assert [(each.name, each.type, each.optional) for each in found] == [
        ("n_trees", int, False),
        ("height", float, False),
        ("lowest", float, True),
        ("kind", str, False),
        ("label", str, False),
        ("fenced", bool, False),
        ("ages", int, False),
        ("kinds", str, False),
    ]
    assert [each.name for each in found if each.several] == ["ages", "kinds"]
    assert (spec("ages").default_text, spec("kinds").default_text) == ("5", "oak,beech")
    assert [each.default for each in found] == list(dataclasses.astuple(Section()))
    assert spec("n_trees").flag == "--n-trees"
    assert spec("n_trees").help == "how many"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("n_trees", "7", 7),
        ("n_trees", 7, 7),
        ("n_trees", np.int64(7), 7),
        ("n_trees", 2**31 - 1, 2**31 - 1),
        ("height", "7", 7.0),
        ("height", "1e-3", 0.001),
        ("height", 0, 0.0),
        ("height", np.float32(0.5), 0.5),
        ("lowest", "-11", -11.0),
        ("lowest", None, None),
        ("kind", "birch", "birch"),
        ("label", "true", "true"),
        ("label", "7", "7"),
        ("fenced", "false", False),
        ("fenced", "True", True),
        ("fenced", False, False),
        ("ages", "7", (7,)),
        ("ages", 7, (7,)),
        ("ages", [7, "8"], (7, 8)),
        ("ages", "4, 2,4", (4, 2)),
        ("ages", "4:9:2", (4, 6, 8)),
        ("ages", "1,4:8:4,20", (1, 4, 8, 20)),
        ("ages", "any", (1, 10, 100)),
        ("ages", ["any"], (1, 10, 100)),
        ("ages", "any,7", (1, 10, 100, 7)),
        ("kinds", "birch", ("birch",)),
        ("kinds", "birch,oak", ("birch", "oak")),
    ],
)
def test_values_are_converted(name: str, given: Any, expected: Any) -> None:
    found = spec(name).convert(given, "--it")
    assert found == expected and type(found) is type(expected)


YEARS = "allowed: a whole number of at least 1, several with commas or as FIRST:LAST:STEP, or any"
WHOLE = "allowed: a whole number from 1 to 2147483647"


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("n_trees", "many", f"--it is 'many'; {WHOLE}"),
        ("n_trees", "", f"--it is ''; {WHOLE}"),
        ("n_trees", "3.0", f"--it is '3.0'; {WHOLE}"),
        ("n_trees", 3.0, f"--it is 3.0; {WHOLE}"),
        ("n_trees", np.float32(3.5), "a whole number"),
        ("n_trees", True, f"--it is True; {WHOLE}"),
        ("n_trees", 0, f"--it is 0; {WHOLE}"),
        ("n_trees", 2**31, f"--it is 2147483648; {WHOLE}"),
        ("n_trees", None, f"--it is None; {WHOLE}"),
        ("n_trees", [3], f"--it is [3]; {WHOLE}"),
        ("height", "tall", "--it is 'tall'; allowed: a number of at least 0"),
        ("height", -0.1, "--it is -0.1; allowed: a number of at least 0"),
        ("height", "nan", "--it is 'nan'; allowed: a number of at least 0"),
        ("height", "inf", "--it is 'inf'; allowed: a number of at least 0"),
        ("height", 10**400, "allowed: a number of at least 0"),
        ("height", False, "--it is False; allowed: a number of at least 0"),
        ("height", datetime.date(2000, 1, 1), "allowed: a number of at least 0"),
        ("lowest", "-inf", "--it is '-inf'; allowed: a number"),
        ("kind", "beach", "--it is 'beach'; allowed: one of oak, beech, birch (did you mean beech?)"),
        ("kind", "palm", "--it is 'palm'; allowed: one of oak, beech, birch"),
        ("kind", 3, "--it is 3; allowed: one of oak, beech, birch"),
        ("label", 3, "--it is 3; allowed: a text"),
        ("label", {"a": 1}, "--it is {'a': 1}; allowed: a text"),
        ("fenced", "yes", "--it is 'yes'; allowed: true or false"),
        ("fenced", 1, "--it is 1; allowed: true or false"),
        ("fenced", None, "--it is None; allowed: true or false"),
        ("ages", "4:9", f"--it is '4:9'; {YEARS}"),
        ("ages", "9:4:1", f"--it is '9:4:1'; {YEARS}"),
        ("ages", "4:9:0", f"--it is '4:9:0'; {YEARS}"),
        ("ages", "3,", f"--it is '3,'; {YEARS}"),
        ("ages", "0", f"--it is '0'; {YEARS}"),
        ("ages", [], f"--it is []; {YEARS}"),
        ("ages", "some", f"--it is 'some'; {YEARS}"),
        ("kinds", "oak,palm", "--it is 'oak,palm'; allowed: one of oak, beech, birch, several with commas"),
        ("kinds", "oak,birck", "birch, several with commas (did you mean birch?)"),
    ],
)
def test_what_is_not_allowed_is_said(name: str, given: Any, told: str) -> None:
    with pytest.raises(ValueError) as fault:
        spec(name).convert(given, "--it")
    assert told in str(fault.value)
    assert ("did you mean" in str(fault.value)) == ("did you mean" in told)


def test_section_takes_flags_before_table_and_says_where_a_fault_is() -> None:
    table = {"n_trees": 2, "height": 2.5, "fenced": "perhaps"}
    values, faults = read_section(Section, table, {"n_trees": "5", "kind": "elm"}, "park.toml [trees]")
    assert values == {"n_trees": 5, "height": 2.5}
    assert faults == [
        "--kind is 'elm'; allowed: one of oak, beech, birch",
        "park.toml [trees] fenced is 'perhaps'; allowed: true or false",
    ]


def test_a_flag_hides_a_fault_in_the_table() -> None:
    assert read_section(Section, {"n_trees": "x"}, {"n_trees": "5"}, "t") == ({"n_trees": 5}, [])


def test_unknown_keys_get_the_nearest_or_all_that_are_known() -> None:
    table = {"n_tree": 2, "zzz": 1}
    values, faults = read_section(Section, table, {}, "park.toml [trees]")
    assert values == {}
    assert faults == [
        "unknown key in park.toml [trees]: n_tree (did you mean n_trees?)",
        "unknown key in park.toml [trees]: zzz "
        "(known: n_trees, height, lowest, kind, label, fenced, ages, kinds)",
    ]


def test_unknown_names_the_kind_of_thing() -> None:
    assert unknown("option", "--heigth", ["--height", "--kind"]) == (
        "unknown option --heigth (did you mean --height?)"
    )
