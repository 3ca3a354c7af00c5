"""Every setting of a run: a frozen dataclass a stage; defaults < TOML file < command line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tastemap.errors import UserError
from tastemap.options import declared, option, read_section, unknown

FORMATS = ("auto", "movielens", "netflix", "parquet", "csv")
WEIGHTINGS = ("residual", "centered", "stars", "rated")
FEATURES = ("movies", "genres")
ALGORITHMS = ("kmeans", "bisecting", "mixture", "cosine")
PCA_SOLVERS = ("auto", "krylov", "spark")
AUTO = (2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
"""Numbers of clusters to choose from; for a person to tell them apart they should not be many."""
FIGURES = ("none", "png")


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """How the rating log is read."""

    format: str = option("auto", "form of the log; auto looks into the files", choices=FORMATS)
    user_column: str = option("user_id", "column of the user's id, in Parquet and CSV of your own")
    movie_column: str = option("movie_id", "column of the movie's id")
    rating_column: str = option("rating", "column of the rating")
    time_column: str = option("rated_at", "column of the time of rating; the default one may be missing")
    rating_min: float | None = option(None, "lowest rating (default: the form's own; others are rejected)")
    rating_max: float | None = option(None, "highest rating (default: the form's own)")
    max_bad_fraction: float = option(
        0.01, "stop when more than this share of the records cannot be taken", minimum=0, maximum=1
    )


@dataclasses.dataclass(frozen=True)
class CleaningConfig:
    """What is kept of the log."""

    min_user_ratings: int = option(20, "drop users with fewer ratings", minimum=1)
    min_movie_ratings: int = option(5, "drop movies with fewer ratings", minimum=1)


@dataclasses.dataclass(frozen=True)
class WeightingConfig:
    """What a rating counts in the user vectors that are compared."""

    weighting: tuple[str, ...] = option(
        ("residual",),
        "residual: minus global mean, movie and user effect; centered: minus the user's mean; "
        "stars: as given, unrated 0; rated: 1 for rated; evaluate_clusters takes several, or all",
        choices=WEIGHTINGS,
        words={"all": WEIGHTINGS},
    )
    features: tuple[str, ...] = option(
        ("movies",),
        "what users are compared on: movies; genres, by how much of each they watch and how they like it",
        choices=FEATURES,
    )
    normalize: bool = option(True, "scale every user's vector to length 1")
    movie_shrinkage: float = option(5.0, "ratings of prior weight that pull a movie's effect to 0", minimum=0)
    user_shrinkage: float = option(10.0, "ratings of prior weight that pull a user's effect to 0", minimum=0)


@dataclasses.dataclass(frozen=True)
class DecompositionConfig:
    """Principal components."""

    n_components: tuple[int, ...] = option(
        (32,), "principal components the users are compared on; evaluate_clusters takes several", minimum=1
    )
    pca_solver: str = option(
        "auto",
        "auto: krylov; krylov: any number of movies; spark: stock Spark ML, narrow data only",
        choices=PCA_SOLVERS,
    )
    pca_tolerance: float = option(
        0.001,
        "end the PCA's passes when residuals are this share of the variance; what it captures is far closer "
        "to the optimum, within 0.000001 at 0.001 on logs of Netflix's and MovieLens's size",
        minimum=1e-14,
    )


@dataclasses.dataclass(frozen=True)
class ClusteringConfig:
    """Clusters of users."""

    algorithm: str = option(
        "kmeans",
        "kmeans: nearest centre; bisecting: by splits, more alike in size; mixture: Gaussians of one "
        "covariance; cosine: by direction alone",
        choices=ALGORITHMS,
    )
    n_clusters: tuple[int, ...] = option(
        (8,),
        "clusters to find; of several numbers (4:40:4; auto: ten from 2 to 40) the one that held-out ratings "
        "and stability speak for",
        minimum=2,
        words={"auto": AUTO},
    )
    max_iterations: int = option(40, "iterations of the algorithm at most", minimum=1)
    restarts: int = option(4, "starts of KMeans; the one of the lowest cost counts", minimum=1)
    warm_start: str | None = option(
        None, "earlier run whose clusters are continued under their numbers: its output directory"
    )
    memberships: bool = option(False, "write the table memberships: every cluster a user may belong to")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How clusterings are judged, and compared where there are several."""

    holdout: float = option(
        0.1, "share of the ratings that is kept from fitting and predicted", minimum=0.001, maximum=0.5
    )
    repeats: int = option(3, "fits on resampled users, for the stability", minimum=1)
    truth: str | None = option(
        None, "Parquet or CSV of true groups to compare with, columns user_id and group"
    )


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """How clusters are described."""

    effect_shrinkage: float = option(
        25.0, "ratings of prior weight that pull a cluster's effect on a movie to 0", minimum=0
    )


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
    """What results tell of single people."""

    min_cell_users: int = option(
        1, "leave out cells of published tables with fewer people (10 or more to publish)", minimum=1
    )
    pseudonymise_key_file: str | None = option(
        None, "file with a secret key: user ids become keyed hashes in every table"
    )


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What is written for people to look at."""

    figures: str = option(
        "none", "png: the report's figures as files, too; needs selenium and Chromium", choices=FIGURES
    )
    report_user_ids: bool = option(False, "show the ids of individual users in the report")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What concerns the whole run."""

    seed: int = option(7, "seed of everything random", minimum=0, maximum=2**31 - 1)


