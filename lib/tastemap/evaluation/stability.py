"""Whether clusters are found again: with other users, and from other ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemap.clustering.agreement import contingency
from tastemap.evaluation.holdout import Holdout
from tastemap.evaluation.judging import Fitted, Judged

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Overlaps:
    """Measure: users by their clusters in the reference and in each of several repeats.

    The reference sees one half of a user's ratings, the repeat, which other users were fitted for, the other
    half. Were both to see the same ratings, users would be together again for the chance in these: of ratings
    without any taste, half the pairs are, for what is drawn of the most popular movies parts them.
    """

    holdout: Holdout
    reference: Fitted
    repeats: Sequence[Fitted]

    def shapes(self) -> list[tuple[int, int]]:
        """Contingency tables, setting by setting, for each a repeat after the other."""
        return [
            (reference.n_clusters, other.n_clusters)
            for reference, *others in zip(
                self.reference.clusters, *(repeat.clusters for repeat in self.repeats), strict=True
            )
            for other in others
        ]

    def add_up(self, judged: Judged) -> list[Array]:
        """The tables of some users."""
        one_half, other_half = self.holdout.halves(judged.split)
        first = self.reference.assign(self.reference.scores(one_half))
        found = [repeat.assign(repeat.scores(other_half)) for repeat in self.repeats]
        pairs = [
            (one.clusters, other.clusters)
            for one, *others in zip(first, *found, strict=True)
            for other in others
        ]
        return [contingency(*pair, shape) for pair, shape in zip(pairs, self.shapes(), strict=True)]
