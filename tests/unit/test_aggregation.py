"""Sums of arrays over partitions, against NumPy's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standins import Cluster, LocalFrame, rows_of
from tastemap import aggregation
from tastemap.aggregation import MAX_PARTIALS_ON_DRIVER, SLICE, sum_arrays, sum_by_key

Shapes = Sequence[tuple[int, ...]]


def frame_of(n_partitions: int, cluster: Cluster | None = None) -> LocalFrame:
    """One row a partition: its number."""
    batches = [pa.record_batch([pa.array([number])], names=["partition"]) for number in range(n_partitions)]
    return LocalFrame([[batch] for batch in batches], cluster or Cluster())


def arrays_of(number: int, shapes: Shapes) -> list[np.ndarray]:
    rng = np.random.default_rng(number)
    return [rng.integers(-9, 9, shape).astype(np.float64) for shape in shapes]


def summed(frame: LocalFrame, shapes: Shapes) -> list[np.ndarray]:
    def partial(batches: Iterator[pa.RecordBatch]) -> list[np.ndarray]:
        numbers = [number for batch in batches for number in batch["partition"].to_pylist()]
        parts = [arrays_of(number, shapes) for number in numbers]
        return [sum((part[at] for part in parts), np.zeros(shape)) for at, shape in enumerate(shapes)]

    return sum_arrays(rows_of(frame), ["partition"], partial, shapes)


def expected(n_partitions: int, shapes: Shapes) -> list[np.ndarray]:
    parts = [arrays_of(number, shapes) for number in range(n_partitions)]
    return [np.sum([part[at] for part in parts], axis=0) for at in range(len(shapes))]


@settings(derandomize=True, deadline=None)
@given(
    n_partitions=st.integers(1, 2 * MAX_PARTIALS_ON_DRIVER),
    shapes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4),
    slice_size=st.integers(1, 60),
    parallelism=st.integers(1, 5),
)
def test_sums_are_exact_and_keep_their_shapes(
    n_partitions: int, shapes: Shapes, slice_size: int, parallelism: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "SLICE", slice_size)
        found = summed(frame_of(n_partitions, Cluster(defaultParallelism=parallelism)), shapes)
    for array, right in zip(found, expected(n_partitions, shapes), strict=True):
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, right)


def test_every_task_gives_back_what_it_has_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[str] = []
    monkeypatch.setattr("tastemap.executors.release_memory", lambda: given_back.append("memory"))
    summed(frame_of(3), [(2,)])
    assert len(given_back) == 3
    schema = pa.schema([("partition", pa.int64()), ("n", pa.int64())])
    numbers = frame_of(4)

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.record_batch([batch["partition"], pa.array([1] * batch.num_rows)], schema=schema)

    assert sum_by_key(rows_of(numbers), ["partition"], count, schema).num_rows == 4
    assert len(given_back) == 3 + 4


@pytest.mark.parametrize("n_partitions", [MAX_PARTIALS_ON_DRIVER, MAX_PARTIALS_ON_DRIVER + 1, 100])
def test_the_driver_receives_few_partial_sums(n_partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "SLICE", 1000)
    shapes = [(1007,), (3, 2)]
    frame = frame_of(n_partitions)
    for array, right in zip(summed(frame, shapes), expected(n_partitions, shapes), strict=True):
        np.testing.assert_array_equal(array, right)
    direct = n_partitions <= MAX_PARTIALS_ON_DRIVER
    assert frame.cluster.shuffles == (0 if direct else 1)
    n_slices = 2
    assert frame.cluster.rows_collected == n_slices * (n_partitions if direct else 1)


def test_partitions_without_rows_add_nothing() -> None:
    frame = frame_of(3)
    frame.partitions[1:1] = [[], []]
    np.testing.assert_array_equal(summed(frame, [(4, 2)])[0], expected(3, [(4, 2)])[0])


def test_arrays_longer_than_a_slice_are_cut() -> None:
    shapes = [(2, SLICE), (5,)]
    for array, right in zip(summed(frame_of(2), shapes), expected(2, shapes), strict=True):
        np.testing.assert_array_equal(array, right)


BY_KEY = pa.schema([("movie_id", pa.int32()), ("n", pa.int64()), ("total", pa.float64())])


@settings(derandomize=True, deadline=None)
@given(
    partitions=st.lists(
        st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 5), st.integers(-8, 8).map(lambda n: n / 2))),
        max_size=2 * MAX_PARTIALS_ON_DRIVER,
    ).filter(bool),
    parallelism=st.integers(1, 5),
)
def test_sums_by_key_are_those_of_pandas(
    partitions: list[list[tuple[int, int, float]]], parallelism: int
) -> None:
    """In as many rows as may be: the same key several times in a partition, or in none."""

    def batch(rows: list[tuple[int, int, float]]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([dict(zip(BY_KEY.names, row, strict=True)) for row in rows], BY_KEY)

    cluster = Cluster(defaultParallelism=parallelism)
    rows = rows_of(LocalFrame([[batch(part)] if part else [] for part in partitions], cluster))
    found = sum_by_key(rows, BY_KEY.names, lambda batches: batches, BY_KEY)
    assert found.schema == BY_KEY
    everything = pd.DataFrame([row for part in partitions for row in part], columns=BY_KEY.names)
    expected = everything.groupby("movie_id", as_index=False).sum()
    assert found.to_pylist() == expected.to_dict("records")
    assert cluster.rows_collected <= len(expected) * MAX_PARTIALS_ON_DRIVER
    assert (cluster.shuffles > 0) == (len(partitions) > MAX_PARTIALS_ON_DRIVER)
