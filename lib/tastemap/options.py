"""Options: declared once as dataclass fields, read from TOML and the command line, checked together.

Sections are frozen dataclasses whose fields come from `option`. The same declaration gives the key in
the TOML file, the flag on the command line, its help text and its checks.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Mapping, Sequence
from typing import Any

_METADATA = "tastemap"


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a dataclass field that users can set; `minimum` and `maximum` are inclusive."""
    found = {"help": help, "choices": tuple(choices), "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata={_METADATA: found})


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option as it was declared."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return "--" + self.name.replace("_", "-")

    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type is bool:
            return "true or false"
        kind = {int: "a whole number", float: "a number", str: "a text"}[self.type]
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"{kind} of at least {self.minimum}"
        return kind

    def convert(self, value: Any, origin: str) -> Any:
        """The value in its type, checked.

        Raises
        ------
        ValueError
            With a sentence for the user.
        """
        if value is None and self.optional:
            return None
        fault = ValueError(f"{origin} is {value!r}; allowed: {self.allowed()}")
        try:
            converted = self._parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise fault from None
        if self.choices and converted not in self.choices:
            near = difflib.get_close_matches(str(converted), self.choices, 1)
            raise ValueError(f"{fault}" + (f" (did you mean {near[0]}?)" if near else ""))
        below = self.minimum is not None and converted < self.minimum
        above = self.maximum is not None and converted > self.maximum
        endless = self.type is float and not math.isfinite(converted)
        if below or above or endless:
            raise fault
        return converted

    def _parse(self, value: Any) -> Any:
        if self.type is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        number = {int: numbers.Integral, float: numbers.Real, str: str}[self.type]
        if isinstance(value, bool) or not isinstance(value, (str, number)):
            raise ValueError
        return self.type(value)


def declared(section: type) -> list[Declared]:
    """The options of a section, in the order of declaration."""
    hints = typing.get_type_hints(section)
    result = []
    for field in dataclasses.fields(section):
        kinds = [kind for kind in typing.get_args(hints[field.name]) if kind is not type(None)]
        kind = kinds[0] if kinds else hints[field.name]
        result.append(
            Declared(field.name, kind, bool(kinds), field.default, **dict(field.metadata[_METADATA]))
        )
    return result


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Sentence about a name that is not known, with the nearest that is."""
    near = [each for each in known if each.startswith(name)] or difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name} ({hint})"


def read_section(
    section: type, table: Mapping[str, Any], flags: Mapping[str, str], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """Values for a section's fields, and the faults found.

    Parameters
    ----------
    section : type
        A dataclass of options.
    table : mapping
        Keys and values from a file.
    flags : mapping
        Field names and texts from the command line; they win over the table.
    origin : str
        How the table is named in messages.
    """
    options = {option.name: option for option in declared(section)}
    faults = [unknown(f"key in {origin}:", key, list(options)) for key in table if key not in options]
    values: dict[str, Any] = {}
    for name, spec in options.items():
        if name in flags:
            given, where = flags[name], spec.flag
        elif name in table:
            given, where = table[name], f"{origin} {name}"
        else:
            continue
        try:
            values[name] = spec.convert(given, where)
        except ValueError as fault:
            faults.append(str(fault))
    return values, faults
