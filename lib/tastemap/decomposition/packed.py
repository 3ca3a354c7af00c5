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
    """A matrix of float32 or float64, its indices in one or two bytes where these have room for them."""

    kind: type[Compressed]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    """Of the matrix's values."""
    values: npt.NDArray[Any]
    """Of shape (nnz,); of float32 perhaps the upper halves alone."""
    indices: npt.NDArray[Any]
    """Of shape (nnz,)."""
    indptr: npt.NDArray[np.int32]

    @classmethod
    def of(cls, matrix: Compressed, *, rough: bool) -> Packed[Compressed]:
        """Pack a matrix.

        Parameters
        ----------
        matrix : csr_matrix or csc_matrix
        rough : bool
            Whether of the values, of float32, only the upper halves are kept: to one part in 256, whatever
            their size. (Half precision is finer, but has no numbers beyond 65,504.)
        """
        n_indices = matrix.shape[1 if matrix.format == "csr" else 0]
        indices = matrix.indices.astype(np.min_scalar_type(max(n_indices - 1, 0)), copy=False)
        values = _upper_halves(matrix.data) if rough else matrix.data
        return cls(type(matrix), matrix.shape, matrix.dtype, values, indices, matrix.indptr)

    def unpacked(self) -> Compressed:
        """The matrix."""
        rough = self.values.dtype != self.dtype
        values = _from_upper_halves(self.values) if rough else self.values
        indices = self.indices.astype(self.indptr.dtype, copy=False)
        return self.kind((values, indices, self.indptr), shape=self.shape)


def _upper_halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Sign, exponent and seven bits of each value, rounded: what is known as bfloat16."""
    bits: npt.NDArray[np.uint32] = values.view(np.uint32)
    return ((bits + np.uint32(1 << 15)) >> np.uint32(16)).astype(np.uint16)


def _from_upper_halves(halves: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    bits = halves.astype(np.uint32)
    bits <<= np.uint32(16)
    return bits.view(np.float32)
