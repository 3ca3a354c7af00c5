"""Why a record could not be taken: the texts in the `reason` column of rejects."""

from __future__ import annotations

FIELDS = "not the fields of a rating"
NO_HEADER = "no movie header before it"
USER_MISSING = "user id missing"
USER_UNREADABLE = "user id is not a whole number of 64 bits"
MOVIE_MISSING = "movie id missing"
MOVIE_UNREADABLE = "movie id is not a whole number of 32 bits"
RATING_MISSING = "rating missing"
RATING_UNREADABLE = "rating is not a number"
TIME_MISSING = "time missing"
TIME_UNREADABLE = "time is not a date or timestamp"


def off_scale(scale: tuple[float, float]) -> str:
    """Say that a rating lies outside the lowest and highest rating there is."""
    return f"rating is off the scale {scale[0]:g} to {scale[1]:g}"
