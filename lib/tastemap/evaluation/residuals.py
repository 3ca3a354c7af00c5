"""What movie and user effects leave of the ratings, on both sides of the split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.evaluation.holdout import Split
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Residuals:
    """Ratings of some users less global mean, movie and user effects, as known from those for fitting."""

    split: Split
    effects: Weighting
    """Of kind residual, not normalized."""

    @cached_property
    def training(self) -> sparse.csr_matrix:
        """Of the ratings for fitting, of shape (n, d)."""
        return self.effects.apply(self.split.training)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of every held-out rating."""
        return np.repeat(np.arange(self.split.ids.size), np.diff(self.split.held_out.indptr))

    @cached_property
    def held_out(self) -> Array:
        """Of the held-out ratings, in their order."""
        ratings = self.split.held_out
        expected = self.effects.global_mean + self.effects.movie_effects[ratings.indices]
        users = self.effects.user_effects(self.split.training)
        values: Array = ratings.data - expected - users[self.rows]
        return values
