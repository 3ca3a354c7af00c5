"""Measures of clusterings against pandas, scikit-learn and loops, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from logs import random_log, to_block
from tastemap.blocks import Block
from tastemap.clustering import agreement
from tastemap.clustering.centres import Centres
from tastemap.config import Config, WeightingConfig
from tastemap.errors import UserError
from tastemap.evaluation import prediction, ranking, separation
from tastemap.evaluation.evaluate import hold_out
from tastemap.evaluation.holdout import Holdout, Split
from tastemap.evaluation.judging import Fitted, Judge, Judged, Measure, in_groups
from tastemap.evaluation.resampling import resampled
from tastemap.evaluation.residuals import Residuals
from tastemap.evaluation.stability import Overlaps
from tastemap.segmentation import Projection
from tastemap.weighting import fit

Array = npt.NDArray[np.float64]

LOG = random_log(80, 30, 1200, seed=3).reset_index(drop=True)
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
BLOCK = to_block(LOG, MOVIE_IDS)
HOLDOUT = Holdout(0.3, 7, MOVIE_IDS)
N, D = BLOCK.matrix.shape


def effects_of(split: Split) -> tuple[Array, Array]:
    training = split.training
    return np.bincount(training.indices, minlength=D), np.bincount(training.indices, training.data, D)


SPLIT = HOLDOUT.split(BLOCK)
EFFECTS = fit(*effects_of(SPLIT), WeightingConfig(normalize=False, movie_shrinkage=3.0, user_shrinkage=2.0))
RNG = np.random.default_rng(0)
PROJECTION = Projection(EFFECTS, np.linalg.qr(RNG.normal(size=(D, 4)))[0], RNG.normal(size=4))
FITTED = Fitted(
    PROJECTION,
    [
        Centres(RNG.normal(size=(3, 4)), 2.0),
        Centres(RNG.normal(size=(5, 2)), 1.0),
        Centres(np.ones((1, 4)), 1.0),
    ],
)
JUDGE = Judge(HOLDOUT, FITTED, EFFECTS)
JUDGED = JUDGE(BLOCK)


def long(matrix: object) -> pd.DataFrame:
    coo = matrix.tocoo()  # type: ignore[attr-defined]
    return pd.DataFrame({"user": coo.row, "movie": coo.col, "value": coo.data.astype(float)})


def in_parts(measure: Measure, n: int) -> list[Array]:
    """Sums over the block cut into n."""
    shares = np.array_split(np.arange(N), n)
    found = [measure.add_up(JUDGE(Block(BLOCK.ids[rows], BLOCK.matrix[rows]))) for rows in shares]
    totals = [sum(arrays) for arrays in zip(*found, strict=True)]
    assert [total.shape for total in totals] == [tuple(shape) for shape in measure.shapes()]
    return totals


def test_nothing_is_lost_in_the_split_and_its_share_is_as_asked() -> None:
    assert abs(SPLIT.held_out.nnz / LOG.shape[0] - 0.3) < 0.05
    np.testing.assert_array_equal((SPLIT.training + SPLIT.held_out).toarray(), BLOCK.matrix.toarray())
    assert not SPLIT.training.multiply(SPLIT.held_out).nnz
    other = Holdout(0.3, 8, MOVIE_IDS).split(BLOCK).held_out
    assert 0.15 < SPLIT.held_out.multiply(other).nnz / SPLIT.held_out.nnz < 0.45


def test_the_split_depends_on_user_and_movie_alone() -> None:
    rows, columns = np.arange(N)[::-1][: N // 2], np.arange(5, D)
    some = Block(BLOCK.ids[rows], BLOCK.matrix[rows][:, columns])
    found = Holdout(0.3, 7, MOVIE_IDS[columns]).split(some).held_out.toarray()
    np.testing.assert_array_equal(found, SPLIT.held_out.toarray()[rows][:, columns])
    held_out_by_user = np.diff(SPLIT.held_out.indptr)
    assert len(set(held_out_by_user)) > 3  # not every user's first movies


def test_resampled_users_come_as_often_as_poisson_says() -> None:
    ids = np.arange(20_000)
    matrix = BLOCK.matrix[ids % N]
    (found,) = resampled(lambda _: iter([Block(ids, matrix)]), 5)(None)
    shares = np.bincount(np.bincount(found.ids, minlength=ids.size)) / ids.size
    np.testing.assert_allclose(shares[:5], [0.3679, 0.3679, 0.1839, 0.0613, 0.0153], atol=0.012)
    np.testing.assert_array_equal(found.matrix.indices, BLOCK.matrix[found.ids % N].indices)
    (half,) = resampled(lambda _: iter([Block(ids[1::2], matrix[1::2])]), 5)(None)
    assert half.ids.tolist() == [user for user in found.ids.tolist() if user % 2]
    (other,) = resampled(lambda _: iter([Block(ids, matrix)]), 6)(None)
    assert other.ids.tolist() != found.ids.tolist()


def test_residuals_against_pandas() -> None:
    training, held_out = long(SPLIT.training), long(SPLIT.held_out)
    mean = training["value"].mean()
    of_movie = (training["value"] - mean).groupby(training["movie"])
    movie = (of_movie.sum() / (of_movie.size() + 3.0)).reindex(range(D), fill_value=0.0)
    left = training["value"] - mean - training["movie"].map(movie)
    of_user = left.groupby(training["user"])
    user = (of_user.sum() / (of_user.size() + 2.0)).reindex(range(N), fill_value=0.0)
    found = Residuals(SPLIT, EFFECTS)
    expected = left - training["user"].map(user)
    np.testing.assert_allclose(found.training.tocoo().data, expected, atol=1e-6)
    expected = held_out["value"] - mean - held_out["movie"].map(movie) - held_out["user"].map(user)
    np.testing.assert_allclose(found.held_out, expected, atol=1e-6)


def predicted(judged: Judged) -> dict[tuple[int, object], Array]:
    """Errors of hard and soft predictions of every setting, by loops."""
    residuals, held_out = long(judged.residuals.training), long(judged.split.held_out)
    errors = {}
    for number, centres in enumerate(FITTED.clusters):
        scores = judged.scores[:, : centres.centres.shape[1]]
        squares = ((scores[:, None] - centres.centres) ** 2).sum(axis=2)
        hard = (squares == squares.min(axis=1, keepdims=True)).astype(float)
        k, m = centres.centres.shape

        def softmax(
            temperature: float, squares: Array = squares, m: int = m, s: float = centres.spread
        ) -> Array:
            kernel = np.exp(-squares * m / (2 * temperature * s))
            return kernel / kernel.sum(axis=1, keepdims=True)

        def effects(members: Array, k: int = k) -> Array:
            sums, numbers = np.zeros((k, D)), np.zeros((k, D))
            for user, movie, value in residuals.itertuples(index=False):
                sums[:, int(movie)] += members[int(user)] * value
                numbers[:, int(movie)] += members[int(user)]
            return sums / (numbers + prediction.SHRINKAGE)

        of_hard, of_soft = effects(hard), effects(softmax(centres.temperature))
        users, movies = held_out["user"], held_out["movie"]
        error = judged.residuals.held_out
        errors[number, "hard"] = error - (hard[users] * of_hard.T[movies]).sum(axis=1)
        for t in prediction.TEMPERATURES:
            errors[number, t] = error - (softmax(t)[users] * of_soft.T[movies]).sum(axis=1)
    return errors


@pytest.mark.parametrize("n_parts", [1, 3])
def test_predictions_against_loops(n_parts: int) -> None:
    sums = in_parts(prediction.EffectSums([3, 5, 1], D), n_parts)
    losses = prediction.Losses(prediction.cluster_effects(sums), FITTED.clusters)
    found = prediction.accuracy(*in_parts(losses, n_parts))
    errors = [long(SPLIT.held_out)["value"] - EFFECTS.global_mean, JUDGED.residuals.held_out]
    errors += list(predicted(JUDGED).values())
    np.testing.assert_allclose(found.rmse, [np.sqrt((e**2).mean()) for e in errors], rtol=1e-9)
    np.testing.assert_allclose(found.mae, [np.abs(e).mean() for e in errors], rtol=1e-9)


def test_a_cluster_of_all_predicts_what_movies_leave() -> None:
    # With everybody in it, δ is the movie's mean residual: hard and soft are the same.
    sums = in_parts(prediction.EffectSums([3, 5, 1], D), 1)
    alone = prediction.cluster_effects(sums)[2]
    np.testing.assert_allclose(alone.hard, alone.soft, atol=1e-12)


def test_the_error_of_a_gain_is_that_of_resampled_users() -> None:
    rng = np.random.default_rng(1)
    numbers = rng.integers(1, 9, 300)
    users = np.repeat(np.arange(300), numbers)
    worse = rng.normal(size=users.size) + 0.5 * rng.normal(size=300)[users]
    better = 0.9 * worse + 0.2 * rng.normal(size=users.size)
    losses = np.column_stack([*(np.bincount(users, e**2) for e in (worse, better)), numbers]).astype(float)
    found = prediction.accuracy(np.zeros(2), losses.sum(axis=0), losses.T @ losses)
    gain, error = found.gain(1, 0)
    assert gain == pytest.approx(np.sqrt((worse**2).mean()) - np.sqrt((better**2).mean()))
    draws = losses[rng.integers(0, 300, (4000, 300))].sum(axis=1)
    gains = np.sqrt(draws[:, 0] / draws[:, 2]) - np.sqrt(draws[:, 1] / draws[:, 2])
    assert error == pytest.approx(gains.std(), rel=0.1)
    assert found.gain(0, 0) == (0.0, 0.0)


def listed(ranks: Array, clusters: Sequence[int], split: Split) -> tuple[float, float]:
    """Recall and NDCG by making every list."""
    recall = ndcg = 0.0
    for user, cluster in enumerate(clusters):
        seen = set(split.training[user].indices)
        wanted = set(split.held_out[user].indices)
        top = [movie for movie in np.argsort(ranks[cluster]) if movie not in seen][: ranking.TOP]
        hits = [place for place, movie in enumerate(top) if movie in wanted]
        if wanted:
            recall += len(hits) / len(wanted)
            ideal = sum(1 / np.log2(place + 2) for place in range(min(len(wanted), ranking.TOP)))
            ndcg += sum(1 / np.log2(place + 2) for place in hits) / ideal
    return recall, ndcg


@pytest.mark.parametrize("top", [1, 4, 100])
def test_lists_against_lists_that_are_made(top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TOP", top)
    numbers = [sums for sums in in_parts(prediction.EffectSums([3, 5, 1], D), 1)[::4]]
    ranks = [ranking.movie_ranks(n) for n in numbers]
    popularity = ranking.movie_ranks(np.bincount(SPLIT.training.indices, minlength=D)[None].astype(float))
    recall, ndcg, users = in_parts(ranking.Lists(popularity, ranks), 2)
    assert users[0] == np.count_nonzero(np.diff(SPLIT.held_out.indptr))
    clusters = [np.zeros(N, int), *(found.clusters for found in JUDGED.assignments)]
    for place, (rank, cluster) in enumerate(zip([popularity, *ranks], clusters, strict=True)):
        assert (recall[place], ndcg[place]) == pytest.approx(listed(rank, cluster, SPLIT), rel=1e-12)
    assert recall[0] == recall[3]  # one cluster of all is popularity


def test_lists_of_few_members_lean_on_everybody() -> None:
    n_ratings = np.array([[0.0, 1.0, 0.0, 3.0], [50.0, 10.0, 20.0, 0.0]])
    assert ranking.movie_ranks(n_ratings)[0].tolist() == [0, 2, 3, 1]
    assert ranking.movie_ranks(n_ratings)[1].tolist() == [0, 2, 1, 3]
    assert ranking.movie_ranks(np.zeros((1, 3))).tolist() == [[0, 1, 2]]


def test_separation_against_scikit_learn() -> None:
    moments = separation.moments(in_parts(separation.MomentSums([(3, 4), (5, 2), (1, 4)]), 3))
    sums = in_parts(separation.Separations(moments), 3)
    for number, assignment in enumerate(JUDGED.assignments[:2]):
        scores = JUDGED.scores[:, : (4, 2)[number]]
        found = separation.indices(moments[number], *sums[2 * number : 2 * number + 2])
        labels = assignment.clusters
        assert found["silhouette"] == pytest.approx(
            metrics.silhouette_score(scores, labels, metric="sqeuclidean")
        )
        assert found["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(scores, labels))
        assert found["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(scores, labels))
    assert all(np.isnan(value) for value in separation.indices(moments[2], *sums[4:]).values())


def test_silhouettes_of_single_users_are_zero() -> None:
    scores, labels = np.array([[0.0], [1.0], [9.0]]), np.array([0, 0, 1], dtype=np.int32)
    found = separation.Moments(
        np.array([2.0, 1.0, 0.0]), np.array([[1.0], [9.0], [0.0]]), np.array([1.0, 81.0, 0.0])
    )
    expected = metrics.silhouette_samples(scores, labels, metric="sqeuclidean")
    np.testing.assert_allclose(separation.silhouettes(scores, labels, found), expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 60), k=st.integers(1, 6), other=st.integers(1, 6), seed=st.integers(0, 999))
def test_agreement_against_scikit_learn(n: int, k: int, other: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, k, n), rng.integers(0, other, n)
    table = np.zeros((k, other))
    np.add.at(table, (first, second), 1)
    assert agreement.adjusted_rand_index(table) == pytest.approx(
        metrics.adjusted_rand_score(first, second), abs=1e-9
    )
    expected = metrics.normalized_mutual_info_score(first, second)
    assert agreement.normalized_mutual_information(table) == pytest.approx(expected, abs=1e-9)
    jaccard = [
        max(
            ((first == a) & (second == b)).sum() / max(((first == a) | (second == b)).sum(), 1)
            for b in range(other)
        )
        for a in range(k)
    ]
    np.testing.assert_allclose(agreement.best_jaccard(table), jaccard)


def test_agreement_of_many_users() -> None:
    small = np.array([[30.0, 2.0], [1.0, 40.0]])
    # Counts of pairs that 64 bits do not hold.
    found = [agreement.adjusted_rand_index(small * 10**n) for n in (4, 9)]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_halves_of_the_ratings() -> None:
    first, second = HOLDOUT.halves(SPLIT)
    np.testing.assert_array_equal((first + second).toarray(), SPLIT.training.toarray())
    assert abs(first.nnz / SPLIT.training.nnz - 0.5) < 0.05 and not first.multiply(second).nnz


def test_overlaps_with_repeats() -> None:
    backwards = Fitted(PROJECTION, [Centres(c.centres[::-1], c.spread) for c in FITTED.clusters])
    tables = in_parts(Overlaps(HOLDOUT, FITTED, [backwards, FITTED]), 3)
    first, second = (FITTED.assign(FITTED.scores(half)) for half in HOLDOUT.halves(SPLIT))
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        k = len(FITTED.clusters[number].centres)
        expected = np.zeros((k, k))
        np.add.at(expected, (one.clusters, other.clusters), 1)
        np.testing.assert_array_equal(tables[2 * number], expected[:, ::-1])
        np.testing.assert_array_equal(tables[2 * number + 1], expected)


def test_settings_are_measured_together_as_far_as_memory_goes() -> None:
    centres = [Centres(np.zeros((k, 2)), 1.0) for k in (5, 5, 20, 1, 3)]
    assert in_groups(centres, 100, 10 * 100 * 32) == [[0, 1], [2], [3, 4]]
    assert in_groups(centres, 100, 1) == [[0], [1], [2], [3], [4]]
    assert in_groups(centres, 100, 1 << 30) == [[0, 1, 2, 3, 4]]


def test_an_empty_block_adds_nothing() -> None:
    empty = JUDGE(Block(BLOCK.ids[:0], BLOCK.matrix[:0]))
    moments = separation.moments(in_parts(separation.MomentSums([(3, 4), (5, 2), (1, 4)]), 1))
    effects = prediction.cluster_effects(in_parts(prediction.EffectSums([3, 5, 1], D), 1))
    for measure in (
        prediction.EffectSums([3, 5, 1], D),
        prediction.Losses(effects, FITTED.clusters),
        separation.Separations(moments),
    ):
        assert not any(array.any() for array in measure.add_up(empty))


def test_too_few_users_to_draw_samples_of() -> None:
    nothing: Any = None
    with pytest.raises(UserError, match=r"--n-components is 32, but only 95 users .* ask for at most 31"):
        hold_out(nothing, nothing, (95, 5_000), Config())
