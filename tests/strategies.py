"""Rating logs as Hypothesis draws them: small, and as awkward as the types allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from scipy import sparse

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


@st.composite
def split_rows(draw: st.DrawFn) -> tuple[sparse.csr_matrix, list[list[sparse.csr_matrix]]]:
    """Draw a matrix, and its rows in order in partitions of batches, some of them empty."""
    n, d = draw(st.integers(2, 30)), draw(st.integers(1, 9))
    seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    matrix = sparse.random(n, d, density=density, format="csr", random_state=seed)
    bounds = sorted(draw(st.lists(st.integers(0, n), max_size=6)))
    batches = [matrix[a:b] for a, b in zip([0, *bounds], [*bounds, n], strict=True)]
    starts = sorted(draw(st.lists(st.integers(0, len(batches)), max_size=3)))
    pairs = zip([0, *starts], [*starts, len(batches)], strict=True)
    return matrix, [batches[a:b] for a, b in pairs]
