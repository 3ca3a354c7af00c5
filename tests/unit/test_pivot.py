"""Packing ratings for their partitions and unpacking them there, without Spark in between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema
from scipy import sparse

from logs import block_triples, latest, triples, years
from standins import block_matrix
from strategies import MOVIE_IDS, USER_IDS, rating_frame, rating_logs
from tastemap import compact, pivot, schemas, vectors
from tastemap.blocks import Block, decode
from tastemap.pivot import NEVER, _bucket, _gather_partition, _pack, to_block

PARSED = pa.schema(
    [
        ("user_id", pa.int64()),
        ("movie_id", pa.int32()),
        ("rating", pa.float32()),
        ("rated_at", pa.timestamp("us", "UTC")),
        ("source", pa.string()),
        ("position", pa.int64()),
        ("raw", pa.string()),
        ("reason", pa.string()),
    ]
)
RECEIVED = to_arrow_schema(schemas.PIECES)
ANY_MOVIE = 2**31 - 1


def blocked(log: pd.DataFrame) -> Block:
    times = log["rated_at"].astype("int64").where(log["rated_at"].notna(), NEVER)
    columns = (log["user_id"], log["movie_id"], log["rating"], times)
    return to_block(*(column.to_numpy() for column in columns))


def parsed(log: pd.DataFrame) -> pa.RecordBatch:
    ratings = pa.RecordBatch.from_pandas(log, preserve_index=False)
    nothing = [pa.nulls(len(log), field.type) for field in PARSED][4:]
    return pa.record_batch([*ratings.columns, *nothing], schema=PARSED)


def rejected(n: int, start: int = 0) -> pa.RecordBatch:
    numbers = range(start, start + n)
    nothing = [pa.nulls(n, field.type) for field in PARSED][:4]
    texts = [["a.csv"] * n, numbers, [f"line {i}" for i in numbers], ["broken"] * n]
    told = [pa.array(column, field.type) for column, field in zip(texts, list(PARSED)[4:], strict=True)]
    return pa.record_batch([*nothing, *told], schema=PARSED)


def gathered(
    tasks: list[list[pa.RecordBatch]], targets: npt.NDArray[np.int32]
) -> dict[int, list[pa.RecordBatch]]:
    """What becomes of the batches of some tasks, by target: pack, send every piece to its target, unpack."""
    sent: dict[int, list[pa.RecordBatch]] = {int(target): [] for target in targets}
    for batches in tasks:
        for pieces in _pack(targets)(iter(batches)):
            received = pieces.cast(RECEIVED)  # as it comes back from Spark
            for row, target in enumerate(received["target"].to_pylist()):
                sent[target].append(received.slice(row, 1))
    whole = {
        target: pa.Table.from_batches(pieces, RECEIVED).combine_chunks() for target, pieces in sent.items()
    }
    rows = {target: list(_gather_partition(iter(table.to_batches()))) for target, table in whole.items()}
    for batches in rows.values():
        assert all(batch.schema == batches[0].schema for batch in batches)  # or Arrow refuses to send them
    return rows


def all_blocks(rows: dict[int, list[pa.RecordBatch]]) -> Iterator[Block]:
    for batches in rows.values():
        for batch in batches:
            yield from decode(batch, ANY_MOVIE)


@settings(max_examples=200, deadline=None)
@given(rating_logs())
def test_to_block_against_pandas(log: pd.DataFrame) -> None:
    block = blocked(log)
    assert block_triples(block) == triples(latest(log))  # in order: users, then movies, ascending
    assert block.ids.tolist() == sorted(set(log["user_id"]))
    assert (block.ids.dtype, block.matrix.data.dtype) == (np.int64, np.float32)
    assert block.matrix.indices.dtype == np.int32
    assert block.years is not None and block.years.dtype == np.int16
    in_order = latest(log).sort_values(["user_id", "movie_id"])
    np.testing.assert_array_equal(block.years, years(in_order))


@settings(max_examples=50, deadline=None)
@given(rating_logs(min_size=1), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(log: pd.DataFrame, random: object) -> None:
    order = list(range(len(log)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert block_triples(blocked(log.iloc[order])) == block_triples(blocked(log))


def test_all_users_and_movies_there_can_be() -> None:
    rows = [
        (user, movie, 1 + i % 5, i) for i, user in enumerate(USER_IDS) for movie in (*MOVIE_IDS, 2**31 - 1)
    ]
    log = rating_frame(rows)
    assert block_triples(blocked(log.sample(frac=1, random_state=0))) == triples(log)


def test_users_and_movies_however_far_apart() -> None:
    for span in (1, 5, 6, 2**32, 2**62, 2**64 - 1):  # of three values up to 5 are close together
        log = rating_frame([(-(2**63) + span, 5, 1.0, 1), (-(2**63), 6, 2.0, 1), (-(2**63), 5, 3.0, 2)])
        assert block_triples(blocked(log)) == triples(log)


def test_more_users_and_movies_than_two_bytes_number() -> None:
    users = np.arange(70_000)
    log = rating_frame([(int(user), int(user) % 66_000, 3.0, None) for user in users])
    assert block_triples(blocked(log.sample(frac=1, random_state=0))) == triples(log)


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([(1, 2, 5.0, 10), (1, 2, 1.0, 11), (1, 2, 3.0, 9)], 1.0),  # the latest
        ([(1, 2, 2.0, 10), (1, 2, 4.5, 10), (1, 2, 4.0, 10)], 4.5),  # of equally late ones the highest
        ([(1, 2, 5.0, None), (1, 2, 0.5, -(10**8))], 0.5),  # without a time: older than any
        ([(1, 2, 2.0, None), (1, 2, 3.0, None)], 3.0),
        ([(1, 2, 2.0, 10), (1, 2, 2.0, 10)], 2.0),
    ],
)
def test_which_of_several_ratings_stays(rows: list[tuple[int, int, float, int]], kept: float) -> None:
    around = [(1, 1, 0.5, 99), (1, 3, 1.5, 0), (2, 2, 2.5, 99), (0, 2, 3.5, 0)]
    for turned in (rows, rows[::-1]):
        block = blocked(rating_frame([*turned[:1], *around, *turned[1:]]))
        assert block_triples(block) == [(0, 2, 3.5), (1, 1, 0.5), (1, 2, kept), (1, 3, 1.5), (2, 2, 2.5)]


def test_an_empty_log_is_an_empty_block() -> None:
    block = blocked(rating_frame([]))
    assert block.matrix.shape == (0, ANY_MOVIE) and block.ids.size == block.matrix.nnz == 0


@settings(max_examples=80, deadline=None)
@given(rating_logs(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 7), st.data())
def test_packing_and_gathering_against_pandas(
    log: pd.DataFrame, n_targets: int, n_tasks: int, batch: int, data: st.DataObject
) -> None:
    task_of = data.draw(st.lists(st.integers(0, n_tasks - 1), min_size=len(log), max_size=len(log)))
    shares = [log[np.array(task_of, dtype=int) == task] for task in range(n_tasks)]
    tasks = [[parsed(share[i : i + batch]) for i in range(0, len(share), batch)] for share in shares]
    targets = np.array([5, -7, 0, 2**31 - 1, 12], dtype=np.int32)[:n_targets]
    rows = gathered(tasks, targets)
    blocks = list(all_blocks(rows))
    assert sorted(triple for block in blocks for triple in block_triples(block)) == triples(latest(log))
    assert sum(block.ids.size for block in blocks) == log["user_id"].nunique()  # nobody in two blocks
    batches = [found for some in rows.values() for found in some]
    assert sum(sum(found["n_records"].to_pylist()) for found in batches) == len(log)
    assert sum(sum(found["n_duplicates"].to_pylist()) for found in batches) == len(log) - len(latest(log))
    assert all(found.schema.names == schemas.GATHERED.names for found in batches)


def test_a_task_packs_no_more_than_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivot, "RATINGS_PER_PACKING", 10)
    monkeypatch.setattr(pivot, "RATINGS_PER_PIECE", 0)
    log = rating_frame([(user, 1, 3.0, None) for user in range(35)])
    targets = np.array([0], dtype=np.int32)
    pieces = list(_pack(targets)(parsed(log[i : i + 4]) for i in range(0, 35, 4)))
    assert [compact.read(piece["user_ids"], 0).codes.size for piece in pieces] == [12, 12, 11]
    (block,) = all_blocks(gathered([[parsed(log)]], targets))
    assert block_triples(block) == triples(log)


def test_rejects_are_counted_and_kept_in_rows_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivot, "REJECTS_PER_PIECE", 10)
    log = rating_frame([(1, 1, 3.0, None), (2, 1, 4.0, None)])
    tasks = [[rejected(3), parsed(log), rejected(25, 3)], [rejected(4, 28)], [parsed(log[:0])], []]
    rows = gathered(tasks, np.array([4, 9], dtype=np.int32))
    batches = [batch for some in rows.values() for batch in some]
    lists = [cell for batch in batches for cell in batch["rejects"].to_pylist()]
    assert max(map(len, lists)) == 10
    found = sorted((reject for cell in lists for reject in cell), key=lambda reject: reject["position"])
    assert found == [
        {"source": "a.csv", "position": i, "raw": f"line {i}", "reason": "broken"} for i in range(32)
    ]
    assert sum(sum(batch["n_records"].to_pylist()) for batch in batches) == 2 + 32
    assert sum(sum(batch["n_duplicates"].to_pylist()) for batch in batches) == 0
    assert sorted(triple for block in all_blocks(rows) for triple in block_triples(block)) == triples(log)
    # Bad records spread over the partitions too.
    assert all(any(any(batch["rejects"].to_pylist()) for batch in some) for some in rows.values())


def test_a_few_rejects_in_each_packing_do_not_meet_in_one_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivot, "RATINGS_PER_PACKING", 1)
    monkeypatch.setattr(pivot, "RATINGS_PER_PIECE", 0)
    targets = np.array([4, 9, 2], dtype=np.int32)
    pieces = list(_pack(targets)(rejected(1, number) for number in range(7)))
    assert [piece["target"].to_pylist() for piece in pieces] == [[4], [9], [2], [4], [9], [2], [4]]


def test_good_and_bad_records_in_one_batch() -> None:
    log = rating_frame([(1, 1, 3.0, 5), (2, 7, 4.0, None)])
    mixed = (
        pa.Table.from_batches([parsed(log[:1]), rejected(2), parsed(log[1:])]).combine_chunks().to_batches()
    )
    rows = gathered([mixed], np.array([0], dtype=np.int32))
    (only,) = rows.values()
    assert [
        reject["position"] for batch in only for cell in batch["rejects"].to_pylist() for reject in cell
    ] == [0, 1]
    assert [triple for block in all_blocks(rows) for triple in block_triples(block)] == triples(log)


def test_partitions_without_pieces_have_no_rows() -> None:
    assert list(_gather_partition(iter([]))) == []
    assert list(_pack(np.array([0], dtype=np.int32))(iter([]))) == []
    assert list(_pack(np.array([0], dtype=np.int32))(iter([parsed(rating_frame([]))]))) == []


@pytest.mark.parametrize(
    "users",
    [
        np.arange(60_000),
        np.arange(60_000) * 64,
        np.arange(60_000) * 2**32,
        -np.arange(60_000) * 1_000_000_007,
        np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 60_000),
    ],
    ids=["small", "every 64th", "high bits only", "negative", "hashes"],
)
@pytest.mark.parametrize("n", [1, 6, 7, 64, 70_000])
def test_users_are_spread_evenly(users: npt.NDArray[np.int64], n: int) -> None:
    bucket = _bucket(users, n)
    assert bucket.dtype == (np.uint16 if n < 2**16 else np.uint32)
    counts = np.bincount(bucket, minlength=n)
    assert counts.size == n
    if n <= 64:
        mean = users.size / n
        assert np.abs(counts - mean).max() <= 6 * np.sqrt(mean)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_vectors_are_made_of_a_few_values_at_a_time(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Whatever fits into a batch: every user once, in order, with all ratings."""
    monkeypatch.setattr(pivot, "VALUES_AT_ONCE", at_once)
    matrix = sparse.random(20, 6, 0.3, "csr", random_state=1)
    block = Block(np.arange(20) + 100, matrix)
    batches = list(pivot.user_vectors(block_matrix([[matrix]])).rows(iter([block])))
    assert (len(batches) > 1) == (at_once < matrix.nnz)
    table = pa.Table.from_batches(batches)
    assert table["user_id"].to_pylist() == block.ids.tolist()
    found = vectors.to_csr(table["features"].combine_chunks(), 6)
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
