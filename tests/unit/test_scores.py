"""Blocks of scores as rows of a DataFrame, and back."""

from __future__ import annotations

import numpy as np
import pytest

from tastemap.clustering import scores
from tastemap.clustering.scores import ScoreBlock, decode, encode


def block(n: int, m: int) -> ScoreBlock:
    rng = np.random.default_rng(0)
    ids, n_ratings = np.sort(rng.integers(0, 10**12, n)), rng.integers(1, 500, n).astype(np.int32)
    return ScoreBlock(ids, rng.standard_normal((n, m)), n_ratings, rng.uniform(1, 5, n))


@pytest.mark.parametrize(("scores_per_row", "n_rows"), [(1 << 19, 1), (84, 1), (83, 2), (20, 5), (1, 21)])
def test_a_large_block_takes_several_rows(
    monkeypatch: pytest.MonkeyPatch, scores_per_row: int, n_rows: int
) -> None:
    monkeypatch.setattr(scores, "SCORES_PER_ROW", scores_per_row)
    given = block(21, 4)
    batch = encode(given)
    assert batch.num_rows == n_rows
    parts = list(decode(batch))
    assert len(parts) == n_rows and all(part.scores.shape == (part.ids.size, 4) for part in parts)
    for name in ("ids", "scores", "n_ratings", "mean_ratings"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), getattr(given, name)
        )


def test_no_users() -> None:
    assert list(decode(encode(block(0, 4)))) == []
