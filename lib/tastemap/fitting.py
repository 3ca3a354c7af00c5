"""From ratings that are kept to fitted segments: features, principal components, clusters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame

from tastemap import features as featuring
from tastemap import pivot, schemas, warm_start
from tastemap.catalogue import Catalogue
from tastemap.clustering import algorithms
from tastemap.clustering.assignment import Clusters
from tastemap.clustering.estimation import Clustering
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import Config
from tastemap.decomposition.krylov import Progress
from tastemap.decomposition.pca import PCA
from tastemap.decomposition.principal import Decomposition
from tastemap.decomposition.sampling import decompose_from_sample
from tastemap.errors import UserError
from tastemap.evaluation.choice import Choice, choose
from tastemap.evaluation.evaluate import evaluate, hold_out
from tastemap.features import Features
from tastemap.intake import Cleaned
from tastemap.runs import Run
from tastemap.segmentation import Projection
from tastemap.stages import Stages
from tastemap.warm_start import Continuation, Earlier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reduction:
    """Features of ratings and their principal components, before there are clusters."""

    features: Features
    decomposition: Decomposition
    passes: Sequence[Progress]
    """Of the PCA."""

    @property
    def projection(self) -> Projection:
        """Ratings to scores."""
        return Projection.of(self.features, self.decomposition)


@dataclass(frozen=True)
class Fit:
    """Clusters, and how they came about."""

    choice: Choice
    """Of the number of clusters."""
    reduction: Reduction
    clustering: Clustering
    continuation: Continuation | None
    """Of the clusters of an earlier run."""

    @property
    def clusters(self) -> Clusters:
        """What users are assigned to, memberships at the temperature that was chosen."""
        found, temperature = self.clustering.model, self.choice.temperature
        return found if temperature is None else found.tempered(temperature)

    def metrics(self) -> dict[str, Any]:
        """Figures of merit for the record."""
        decomposition, clustering = self.reduction.decomposition, self.clustering
        return {
            "pca_passes": decomposition.passes,
            "pca_pass_seconds": [round(one.seconds, 3) for one in self.reduction.passes],
            "pca_residual_share": decomposition.error,
            "pca_converged": decomposition.converged,
            "variance_ratio": float(decomposition.variance_ratio.sum()),
            "clustering_cost": clustering.cost,
            "clustering_iterations": clustering.iterations,
            "cluster_sizes": clustering.sizes.tolist(),
            "choice": self.choice.reason,
            "verdict": self.choice.verdict,
            "temperature": self.choice.temperature,
            "warm_start": None if self.continuation is None else self.continuation.record(),
        }


def choose_clusters(
    kept: Cleaned,
    titles: Future[Catalogue],
    truth: DataFrame | None,
    run: Run,
    config: Config,
    stages: Stages,
) -> Choice:
    """The number of clusters that is asked for, or of several the one that earns it, with what speaks for it.

    To choose, every number is fitted without some of the ratings and judged by them; the tables `evaluation`
    and `cluster_stability` hold the whole curve. The clusters themselves are then fitted on all ratings.
    """
    if len(config.clustering.n_clusters) == 1:
        return Choice(config.clustering.n_clusters[0], reason="as asked for")
    if config.decomposition.pca_solver == "spark":
        log.warning("--pca-solver spark is not used while the number of clusters is chosen")
    with stages("choose clusters", "numbers") as stage:
        data = hold_out(kept.matrix, titles.result(), kept.size, config)
        found = evaluate(data, config, truth)
        run.write_small("evaluation", found.figures, schemas.EVALUATION)
        run.write_small("cluster_stability", found.clusters, schemas.CLUSTER_STABILITY)
        stage.rows = len(config.clustering.n_clusters)
    return choose(found.figures)


def reduce(kept: Cleaned, titles: Future[Catalogue], config: Config, stages: Stages) -> Reduction:
    """Weigh the ratings and fit their principal components, while titles are looked up.

    Raises
    ------
    UserError
        The settings ask for what the ratings do not have, or the list of movies cannot be read.
    """
    (n_components,) = config.decomposition.n_components
    movies = kept.movies
    features = featuring.fit(
        kept.matrix, movies.n_ratings, movies.rating_sums, config.weighting, titles.result
    )
    featuring.check_size(features, [n_components])
    passes: list[Progress] = []
    with stages("principal components", "passes") as stage:

        def passed(one: Progress) -> None:
            passes.append(one)
            stage.rows = one.passes
            if titles.done():
                titles.result()  # so that a list that cannot be read is told of now, not at the end

        decomposition = principal_components(kept, features, config, passed)
        stage.rows = decomposition.passes
    featuring.check_variance(decomposition.total_variance)
    return Reduction(features, decomposition, passes)


def principal_components(
    kept: Cleaned,
    features: Features,
    config: Config,
    on_pass: Callable[[Progress], None],
) -> Decomposition:
    """Principal components of the weighted ratings, by the solver that is configured."""
    settings = config.decomposition
    (n_components,) = settings.n_components
    if settings.pca_solver == "spark":
        vectors = features.stage().transform(pivot.user_vectors(kept.matrix).frame())
        pca = PCA(k=n_components, inputCol="weights", solver="spark", seed=config.run.seed)
        try:
            return pca.fit(vectors).decomposition
        except ValueError as error:
            raise UserError(f"--pca-solver spark: {error}") from error
    found = decompose_from_sample(
        kept.matrix,
        features,
        n_components,
        kept.size,
        tol=settings.pca_tolerance,
        seed=config.run.seed,
        on_pass=on_pass,
    )
    if not found.converged:
        log.warning(
            "the PCA stopped after %d passes at a residual share of %.1e, above --pca-tolerance %.1e: its "
            "last components are rough; raise the tolerance or ask for fewer by --n-components",
            found.passes,
            found.error,
            settings.pca_tolerance,
        )
    return found


def cluster(
    kept: Cleaned,
    reduction: Reduction,
    scores: ScoreMatrix,
    choice: Choice,
    earlier: Earlier | None,
    config: Config,
    stages: Stages,
) -> Fit:
    """Fit as many clusters as were chosen, or continue those of an earlier run."""
    with stages("cluster", "clusters") as stage:
        continuation = None
        if earlier is None:
            clustering = algorithms.fit(scores, choice.n_clusters, config.clustering, config.run.seed)
        else:
            clustering, continuation = warm_start.fit(
                earlier,
                kept.matrix,
                kept.movies.ids,
                reduction.projection,
                scores,
                choice.n_clusters,
                config,
            )
        stage.rows = len(clustering.sizes)
    if stage.rows < choice.n_clusters:
        log.warning(
            "%d clusters were asked for, %d came out: no more are different, or some lost all of their users",
            choice.n_clusters,
            stage.rows,
        )
    return Fit(choice, reduction, clustering, continuation)
