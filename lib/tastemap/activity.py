"""How many ratings the users of each cluster have given: quantiles, and bars for a figure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tastemap import schemas

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the users, where the quantiles of `schemas.ACTIVITY` are."""


def counts(users_by_n_ratings: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Of `Aggregates.users_by_n_ratings` what is not 0: columns cluster, n_ratings, n_users, ascending."""
    cluster, n_ratings = np.nonzero(users_by_n_ratings)
    n_users = users_by_n_ratings[cluster, n_ratings].astype(np.int64)
    return pd.DataFrame({"cluster": cluster.astype(np.int32), "n_ratings": n_ratings, "n_users": n_users})


def quantiles(active: pd.DataFrame) -> pd.DataFrame:
    """Columns cluster and activity: the number of ratings that each share of its users do not exceed."""
    names = schemas.ACTIVITY.names
    rows = []
    for cluster, users in active.groupby("cluster"):
        up_to = users["n_users"].cumsum().to_numpy()
        at = np.searchsorted(up_to, [share * up_to[-1] for share in SHARES])
        found = users["n_ratings"].to_numpy()[at].tolist()
        rows.append((cluster, dict(zip(names, found, strict=True))))
    return pd.DataFrame(rows, columns=["cluster", "activity"])


def bars(active: pd.DataFrame, minimum: int = 1) -> pd.DataFrame:
    """Users by cluster in bars a factor of √2 wide: columns cluster, low, n_users.

    A bar is from `low` to `low` · √2; those of fewer than `minimum` users are left out.
    """
    low = 2.0 ** (np.floor(2 * np.log2(active["n_ratings"])) / 2)
    summed = active.assign(low=low).groupby(["cluster", "low"], as_index=False)["n_users"].sum()
    enough: pd.DataFrame = summed[summed["n_users"] >= minimum]
    return enough.reset_index(drop=True)
