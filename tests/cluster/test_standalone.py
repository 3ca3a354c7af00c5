"""The main job on a standalone cluster of real processes: a master and two workers on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import standalone
from submission import submit

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The master's URL; two workers of one core each."""
    with standalone.cluster(tmp_path_factory.mktemp("cluster"), [(), ()]) as url:
        yield url


def test_two_workers_give_what_one_machine_gives(cluster: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (user, movie, rng.integers(1, 11) / 2, 10**9)
        for user in range(120)
        for movie in rng.choice(np.arange(user % 2 * 20, user % 2 * 20 + 40), 25, replace=False)
    ]
    log = tmp_path / "ratings.csv"
    pd.DataFrame(rows, columns=["userId", "movieId", "rating", "timestamp"]).to_csv(log, index=False)
    results = {}
    for name, master in (("one", "local[2]"), ("two", cluster)):
        options = ("--master", master, "--executor-memory", "512m")
        few = ("--n-components", 2, "--n-clusters", 2, "--weighting", "rated")
        done = submit(
            "cluster_users.py",
            "--ratings",
            log,
            "--output",
            tmp_path / name,
            *few,
            folder=tmp_path,
            options=options,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        results[name] = pq.read_table(tmp_path / name / "assignments").to_pandas().sort_values("user_id")
    one, two = results.values()
    assert np.array_equal(one.user_id, two.user_id) and np.array_equal(one.n_ratings, two.n_ratings)
    # Two groups watch different movies: whatever the start, KMeans finds them.
    for found in results.values():
        assert len(found.groupby(found.user_id % 2).cluster.unique().explode()) == 2
    assert np.allclose(one.distance, two.distance, atol=1e-6)
    variances = [pq.read_table(tmp_path / name / "components").to_pandas().variance for name in results]
    assert np.allclose(*variances, rtol=1e-6)
    counts = [json.loads((tmp_path / name / "run.json").read_text())["counts"] for name in results]
    assert counts[0] == counts[1]
