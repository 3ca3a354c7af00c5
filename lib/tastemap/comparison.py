"""Two runs beside each other: which segments correspond, who moved where, how tastes changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.optimize import linear_sum_assignment

from tastemap import schemas
from tastemap.clustering.agreement import adjusted_rand_index
from tastemap.errors import UserError
from tastemap.runs import FinishedRun, Run
from tastemap.stages import Stages

Counts = npt.NDArray[np.int64]

N_CHANGES = 5
"""Movies named for each kind of change of a segment."""
KEPT, NEW, GONE = "kept", "new", "gone"


@dataclass(frozen=True)
class Comparison:
    """What there is to say of two runs."""

    flows: pd.DataFrame
    """As `schemas.FLOWS`."""
    changes: pd.DataFrame
    """As `schemas.SEGMENT_CHANGES`."""
    rand_index: float
    """Adjusted, of the users in both runs."""


def compare_runs(
    spark: SparkSession, before: str, after: str, output: str | None = None, *, overwrite: bool = False
) -> Comparison:
    """Compare two runs of `pipeline.cluster_users`.

    One join of the two assignments, everything else is of the size of the models: a row a pair of
    clusters, and the `cluster_movies` of both.

    Parameters
    ----------
    spark : SparkSession
    before, after : str
        Directories of finished runs.
    output : str, optional
        Directory for the tables `flows` and `segment_changes`.
    overwrite : bool
        Whether an earlier run in `output` may be replaced.

    Raises
    ------
    UserError
        A directory holds no run of users, both are the same, or no user is in both.
    """
    runs = _open(spark, before, after)
    if output is None:
        return _compare(runs, Stages(spark))
    stages = Stages(spark)
    with Run(spark, output, overwrite=overwrite) as run:
        if run.output in [each.path for each in runs]:
            raise UserError(f"--output {output} is one of the runs to compare; give another directory")
        found = _compare(runs, stages)
        with stages("write results", "tables") as stage:
            run.write_small("flows", found.flows, schemas.FLOWS)
            run.write_small("segment_changes", found.changes, schemas.SEGMENT_CHANGES)
            stage.rows = 2
        manifest = {
            "inputs": {name: each.path for name, each in zip(("before", "after"), runs, strict=True)},
            "counts": {"users": int(found.flows["n_users"].sum())},
            "stages": stages.record(),
            "metrics": {"adjusted_rand_index": found.rand_index},
        }
        run.finish(manifest)
    return found


def _open(spark: SparkSession, before: str, after: str) -> tuple[FinishedRun, FinishedRun]:
    runs: list[FinishedRun] = []
    faults: list[str] = []
    for flag, path in (("--before", before), ("--after", after)):
        try:
            run = FinishedRun(spark, path, flag)
            run.check("assignments", "profiles", "cluster_movies")
            runs.append(run)
        except UserError as error:
            faults += error.faults
    if len(runs) == 2 and runs[0].path == runs[1].path:
        faults.append(f"--before and --after are both {before}; give the directories of two runs")
    if faults:
        raise UserError(faults)
    return runs[0], runs[1]


def _compare(runs: tuple[FinishedRun, FinishedRun], stages: Stages) -> Comparison:
    with stages("compare users", "flows") as stage:
        table = flows(*(run.read("assignments") for run in runs))
        stage.rows = len(table)
    if not (table["before"].notna() & table["after"].notna()).any():
        raise UserError(_nobody(runs))
    with stages("compare tastes", "segments") as stage:
        profiles = [run.read("profiles").select("cluster", "n_users", "share").toPandas() for run in runs]
        columns = ("cluster", "movie_id", "title", "share_rated", "effect")
        movies = [run.read("cluster_movies").select(*columns).toPandas() for run in runs]
        changes = segment_changes(table, profiles, movies)
        stage.rows = len(changes)
    return Comparison(table, changes, adjusted_rand_index(overlap(table).astype(np.float64)))


def _nobody(runs: Sequence[FinishedRun]) -> str:
    ids = []
    for run in runs:
        key = run.manifest.get("config", {}).get("privacy", {}).get("pseudonymise_key_file")
        ids.append("ids as in the log" if key is None else f"pseudonyms by {key}")
    return (
        f"no user is in both runs: --before has {ids[0]}, --after has {ids[1]}; compare runs of the same "
        "audience, both without --pseudonymise-key-file or both with the same key"
    )


def flows(before: DataFrame, after: DataFrame) -> pd.DataFrame:
    """How many users went from which cluster to which: the `flows` table.

    Parameters
    ----------
    before, after : DataFrame
        Tables `assignments`, of k and k' clusters.

    Returns
    -------
    DataFrame
        At most (k + 1) · (k' + 1) rows; `before` or `after` is missing for users of one run only.
    """
    one = before.select("user_id", F.col("cluster").alias("before"))
    other = after.select("user_id", F.col("cluster").alias("after"))
    counted = one.join(other, "user_id", "full_outer").groupBy("before", "after").count()
    return flow_table(counted.withColumnRenamed("count", "n_users").toPandas())  # a row a pair of clusters


def flow_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts `n_users` by cluster `before` and `after` (missing: in no cluster) as the `flows` table."""
    table = counts.astype({"before": "Int32", "after": "Int32", "n_users": "int64"})
    table = table.sort_values(["before", "after"], na_position="last").reset_index(drop=True)
    for side in ("before", "after"):
        of_cluster = table.groupby(side)["n_users"].transform("sum")
        table[f"share_of_{side}"] = table["n_users"] / of_cluster
    return table


def overlap(flows: pd.DataFrame, n_before: int = 0, n_after: int = 0) -> Counts:
    """Users in both runs, by cluster before and after, of shape (k, k').

    k and k' are at least `n_before` and `n_after`, for clusters that nobody is in.
    """
    sizes = (("before", n_before), ("after", n_after))
    shape = [max(n, 0 if flows[side].isna().all() else int(flows[side].max()) + 1) for side, n in sizes]
    both = flows.dropna(subset=["before", "after"])
    found = np.zeros(shape, np.int64)
    found[both["before"].to_numpy(int), both["after"].to_numpy(int)] = both["n_users"]
    return found


def matches(overlap: Counts) -> list[tuple[int, int]]:
    """Pairs of clusters that correspond: each at most once, so that as many users as can be are in a pair.

    Without a common user clusters do not correspond (H. W. Kuhn, 1955, "The Hungarian method for the
    assignment problem").
    """
    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    return [(int(i), int(j)) for i, j in pairs if overlap[i, j] > 0]


def segment_changes(
    flows: pd.DataFrame, profiles: Sequence[pd.DataFrame], movies: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """The `segment_changes` table: a row a segment, by the number before, new ones last.

    Parameters
    ----------
    flows : DataFrame
        The `flows` table.
    profiles, movies : sequence of DataFrame
        `profiles` and `cluster_movies`, before and after.
    """
    users = overlap(flows, *(int(table["cluster"].max()) + 1 for table in profiles))
    after_of = dict(matches(users))
    sizes = [table.set_index("cluster") for table in profiles]
    segments: list[tuple[int | None, int | None]] = [(i, after_of.get(i)) for i in sorted(sizes[0].index)]
    segments += [(None, j) for j in sorted(set(sizes[1].index) - set(after_of.values()))]
    of_cluster: list[dict[Any, pd.DataFrame]] = [dict(iter(table.groupby("cluster"))) for table in movies]
    rows: list[dict[str, Any]] = []
    for i, j in segments:
        row: dict[str, Any] = {"before": i, "after": j}
        row["change"] = GONE if j is None else NEW if i is None else KEPT
        for side, number, size in (("before", i, sizes[0]), ("after", j, sizes[1])):
            row[f"n_users_{side}"] = None if number is None else size.at[number, "n_users"]
            row[f"share_{side}"] = None if number is None else size.at[number, "share"]
        both = None if i is None or j is None else int(users[i, j])
        row["n_users_both"] = both
        if both is not None:
            row["jaccard"] = both / (int(users[i].sum()) + int(users[:, j].sum()) - both)
        for name, column in (("effects", "effect"), ("shares", "share_rated")):
            known = i in of_cluster[0] and j in of_cluster[1]
            row[name] = _changed(of_cluster[0][i], of_cluster[1][j], column) if known else []
        rows.append(row)
    integers = ("before", "after", "n_users_before", "n_users_after", "n_users_both")
    table = pd.DataFrame(rows, columns=schemas.SEGMENT_CHANGES.names)
    return table.astype({**dict.fromkeys(integers, "Int64"), "jaccard": float})


def _changed(before: pd.DataFrame, after: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """Movies in both tables whose column rose most, and fell most, from largest rise to largest fall."""
    both = before.merge(after, on="movie_id", suffixes=("_before", "_after"))
    change = both[f"{column}_after"] - both[f"{column}_before"]
    order = np.lexsort((both["movie_id"], -change))
    up = [row for row in order if change[row] > 0][:N_CHANGES]
    down = [row for row in order if change[row] < 0][-N_CHANGES:]
    names = {"title_after": "title", f"{column}_before": "before", f"{column}_after": "after"}
    chosen = both[["movie_id", *names]].rename(columns=names).iloc[[*up, *down]]
    return [{str(name): value for name, value in row.items()} for row in chosen.to_dict("records")]
