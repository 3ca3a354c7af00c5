"""How active users are, against NumPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tastemap import activity

_RNG = np.random.default_rng(0)
USERS = pd.DataFrame(
    {"cluster": _RNG.integers(0, 3, 500), "n_ratings": 1 + (_RNG.pareto(1, 500) * 20).astype(int)}
)


@pytest.fixture(scope="module")
def active() -> pd.DataFrame:
    return activity.counts(
        pd.crosstab(USERS["cluster"], USERS["n_ratings"])
        .reindex(columns=range(USERS["n_ratings"].max() + 1), fill_value=0)
        .to_numpy(float)
    )


def test_counts(active: pd.DataFrame) -> None:
    expected = USERS.groupby(["cluster", "n_ratings"]).size().rename("n_users").reset_index()
    pd.testing.assert_frame_equal(active, expected, check_dtype=False)


def test_quantiles(active: pd.DataFrame) -> None:
    found = activity.quantiles(active).set_index("cluster")["activity"]
    assert sorted(found.index) == [0, 1, 2]
    for cluster, some in USERS.groupby("cluster")["n_ratings"]:
        quantiles = np.quantile(some, activity.SHARES, method="inverted_cdf")
        names = ("min", "q25", "median", "q75", "max")
        assert found[cluster] == dict(zip(names, quantiles.tolist(), strict=True))


def test_bars_are_half_octaves() -> None:
    n_ratings = [1, 2, 3, 4, 5, 6, 7, 8, 181, 182, 2**20]
    users = pd.DataFrame({"cluster": [0, 1] * 5 + [0], "n_ratings": n_ratings, "n_users": range(1, 12)})
    found = activity.bars(users)
    for cluster, own in users.groupby("cluster"):
        bars = found[found["cluster"] == cluster]
        edges = [2 ** (number / 2) for number in range(43)]
        counts, _ = np.histogram(own["n_ratings"], edges, weights=own["n_users"])
        expected = {edges[number]: n for number, n in enumerate(counts) if n}
        assert dict(zip(bars["low"], bars["n_users"], strict=True)) == pytest.approx(expected)


def test_bars_of_few_are_left_out(active: pd.DataFrame) -> None:
    everything = activity.bars(active)
    kept = activity.bars(active, 8)
    expected = everything[everything["n_users"] >= 8].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, expected)
    assert 0 < len(kept) < len(everything)
