"""Pseudonyms: against hashlib by hand, and what a key file has to be."""

from __future__ import annotations

import hashlib
import logging
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tastemap.errors import UserError
from tastemap.pseudonyms import Pseudonyms

SECRET = b"0123456789abcdef-secret"
IDS = np.array([0, 1, -1, 2**63 - 1, -(2**63), 42, 42], dtype=np.int64)


def key_file(folder: Path, content: bytes = SECRET, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_hashes_are_blake2b_with_the_key(tmp_path: Path) -> None:
    found = Pseudonyms.read(key_file(tmp_path)).of(IDS)
    key = hashlib.blake2b(SECRET, person=b"tastemap key").digest()
    expected = [
        struct.unpack(
            "<q",
            hashlib.blake2b(struct.pack("<q", i), digest_size=8, key=key, person=b"tastemap user").digest(),
        )[0]
        for i in IDS.tolist()
    ]
    assert found.dtype == np.int64 and found.tolist() == expected


def test_the_same_key_gives_the_same_and_another_others(tmp_path: Path) -> None:
    ids = np.arange(10_000)
    first = Pseudonyms.read(key_file(tmp_path)).of(ids)
    for end in (b"\n", b"\r\n"):  # an editor's
        assert (Pseudonyms.read(key_file(tmp_path, SECRET + end)).of(ids) == first).all()
    other = Pseudonyms.read(key_file(tmp_path, SECRET + b"!")).of(ids)
    assert np.unique([first, other]).size == 20_000
    # Nothing of the order of ids is left, and all 64 bits are used.
    assert abs(np.corrcoef(np.argsort(np.argsort(first)), ids)[0, 1]) < 0.05
    assert np.bitwise_or.reduce(first) == -1 and np.bitwise_and.reduce(first) == 0


def test_no_ids() -> None:
    assert Pseudonyms(b"k" * 64).of(np.empty(0, np.int64)).tolist() == []


def test_the_key_shows_nowhere(tmp_path: Path) -> None:
    found = Pseudonyms.read(key_file(tmp_path))
    assert str(found) == "Pseudonyms()"
    assert SECRET not in pickle.dumps(found)  # what executors get is derived of it


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 15 + b"\n\n", b"x" * (2**20 + 1)])
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    path = key_file(tmp_path, content)
    with pytest.raises(UserError, match="a key has from 16 to 1,048,576; make one with: head") as error:
        Pseudonyms.read(path)
    assert f"--pseudonymise-key-file {path} holds" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none cannot be read: No such file or directory; make one with"):
        Pseudonyms.read(str(tmp_path / "none"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        Pseudonyms.read(str(tmp_path))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_for_everybody_to_read(
    tmp_path: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Pseudonyms.read(key_file(tmp_path, mode=mode))
    assert ("can be read by everybody on this machine: chmod 600" in caplog.text) is warned
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert SECRET.decode() not in caplog.text
