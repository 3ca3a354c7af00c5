"""Which of the files that were found belong to the log, and why the others do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.sources.detection import (
    FORMS,
    MOVIE_NAMES,
    NOUNS,
    RATING_NAMES,
    Head,
    missing_columns,
    rating_columns,
)
from tastemap.sources.files import StoredFile

_KNOWN = (
    "MovieLens (ratings.csv, ratings.dat, u.data), Netflix Prize (combined_data_*.txt, mv_*.txt), "
    "Parquet or CSV with a header"
)
_FEW = 4  # files of one shape that are each looked into


@dataclass(frozen=True)
class Selection:
    """The files that belong to a log."""

    ratings: tuple[StoredFile, ...]
    """Files of ratings, all of one layout."""
    head: Head
    """What those files hold."""
    movies: tuple[tuple[StoredFile, Head], ...]
    """Files of movies and what they hold."""
    skipped: tuple[str, ...]
    """Files left out: "name: why"."""


def select_files(
    files: Sequence[StoredFile], look: Callable[[StoredFile], Head], config: SourceConfig
) -> Selection:
    """Choose the files of ratings and movies.

    Published names win in a directory that has any; elsewhere, and for files that were named themselves,
    content decides. One file of every shape of name is looked into.

    Parameters
    ----------
    files : sequence of StoredFile
        All that were found.
    look : callable
        Reads the head of a file.
    config : SourceConfig
        The form asked for, and the columns of own tables.

    Raises
    ------
    UserError
        If there is nothing, nothing that is known, or more than one form.
    """
    full = [file for file in files if file.size]
    skipped = [f"{file.relative}: empty" for file in files if not file.size]
    published = {file.root for file in full if _has_rating_name(file)}
    wanted = []
    for file in full:
        if file.root in published and not (file.explicit or _has_rating_name(file) or _has_movie_name(file)):
            skipped.append(f"{file.relative}: not needed beside the published files")
        else:
            wanted.append(file)
    heads = _heads(wanted, look)
    taken, movies, unknown = [], [], []
    for file in wanted:
        head = heads[file.path]
        if head.empty:
            skipped.append(f"{file.relative}: no ratings in it")
        elif head.ratings is not None and not (head.movies and _has_movie_name(file)):
            taken.append(file)
        elif head.movies is not None and (file.explicit or _has_movie_name(file)):
            movies.append(file)
        else:
            unknown.append(file)
            asked = " of the form asked for" if head.looks_like is not None else ""
            skipped.append(f"{file.relative}: not ratings{asked}")
    faults = [_unknown(file, heads[file.path], config) for file in unknown if file.explicit]
    if faults:
        raise UserError(faults)
    if not taken:
        raise UserError(_nothing(files, unknown, heads, config))
    layouts = {heads[file.path].ratings: file for file in reversed(taken)}
    if len(layouts) > 1:
        found = ", ".join(f"{file.path} is {NOUNS[layout or '']}" for layout, file in sorted(layouts.items()))
        raise UserError(f"ratings of several forms in one run: {found}; give one of them, or set --format")
    return Selection(
        tuple(taken), heads[taken[0].path], tuple((file, heads[file.path]) for file in movies), tuple(skipped)
    )


def _has_rating_name(file: StoredFile) -> bool:
    return bool(RATING_NAMES.fullmatch(file.name)) or file.relative.startswith("ratings/")


def _has_movie_name(file: StoredFile) -> bool:
    return bool(MOVIE_NAMES.fullmatch(file.name)) or file.relative.startswith("movies/")


def _heads(files: Sequence[StoredFile], look: Callable[[StoredFile], Head]) -> dict[str, Head]:
    """Look into files; where many have names of one shape, the largest speaks for all."""
    by_shape: dict[str, list[StoredFile]] = defaultdict(list)
    for file in files:
        by_shape[file.shape].append(file)
    heads: dict[str, Head] = {}
    for alike in by_shape.values():
        if len(alike) > _FEW:
            heads |= dict.fromkeys(
                (file.path for file in alike), look(max(alike, key=lambda file: file.size))
            )
        else:
            heads |= {file.path: look(file) for file in alike}
    return heads


def _unknown(file: StoredFile, head: Head, config: SourceConfig) -> str:
    """Say why a file is not taken for ratings, and what to do."""
    if head.looks_like is not None:
        return (
            f"--format is {config.format}, but {file.path} looks like {NOUNS[head.looks_like]}: "
            f"it begins with {head.first_line()}; set --format {FORMS[head.looks_like]}, or leave it out"
        )
    missing = missing_columns(head.columns, config)
    if config.format in ("auto", "parquet", "csv") and len(head.columns) >= len(rating_columns(config)):
        return (
            f"{file.path} has no column {', '.join(missing.values())}; its columns are "
            f"{', '.join(head.columns)}; name yours with {', '.join(missing)}"
        )
    return f"{file.path} is of no known form: it begins with {head.first_line()}; known: {_KNOWN}"


def _nothing(
    files: Sequence[StoredFile],
    unknown: Sequence[StoredFile],
    heads: Mapping[str, Head],
    config: SourceConfig,
) -> str:
    """Say why no file is taken for ratings."""
    if not files:
        return "--ratings leads to no files, or only to empty ones; give files of ratings"
    if not unknown:
        return f"--ratings leads to no ratings: {files[0].path} is empty" + (
            f", and so are {len(files) - 1} more" if len(files) > 1 else ""
        )

    def likeness(file: StoredFile) -> tuple[bool, bool, int]:
        head = heads[file.path]
        return (
            head.looks_like is not None,
            _has_rating_name(file),
            -len(missing_columns(head.columns, config)),
        )

    return _unknown(max(unknown, key=likeness), heads[max(unknown, key=likeness).path], config)
