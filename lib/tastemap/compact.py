"""Arrays in few bytes, and back without loss.

Ids, days and stars need one to four bytes of the eight they come in. What crosses between the JVM and
NumPy, is shuffled or stays persisted is written so: the codes are a third of the arrays' size, and making
and undoing them takes less time than moving the rest would.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UNITS = (86_400_000_000, 1_000_000)
"""Microseconds that times are whole numbers of: a day, a second."""
DIVISORS = (1, 2, 10)
"""Ratings in whole, half and tenth points are whole numbers once multiplied by this."""

_HEADER = struct.Struct("<4s4sqq")


@dataclass(frozen=True)
class Compact:
    """An array of one dimension: offset + unit · codes for integers, codes / unit for floats."""

    codes: npt.NDArray[Any]
    """Of shape (n,)."""
    dtype: np.dtype[Any]
    """Type of the array."""
    offset: int
    unit: int

    def __getitem__(self, chosen: npt.NDArray[np.int64]) -> Compact:
        """Some of the elements."""
        return replace(self, codes=self.codes[chosen])

    def cells(self, slices: Sequence[slice]) -> pa.Array:
        """A binary column of a row for each slice of the elements, which `read` takes."""
        dtypes = (self.dtype.str[1:].encode(), self.codes.dtype.str[1:].encode())
        header = _HEADER.pack(*dtypes, self.offset, self.unit)
        parts = [np.ascontiguousarray(self.codes[each]) for each in slices]
        # Copied once, not to bytes of their own and from there to the column.
        text = b"".join(chain.from_iterable((header, part.data) for part in parts))
        ends = np.cumsum([0, *(len(header) + part.nbytes for part in parts)], dtype=np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(text)]
        return pa.Array.from_buffers(pa.binary(), len(parts), buffers)

    def values(self) -> npt.NDArray[Any]:
        """The array, of shape (n,); not to be written to."""
        if self.unit == 0:
            return np.require(self.codes, requirements="A")  # a cell begins anywhere
        values = self.codes.astype(self.dtype)
        if self.unit != 1:
            scale = np.divide if self.dtype.kind == "f" else np.multiply
            scale(values, self.dtype.type(self.unit), out=values)
        if self.offset:
            values += self.dtype.type(self.offset)
        return values


def narrow(values: npt.NDArray[Any]) -> Compact:
    """Integers and floats of shape (n,) as codes, or as they are where that saves nothing."""
    if values.size and values.dtype.kind == "i":
        return _integers(values)
    if values.size and values.dtype.kind == "f":
        return _floats(values)
    return _as_is(values)


def buffer_of(column: pa.Array, row: int) -> pa.Buffer:
    """The bytes of a cell of a binary column, without the copy that Arrow makes for a scalar."""
    _, offsets, data = column.buffers()
    kind = np.dtype(np.int64 if pa.types.is_large_binary(column.type) else np.int32)
    at = (column.offset + row) * kind.itemsize
    start, end = np.frombuffer(offsets, kind, count=2, offset=at).tolist()
    return data.slice(start, end - start)


def read(column: pa.Array, row: int) -> Compact:
    """A cell of `Compact.cells`, without a copy."""
    buffer = buffer_of(column, row)
    dtype, codes, offset, unit = _HEADER.unpack_from(buffer)
    return Compact(
        np.frombuffer(buffer, np.dtype(codes.rstrip(b"\0").decode()), offset=_HEADER.size),
        np.dtype(dtype.rstrip(b"\0").decode()),
        offset,
        unit,
    )


def cell(values: npt.NDArray[Any]) -> pa.Array:
    """A binary column of one row that holds an array."""
    return narrow(values).cells([slice(None)])


def _as_is(values: npt.NDArray[Any]) -> Compact:
    return Compact(values, values.dtype, 0, 0)


def _integers(values: npt.NDArray[Any]) -> Compact:
    low, high = int(values.min()), int(values.max())
    unit, whole = 1, values
    if high - low >= 2**32:
        unit, whole = _in_units(values)
    offset = (
        low // unit if low < 0 or high > np.iinfo(np.uint16).max * unit else 0
    )  # 0 where it narrows as well
    kind = np.min_scalar_type(high // unit - offset)
    if kind.itemsize >= values.dtype.itemsize:
        return _as_is(values)
    codes = whole if offset == 0 else whole - values.dtype.type(offset)
    return Compact(codes.astype(kind), values.dtype, offset * unit, unit)


def _in_units(values: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """The largest unit that values are whole numbers of, and how many of it they are."""
    for unit in UNITS:
        whole = values // unit
        if np.array_equal(whole * unit, values):
            return unit, whole
    return 1, values


def _floats(values: npt.NDArray[Any]) -> Compact:
    for divisor in DIVISORS:
        if _coded(values[:100], divisor) is not None:  # most that cannot be coded show it at once
            found = _coded(values, divisor)
            if found is not None:
                return found
    return _as_is(values)


def _coded(values: npt.NDArray[Any], divisor: int) -> Compact | None:
    with np.errstate(invalid="ignore", over="ignore"):
        codes = np.rint(values * values.dtype.type(divisor)).astype(np.uint8)
    found = Compact(codes, values.dtype, 0, divisor)
    same = np.array_equal(found.values(), values) and not np.signbit(values).any()  # -0.0 is no 0.0
    return found if same else None