@dataclasses.dataclass(frozen=True)
class Config:
    """All sections; each is a table of the same name in the TOML file."""

    source: SourceConfig = SourceConfig()
    cleaning: CleaningConfig = CleaningConfig()
    weighting: WeightingConfig = WeightingConfig()
    decomposition: DecompositionConfig = DecompositionConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    profiles: ProfileConfig = ProfileConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    report: ReportConfig = ReportConfig()
    run: RunConfig = RunConfig()

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries; of several values a list, one as it is."""

        def plain(value: Any) -> Any:
            several = isinstance(value, tuple)
            return (list(value) if len(value) > 1 else value[0]) if several else value

        return {
            section: {name: plain(value) for name, value in options.items()}
            for section, options in dataclasses.asdict(self).items()
        }


SECTIONS: dict[str, type] = {
    "source": SourceConfig,
    "cleaning": CleaningConfig,
    "weighting": WeightingConfig,
    "decomposition": DecompositionConfig,
    "clustering": ClusteringConfig,
    "evaluation": EvaluationConfig,
    "profiles": ProfileConfig,
    "privacy": PrivacyConfig,
    "report": ReportConfig,
    "run": RunConfig,
}


def load(
    path: str | None, flags: Mapping[str, str], defaults: Mapping[str, str] = MappingProxyType({})
) -> tuple[Config, list[str]]:
    """Merge defaults, a TOML file and the command line.

    Parameters
    ----------
    path : str or None
        A TOML file.
    flags : mapping
        Option names and texts from the command line.
    defaults : mapping
        Option names and texts in place of the declared defaults.

    Returns
    -------
    Config
        With defaults in place of what is at fault.
    list of str
        A sentence for every fault.
    """
    tables, faults = ({}, []) if path is None else _read_toml(path)
    faults += [unknown(f"table in {path}:", name, list(SECTIONS)) for name in tables if name not in SECTIONS]
    sections = {}
    for name, section in SECTIONS.items():
        table = tables.get(name, {})
        if not isinstance(table, dict):
            faults.append(f"{path} {name} is {table!r}; expected a table [{name}]")
            table = {}
        values, found = read_section(section, {**_of(section, defaults), **table}, flags, f"{path} [{name}]")
        sections[name] = section(**values)
        faults += found
    config = Config(**sections)
    low, high = config.source.rating_min, config.source.rating_max
    if low is not None and high is not None and low >= high:
        faults.append(
            f"--rating-min is {low:g}, --rating-max is {high:g}; the first must be below the second"
        )
    return config, faults


def _of(section: type, values: Mapping[str, str]) -> dict[str, str]:
    return {spec.name: values[spec.name] for spec in declared(section) if spec.name in values}


def _read_toml(path: str) -> tuple[dict[str, Any], list[str]]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig")), []  # editors on Windows add a BOM
    except OSError as error:
        return {}, [f"--config {path} cannot be read: {error.strerror}; give the path of a TOML file"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return {}, [f"--config {path} is not valid TOML: {error}"]


def from_options(path: str | None = None, **values: Any) -> Config:
    """Config from keyword arguments named like the options, for use from Python.

    Raises
    ------
    UserError
        With every fault.
    """
    names = [spec.name for section in SECTIONS.values() for spec in declared(section)]
    faults = [unknown("option", name, names) for name in values if name not in names]
    config, found = load(path, {name: value for name, value in values.items() if name in names})
    if faults + found:
        raise UserError(faults + found)
    return config
