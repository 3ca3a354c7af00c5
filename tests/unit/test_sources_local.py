"""Files that workers read themselves: every record once, wherever splits and pieces end."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastemap.sources import local
from tastemap.sources.files import Split
from tastemap.sources.local import LocalReader, read

MARK = b"\xef\xbb\xbf"

texts = st.lists(st.sampled_from([b":", b"\n", b"1", b"22", b"user,3\n"]), max_size=30).map(b"".join)


def splits(size: int, length: int) -> list[Split]:
    """A file of some bytes in splits of `length`."""
    uri = "file:/a b"
    return [
        Split(number, uri, "file:/a%20b", start, min(length, size - start), size)
        for number, start in enumerate(range(0, size, length))
    ]


def records_of(text: bytes, length: int) -> list[tuple[int, bytes]]:
    """Number of the split and text of each record: Hadoop's rule, byte by byte."""
    text = text.removeprefix(MARK) if text.startswith(MARK) else text
    found, start = [], 0
    for record in text.split(b":"):
        if start < len(text):
            # One that begins where a split does is the last of the split before it.
            found.append((max(0, -(-start // length) - 1), record))
        start += len(record) + 1
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, length=st.integers(1, 40), piece=st.integers(1, 12))
def test_splits_hold_the_records_that_hadoop_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, length: int, piece: int
) -> None:
    monkeypatch.setattr(local, "PIECE", piece)
    path = tmp_path / "log"
    path.write_bytes(text)
    found = []
    for split in splits(len(text), length):
        for part in read(str(path), split, b":"):
            assert part
            found += [(split.partition, record) for record in part.removesuffix(b":").split(b":")]
    assert found == records_of(text, length)


@pytest.mark.parametrize("piece", [3, 4, 100])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(local, "PIECE", piece)
    (tmp_path / "log").write_bytes(MARK + b"1:\n2:\n")
    (whole,) = splits(9, 9)
    assert b"".join(read(str(tmp_path / "log"), whole, b":")) == b"1:\n2:\n"


def values(tmp_path: Path, text: bytes, separator: bytes, *headers: bytes) -> list[bytes]:
    (tmp_path / "log").write_bytes(text)
    (split,) = splits(len(text), len(text))
    reader = LocalReader((((str(tmp_path / "log"), split),),), ("value", "path", "size"), separator, headers)
    found = []
    for batch in reader(iter([pa.record_batch({"id": pa.array([0], pa.int64())})])):
        assert set(batch["path"].to_pylist()) == {"file:/a%20b"}
        assert set(batch["size"].to_pylist()) == {len(text)}
        found += batch["value"].to_pylist()
    return found


def test_records_are_values_and_lines_come_together(tmp_path: Path) -> None:
    assert b":".join(values(tmp_path, b"1:\n5,3\n2::\n", b":")) == b"1:\n5,3\n2::\n"
    assert b"\n".join(values(tmp_path, b"a\r\nb\n\rc\rd", b"\n")) == b"a\nb\n\nc\nd"
    assert values(tmp_path, b"head\n1\nahead\nhead\r\n2\n", b"\n", b"head") == [b"1\nahead\n2"]
