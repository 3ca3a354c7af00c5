"""Estimates on ever more of the rows, in the end over all, several in common passes.

Starts are made where rows are few; only those that may still turn out the best go on where they are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tastemap.clustering.estimation import TOLERANCE, Clustering, Estimate, Fitted, converge
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix

Array = npt.NDArray[np.float64]
E = TypeVar("E", bound=Estimate)

START_ROWS = 1 << 14
"""Rows that the starts are made on: part of the sample."""
ROWS_PER_CLUSTER = 64
"""More rows than `START_ROWS` where there would be fewer than so many for each cluster."""
SAMPLE = 1 << 16
"""Rows that clusters are moved on on the driver: of so few all, at no pass over the data."""
PARTS = 16
"""Parts of the sample in which starts are compared, to know what of a difference is chance."""
MAX_ERRORS_BEHIND = 3.0
"""Standard errors that a start is behind when it is given up: one as good is lost once in 200 times."""
STEPS_AHEAD = 10
"""Moves beyond the next that the sample foretells between two passes over all rows; with 20 passes are hardly
fewer. Of less than 1.3 million rows fewer: they take the driver about half of what a pass takes one core."""
SHORTER = 4
"""How many times fewer once they have led astray: 10, 2, none."""


Starts = Callable[[Array, int], Sequence[Fitted[Estimate]]]
"""From a sample of the rows and k to estimates that have converged on it."""


def fit_many(
    scores: ScoreMatrix,
    shapes: Sequence[tuple[int | None, int]],
    starts: Starts,
    max_iterations: int,
    seed: int,
) -> list[Clustering]:
    """The best of several starts, for several shapes of `algorithms.fit_many`.

    Every start converges on some of the rows, chosen by the seed, those that are `promising` on more, and of
    these again those of all shapes together over all rows: a pass for each of at most `max_iterations`, which
    brings home the sums of each from every task.
    """
    if scores.n_rows <= SAMPLE:
        rows = scores.sample(SAMPLE, seed).scores
        return [_best(_on_sample(rows[:, :m], k, starts, max_iterations)) for m, k in shapes]
    with scores.single_precision().persisted() as rounded:
        sample = rounded.sample(SAMPLE, seed).scores
        of_shapes = [
            promising(_on_sample(sample[:, :m], k, starts, max_iterations), sample[:, :m]) for m, k in shapes
        ]
        refined = iter(refine(rounded, list(chain.from_iterable(of_shapes)), sample, max_iterations))
    return [_best([next(refined) for _ in of_shape]) for of_shape in of_shapes]


def _best(found: Sequence[Fitted[Estimate]]) -> Clustering:
    return min(found, key=lambda fitted: fitted.loss).clustering()


def _on_sample(sample: Array, k: int, starts: Starts, max_iterations: int) -> Sequence[Fitted[Estimate]]:
    """Estimates that have converged on a sample of shape (n, m)."""
    stride = math.ceil(len(sample) / max(START_ROWS, ROWS_PER_CLUSTER * k))
    if stride <= 1:
        return starts(sample, k)
    begun = promising(starts(sample[::stride], k), sample)
    return [converge(sample, one.estimate, max_iterations) for one in begun]


def promising(starts: Sequence[Fitted[E]], rows: Array) -> list[Fitted[E]]:
    """The start that loses least on rows of shape (n, m), and those that chance may have put behind it.

    They are compared part by part of the rows: what one loses more than the best differs less between parts
    than what it loses, for rows that lie far out cost all of them.
    """
    if len(starts) == 1:
        return list(starts)
    estimates = [start.estimate for start in starts]
    losses = np.array([[one.loss(one.add_up(rows[i::PARTS])) for i in range(PARTS)] for one in estimates])
    behind = losses - losses[losses.sum(axis=1).argmin()]
    errors = behind.std(axis=1, ddof=1) / math.sqrt(PARTS)
    return list(compress(starts, behind.mean(axis=1) <= MAX_ERRORS_BEHIND * errors))


def refine(
    scores: ScoreMatrix, starts: Sequence[Fitted[Estimate]], sample: Array, max_iterations: int
) -> list[Fitted[Estimate]]:
    """Move several estimates over all rows until they stand still, in at most so many passes after the first.

    Parameters
    ----------
    scores : ScoreMatrix
        Persisted.
    starts : sequence of Fitted
        On the sample.
    sample : ndarray of shape (n, m)
        Some of the rows, by chance.
    max_iterations : int
        Of each.
    """
    scale = scores.n_rows / len(sample)
    descents = [Descent(start, sample[:, : start.estimate.n_components], scale) for start in starts]
    for iteration in range(max_iterations + 1):
        moving = [descent for descent in descents if not descent.ended]
        if not moving:
            break
        passed = _pass(scores, [one.estimate for one in moving], [one.shapes for one in moving])
        for descent, sums in zip(moving, passed, strict=True):
            descent.advance(sums, iteration, max_iterations - iteration)
    return [descent.found for descent in descents]


class Descent(Generic[E]):
    """An estimate's way over all rows, pass by pass.

    Between two passes it goes as far as the sample foretells. Where that was too far, for it loses more there
    than before, it goes back, makes the move that all rows tell, which loses less, and from then on shorter
    ways, in the end such moves alone.

    Parameters
    ----------
    start : Fitted
        On the sample.
    sample : ndarray of shape (n, m)
    scale : float
        All rows for each of the sample.
    """

    def __init__(self, start: Fitted[E], sample: Array, scale: float) -> None:
        self.estimate = start.estimate
        """Whose sums the next pass is to bring."""
        self.shapes = [array.shape for array in start.sums]
        """Of the sums."""
        self.found = start
        """After the first pass: what loses least of all that was passed with."""
        self.ended = False
        self._sample = sample
        self._scale = scale
        self._steps = min(STEPS_AHEAD, int(scale) // 2)
        self._foretold = False

    def advance(self, sums: list[Array], iteration: int, moves_left: int) -> None:
        """Take the sums over all rows of the estimate, after so many moves, and move it or end."""
        passed = Fitted(self.estimate, sums, iteration)
        if self._foretold and not passed.loss <= self.found.loss:  # nor is what is no number
            self.ended = moves_left == 0
            self._steps //= SHORTER
            steps = 0
        else:
            self.found = passed
            self.ended = moves_left == 0 or passed.estimate.still(sums, TOLERANCE)
            steps = min(self._steps, moves_left - 1)
        if not self.ended:
            self._foretold = steps > 0
            self.estimate = look_ahead(self.found, self._sample, self._scale, steps)


def look_ahead(fitted: Fitted[E], sample: Array, scale: float, steps: int) -> E:
    """The next estimate, moved on by at most so many steps, as a sample of the rows foretells them.

    For another estimate all rows are taken to add up to what they do for this one, and what the sample adds
    up to more for that one than for this, scaled up: the sample tells differences, which are small, and all
    rows the rest. (Control variates; for expectation maximisation, row by row, Chen, Zhu, Teh & Zhang 2018,
    "Stochastic expectation maximization with variance reduction", NeurIPS 31.) It ends where the estimate
    would stand still, and where a cluster would lose half of its rows: of few the sample knows little.

    Parameters
    ----------
    fitted : Fitted
        Over all rows.
    sample : ndarray of shape (n, m)
        Some of the rows, by chance.
    scale : float
        All rows for each of the sample.
    steps : int
    """
    ahead = fitted.estimate.moved(fitted.sums)
    if steps == 0:
        return ahead
    known, parts = fitted.estimate.add_up(sample), ahead.add_up(sample)
    fewest = fitted.estimate.counts(fitted.sums) / 2
    for _ in range(steps):
        sums = [
            whole + scale * (part - before)
            for whole, part, before in zip(fitted.sums, parts, known, strict=True)
        ]
        if np.any(ahead.counts(sums) < fewest) or ahead.still(sums, TOLERANCE):
            break
        further = ahead.moved(sums)
        try:
            parts = further.add_up(sample)
        except np.linalg.LinAlgError:  # sums that no rows have may give a covariance that none have either
            break
        ahead = further
    return ahead


def _pass(
    scores: ScoreMatrix, estimates: Sequence[Estimate], shapes: Sequence[Sequence[tuple[int, ...]]]
) -> list[list[Array]]:
    """The sums over all rows of each estimate."""
    flat = [shape for of_estimate in shapes for shape in of_estimate]

    def partial(blocks: Iterator[ScoreBlock]) -> Sequence[Array]:
        totals = [np.zeros(shape) for shape in flat]
        for block in blocks:
            parts = (part for one in estimates for part in one.add_up(block.scores[:, : one.n_components]))
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals

    totals = iter(scores.sum_over_blocks(partial, flat))
    return [[next(totals) for _ in of_estimate] for of_estimate in shapes]
