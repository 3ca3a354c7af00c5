"""Everything the report shows: small tables and arrays, no Spark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
MovieIds = npt.NDArray[np.int32]

MAX_DRAWN = 24
"""Clusters with figures of their own: each adds some 60 kB to the page (1.9 MB of 8, 3.7 MB of 40)."""


@dataclass(frozen=True)
class People:
    """A sample of n people, chosen by the hash of their ids, so that everybody is as likely to be in it."""

    table: pd.DataFrame
    """Columns user_id, n_ratings, mean_rating; cluster and membership too when there are clusters."""
    scores: Array
    """On the m principal components, of shape (n, m)."""


@dataclass(frozen=True)
class Members:
    """Chosen members of one cluster and their ratings of chosen movies."""

    cluster: int
    movie_ids: MovieIds
    """Of shape (c,); the first `n_most_rated` are those with most ratings in the cluster, in that order."""
    n_most_rated: int
    active: pd.DataFrame
    """The most active, by number of ratings: columns user_id, n_ratings."""
    active_ratings: Array
    """Of shape (active, c), NaN where not rated."""
    typical: pd.DataFrame
    """The nearest to the centre, the nearest first: columns user_id, n_ratings."""
    typical_ratings: Array
    """Of shape (typical, c), NaN where not rated."""


@dataclass(frozen=True)
class Sample:
    """What is taken of people: as many as the constants in `sample` allow, however many there are."""

    people: People
    members: tuple[Members, ...]
    """By cluster."""
    activity: pd.DataFrame
    """Members by number of ratings: columns cluster, low (a bar is from there to low · √2), n_users."""


@dataclass(frozen=True)
class Content:
    """What one report shows."""

    manifest: dict[str, Any]
    """As in `run.json`, as far as it is known when the report is made."""
    rejects: pd.DataFrame
    """Columns reason, n."""
    profiles: pd.DataFrame
    movies: pd.DataFrame
    """The table `cluster_movies`."""
    genres: pd.DataFrame
    """The table `cluster_genres`."""
    years: pd.DataFrame
    """The table `cluster_years`."""
    components: pd.DataFrame
    sample: Sample
    neighbours: Plane | None
    """The people of the sample in the plane, as `embedding` puts them; None where they are few."""
    evaluation: pd.DataFrame | None
    """The table of that name, where the number of clusters was chosen by it."""
    user_ids: bool
    """Whether the ids of individual people are shown."""

    @property
    def clusters(self) -> list[int]:
        """Numbers of the clusters, ascending."""
        return sorted(int(number) for number in self.profiles["cluster"])

    @property
    def drawn(self) -> list[int]:
        """Those that have figures of their own: the largest, `MAX_DRAWN` at most."""
        largest = self.profiles.nlargest(MAX_DRAWN, "n_users")["cluster"]
        return sorted(int(number) for number in largest)
