"""Rating logs as Hypothesis draws them: small, and as awkward as the types allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

USER_IDS = (-(2**63), -(2**32), -1, 0, 1, 2, 7, 2**31, 2**32 + 1, 2**53 + 1, 2**63 - 1)
"""From one end of int64 to the other: past what 32 bits hold, and what a double does."""
MOVIE_IDS = (-(2**31), -3, 0, 1, 2, 5, 17_770, 2**31 - 2)
HALF_STARS = tuple(np.arange(1, 11) / 2)


def rating_frame(rows: list[tuple[int, int, float, int | None]]) -> pd.DataFrame:
    """User, movie, rating and seconds since 1970 (None: not known), with the types of `schemas.RATINGS`."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    seconds = pd.array(columns[3], dtype="Int64")
    return pd.DataFrame(
        {
            "user_id": np.array(columns[0], dtype=np.int64),
            "movie_id": np.array(columns[1], dtype=np.int32),
            "rating": np.array(columns[2], dtype=np.float32),
            "rated_at": pd.to_datetime(seconds, unit="s", utc=True).astype("datetime64[us, UTC]"),
        }
    )


def rating_logs(
    users: tuple[int, ...] = USER_IDS,
    movies: tuple[int, ...] = MOVIE_IDS,
    *,
    min_size: int = 0,
    max_size: int = 40,
) -> st.SearchStrategy[pd.DataFrame]:
    """Logs in any order, with users and movies that repeat: few of each, and few different times."""
    seconds = st.one_of(st.none(), st.integers(-2, 2))
    row = st.tuples(st.sampled_from(users), st.sampled_from(movies), st.sampled_from(HALF_STARS), seconds)
    return st.lists(row, min_size=min_size, max_size=max_size).map(rating_frame)
