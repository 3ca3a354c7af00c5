"""Sparse matrices in few bytes a value, for what the driver keeps of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

Compressed = TypeVar("Compressed", sparse.csr_matrix, sparse.csc_matrix)


@dataclass(frozen=True)
class Packed(Generic[Compressed]):
    """A matrix of float32 or float64, its indices in two bytes where these have room for them."""

    matrix: Compressed
    """Of the same shape, without values and indices."""
    values: npt.NDArray[Any]
    """Of shape (nnz,)."""
    indices: npt.NDArray[Any]
    """Of shape (nnz,)."""

    @classmethod
    def of(cls, matrix: Compressed, *, rough: bool) -> Packed[Compressed]:
        """Pack a matrix.

        Parameters
        ----------
        matrix : csr_matrix or csc_matrix
        rough : bool
            Whether of the values, of float32, only the upper halves are kept: to one part in 500, whatever
            their size. (Half precision is finer, but has no numbers beyond 65,504.)
        """
        empty = type(matrix)(matrix.shape, dtype=matrix.dtype)
        empty.indptr = matrix.indptr
        minor = matrix.shape[1 if matrix.format == "csr" else 0]
        indices = matrix.indices.astype(np.min_scalar_type(max(minor - 1, 0)), copy=False)
        return cls(empty, _upper_halves(matrix.data) if rough else matrix.data, indices)

    def unpacked(self) -> Compressed:
        """The matrix."""
        found = type(self.matrix)(self.matrix.shape, dtype=self.matrix.dtype)
        rough = self.values.dtype != self.matrix.dtype
        values: npt.NDArray[Any] = _from_upper_halves(self.values) if rough else self.values
        found.data = values
        found.indices = self.indices.astype(self.matrix.indptr.dtype, copy=False)
        found.indptr = self.matrix.indptr
        return found


def _upper_halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Sign, exponent and seven bits of each value, rounded: what is known as bfloat16."""
    bits: npt.NDArray[np.uint32] = values.view(np.uint32)
    return ((bits + np.uint32(1 << 15)) >> np.uint32(16)).astype(np.uint16)


def _from_upper_halves(halves: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    bits = halves.astype(np.uint32)
    bits <<= np.uint32(16)
    return bits.view(np.float32)
