"""Keyed hashes in place of user ids: the same for the same key, and without it not to be traced back.

Ids are few enough to try them all, so that a plain hash hides nothing; BLAKE2b with a secret key
(RFC 7693) does.
"""

from __future__ import annotations

import hashlib
import logging
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tastemap.block_tables import BlockTable
from tastemap.blocks import BlockFrame, Load
from tastemap.errors import UserError

log = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]
Frame = TypeVar("Frame", bound=BlockFrame[Any])
"""Of blocks that have `ids`."""

MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 1 << 20
"""A file that is larger was hardly made as a key."""
WITHHELD = "(withheld: it may name users)"

_FLAG = "--pseudonymise-key-file"
_HOW = "make one with: head -c 32 /dev/urandom | base64 > FILE"


@dataclass(frozen=True)
class Pseudonyms:
    """A secret that turns user ids into other numbers of 64 bits.

    Two of n ids get the same one with a chance of about n² / 2⁶⁵: 3e-4 for 100 million.
    """

    key: bytes = field(repr=False)
    """Of at most 64 bytes."""

    @classmethod
    def read(cls, path: str) -> Pseudonyms:
        """Take the key from a file; line ends after it, which editors add, do not count.

        Raises
        ------
        UserError
            The file cannot be read, or is no key.
        """
        file = Path(path)
        try:
            with file.open("rb") as stream:
                secret = stream.read(MAX_KEY_BYTES + 1).rstrip(b"\r\n")
            mode = file.stat().st_mode
        except OSError as error:
            raise UserError(f"{_FLAG} {path} cannot be read: {error.strerror}; {_HOW}") from error
        if not MIN_KEY_BYTES <= len(secret) <= MAX_KEY_BYTES:
            raise UserError(
                f"{_FLAG} {path} holds {len(secret):,} bytes; a key has from {MIN_KEY_BYTES} to "
                f"{MAX_KEY_BYTES:,}; {_HOW}"
            )
        if mode & stat.S_IROTH:
            log.warning("%s %s can be read by everybody on this machine: chmod 600 %s", _FLAG, path, path)
        return cls(hashlib.blake2b(secret, person=b"tastemap key").digest())

    def of(self, ids: Ids) -> Ids:
        """Pseudonyms of ids, of shape (n,); about a microsecond each."""
        keyed = hashlib.blake2b(digest_size=8, key=self.key, person=b"tastemap user")
        numbers = memoryview(ids.astype("<i8").tobytes())
        digests = []
        for start in range(0, len(numbers), 8):
            hashed = keyed.copy()
            hashed.update(numbers[start : start + 8])
            digests.append(hashed.digest())
        return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)

    def applied(self, frame: Frame) -> Frame:
        """The same rows under pseudonyms, for what is written."""
        return frame.loading(self._loading(frame.load))

    def _loading(self, load: Load[Any]) -> Load[Any]:
        def renamed(batch: pa.RecordBatch) -> Iterator[Any]:
            for block in load(batch):
                yield replace(block, ids=self.of(block.ids))

        return renamed


def pseudonymised(frame: Frame, pseudonyms: Pseudonyms | None) -> Frame:
    """The same rows under pseudonyms, if there are any: under the ids that may be shown."""
    return frame if pseudonyms is None else pseudonyms.applied(frame)


def user_table(
    make: Callable[[Frame], BlockTable[Any]], frame: Frame, pseudonyms: Pseudonyms | None
) -> DataFrame | BlockTable[Any]:
    """A table with a row a user, `user_id`, as `make` makes it of blocks; under pseudonyms if there are any.

    Blocks hold users by id, so that where a row stands would tell which id it is of: one shuffle puts
    pseudonyms into an order of their own.
    """
    table = make(pseudonymised(frame, pseudonyms))
    if pseudonyms is None:
        return table
    return table.frame().repartition("user_id").sortWithinPartitions("user_id")


def withheld(rejects: DataFrame) -> DataFrame:
    """The `rejects` table without the text of the records, which may name users."""
    return rejects.withColumn("raw", F.lit(WITHHELD))


def check_distinct(table: DataFrame, n_users: int) -> None:
    """Make sure that no two users have become one.

    Raises
    ------
    UserError
        They have; a rare chance.
    """
    n_found = table.select("user_id").distinct().count()
    if n_found != n_users:
        raise UserError(
            f"{n_users - n_found:,} of {n_users:,} users have the pseudonym of another, which happens with "
            f"a chance of about {n_users**2 / 2**65:.0e}; give another key by {_FLAG}"
        )
