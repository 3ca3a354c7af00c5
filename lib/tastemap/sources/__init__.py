"""Rating logs in every published form: MovieLens, Netflix Prize, and tables of your own."""

from __future__ import annotations

from tastemap.sources.log import RatingLog
from tastemap.sources.opening import open_log

__all__ = ["RatingLog", "open_log"]
