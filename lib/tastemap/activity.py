"""How many ratings the users of each cluster have given: quantiles, and bars for a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tastemap import schemas

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the users, where the quantiles of `schemas.ACTIVITY` are."""


def count(assignments: DataFrame) -> pd.DataFrame:
    """Users by cluster and number of ratings: columns cluster, n_ratings, n_users, ascending.

    One pass. As many rows as there are such pairs come to the driver, at most as many as clusters × movies;
    of 44,681 users in 12 clusters 7,783.
    """
    counted = assignments.groupBy("cluster", "n_ratings").agg(F.count("*").alias("n_users")).toPandas()
    return counted.sort_values(["cluster", "n_ratings"], ignore_index=True)


def quantiles(counted: pd.DataFrame) -> pd.DataFrame:
    """Columns cluster and activity: the number of ratings that each share of its users do not exceed."""
    names = schemas.ACTIVITY.names
    rows = []
    for cluster, users in counted.groupby("cluster"):
        up_to = users["n_users"].cumsum().to_numpy()
        at = np.searchsorted(up_to, [share * up_to[-1] for share in SHARES])
        found = users["n_ratings"].to_numpy()[at].tolist()
        rows.append((cluster, dict(zip(names, found, strict=True))))
    return pd.DataFrame(rows, columns=["cluster", "activity"])


def bars(counted: pd.DataFrame, minimum: int = 1) -> pd.DataFrame:
    """Users by cluster in bars a factor of √2 wide: columns cluster, low, n_users.

    A bar is from `low` to `low` · √2; those of fewer than `minimum` users are left out.
    """
    low = 2.0 ** (np.floor(2 * np.log2(counted["n_ratings"])) / 2)
    summed = counted.assign(low=low).groupby(["cluster", "low"], as_index=False)["n_users"].sum()
    enough: pd.DataFrame = summed[summed["n_users"] >= minimum]
    return enough.reset_index(drop=True)
