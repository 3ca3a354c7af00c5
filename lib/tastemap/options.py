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
from types import MappingProxyType
from typing import Any

_METADATA = "tastemap"


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    words: Mapping[str, tuple[Any, ...]] = MappingProxyType({}),
) -> Any:
    """Declare a dataclass field that users can set; `minimum` and `maximum` are inclusive.

    A field that is a tuple takes several values: `words` stand for some of them.
    """
    found = {"help": help, "choices": tuple(choices), "minimum": minimum, "maximum": maximum, "words": words}
    return dataclasses.field(default=default, metadata={_METADATA: found})


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option as it was declared."""

    name: str
    type: type
    several: bool
    """Whether the value is a tuple of that type."""
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    words: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    """Texts that stand for several values."""

    @property
    def default_text(self) -> str | None:
        """The default as one would write it; None where there is none."""
        values = self.default if self.several else [self.default]
        return None if self.default is None else ",".join(str(value) for value in values).lower()

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return "--" + self.name.replace("_", "-")

    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.several:
            words = "".join(f", or {word}" for word in self.words)
            ranges = " or as FIRST:LAST:STEP" if self.type is int else ""
            return f"{dataclasses.replace(self, several=False).allowed()}, several with commas{ranges}{words}"
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
        if self.several:
            return self._convert_several(value, origin)
        fault = ValueError(f"{origin} is {value!r}; allowed: {self.allowed()}")
        try:
            converted = self._parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise fault from None
        if self.choices and converted not in self.choices:
            raise ValueError(f"{fault}{self._hint(converted)}")
        below = self.minimum is not None and converted < self.minimum
        above = self.maximum is not None and converted > self.maximum
        endless = self.type is float and not math.isfinite(converted)
        if below or above or endless:
            raise fault
        return converted

    def _convert_several(self, value: Any, origin: str) -> tuple[Any, ...]:
        if isinstance(value, str):
            parts: Sequence[Any] = [part.strip() for part in value.split(",")]
        else:
            parts = value if isinstance(value, (list, tuple)) else [value]
        found: list[Any] = []
        try:
            for part in parts:
                found += self._convert_part(part, origin)
        except ValueError:
            found = []
        if not found:
            hints = (self._hint(part) for part in parts if part not in self.choices)
            raise ValueError(
                f"{origin} is {value!r}; allowed: {self.allowed()}{next(filter(None, hints), '')}"
            )
        return tuple(dict.fromkeys(found))

    def _convert_part(self, part: Any, origin: str) -> Sequence[Any]:
        if isinstance(part, str) and part in self.words:
            return self.words[part]
        one = dataclasses.replace(self, several=False)
        is_range = self.type is int and isinstance(part, str) and ":" in part
        return _range(part, one) if is_range else [one.convert(part, origin)]

    def _hint(self, value: Any) -> str:
        near = difflib.get_close_matches(str(value), [*self.choices, *self.words], 1)
        return f" (did you mean {near[0]}?)" if near else ""

    def _parse(self, value: Any) -> Any:
        if self.type is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        number = {int: numbers.Integral, float: numbers.Real, str: str}[self.type]
        if isinstance(value, bool) or not isinstance(value, (str, number)):
            raise ValueError
        return self.type(value)


def _range(text: str, one: Declared) -> range:
    """FIRST:LAST:STEP, with the last."""
    first, last, step = text.split(":")
    first, last = (one.convert(bound, text) for bound in (first, last))
    step = dataclasses.replace(one, minimum=1, maximum=None).convert(step, text)
    return range(first, last + 1, step)


def declared(section: type) -> list[Declared]:
    """The options of a section, in the order of declaration."""
    hints = typing.get_type_hints(section)
    result = []
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        several = typing.get_origin(hint) is tuple
        optional = bool(kinds) and not several
        found = dict(field.metadata[_METADATA])
        kind = kinds[0] if kinds else hint
        result.append(Declared(field.name, kind, several, optional, field.default, **found))
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
