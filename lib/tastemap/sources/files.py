"""The files a log is in: finding them, looking at their heads, handing them to Spark's readers."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from tastemap.errors import UserError
from tastemap.filesystem import FileSystem, escaped, first_line

# From here on one listing of a directory is faster than one of every file: 17,770 files of their own take
# Spark half a minute to look up, the directory that holds them a second.
_MANY = 100
_HEAD_LINES = 20
HEAD_BYTES = 1 << 14
"""The first bytes of a file, which hold the lines of its head unless they are very long."""
_COMPRESSED = re.compile(r"\.(bz2|deflate|gz|lz4|snappy|zst)$")
"""How Hadoop knows a compressed file."""


MIN_TASKS = "spark.sql.files.minPartitionNum"
"""Setting: how many tasks Spark makes of files at least; by default one for each core that there is then."""


@dataclass(frozen=True)
class StoredFile:
    """A file that was found."""

    path: str
    """URI, as Hadoop writes it."""
    size: int
    """Bytes as stored."""
    root: str
    """The given path under which it was found: a directory, or the file itself."""

    @property
    def explicit(self) -> bool:
        """Whether the file itself was given, not a directory or pattern it is in."""
        return self.path == self.root

    @property
    def relative(self) -> str:
        """Path below the root; the name alone for a file that was given."""
        return self.path.rpartition("/")[2] if self.explicit else self.path[len(self.root) + 1 :]

    @property
    def directory(self) -> str:
        """URI of the directory it is in."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Name without directory and without the extension of a compression."""
        return _COMPRESSED.sub("", self.path.rpartition("/")[2])

    @property
    def compression(self) -> str:
        """Extension of the compression, empty if there is none."""
        found = _COMPRESSED.search(self.path)
        return found[1] if found else ""

    @property
    def shape(self) -> str:
        """Path with numbers and UUIDs blotted out: files of one shape hold the same kind of thing."""
        name = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "*", self.path.rpartition("/")[2])
        return f"{self.directory}/{re.sub(r'[0-9]+', '*', name)}"


@dataclass(frozen=True)
class StoredFiles:
    """Files as `DataFrameReader` wants them."""

    load: list[str]
    """Paths for `load`: the files, or the directories that hold them."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options for the reader."""
    sizes: tuple[int, ...] = ()
    """Bytes of every file."""


@dataclass(frozen=True)
class Split:
    """A piece of a file that one task reads."""

    partition: int
    """Number of the task."""
    uri: str
    """URI, as Hadoop writes it."""
    path: str
    """The same, encoded, as it stands in `_metadata.file_path`."""
    start: int
    length: int
    size: int
    """Bytes of the file."""


def find_files(spark: SparkSession, paths: Sequence[str], option: str) -> list[StoredFile]:
    """List the files that paths lead to: files, directories with all below them, and glob patterns.

    Names that begin with ``.`` or ``_`` are left out, as everywhere in Spark, and so are files of no bytes
    that were not named themselves. A directory of such a name may be given, not a file. Nothing is read.

    Parameters
    ----------
    spark : SparkSession
        The session.
    paths : sequence of str
        Paths or URIs.
    option : str
        Option that gave the paths, for messages.

    Raises
    ------
    UserError
        Naming every path that leads nowhere.
    """
    faults: list[str] = []
    found: dict[str, StoredFile] = {}
    roots: dict[str, str] = {}
    for directory, given in _by_directory(paths).items():
        if len(given) > _MANY:
            picked = _pick(spark, directory, given)
            found |= picked
            names = {file.relative for file in picked.values()}
            given = [path for path in given if path.rpartition("/")[2] not in names]
        for path in given:
            try:
                more, new_roots = _expand(spark, path, option)
            except UserError as error:
                faults += error.faults
            else:
                found |= more
                roots |= new_roots
    if faults:
        raise UserError(faults)
    listed = _list(spark, roots)
    for file in listed + _empty(spark, roots.keys() - {file.path for file in listed}):
        if file.path not in found or file.explicit:
            found[file.path] = file
    return sorted(found.values(), key=lambda file: file.path)


def read_head(spark: SparkSession, file: StoredFile, start: bytes) -> list[str]:
    """Read the first lines of a text file, uncompressed, without those that are blank.

    Parameters
    ----------
    spark : SparkSession
    file : StoredFile
    start : bytes
        Its first `HEAD_BYTES`. Where they hold enough, Spark is not asked, which would make a job of it.

    Raises
    ------
    UserError
        If it cannot be read, such as a broken archive.
    """
    lines = None if file.compression else _lines(start, whole=len(start) == file.size)
    if lines is None:
        try:
            rows = spark.read.text(escaped(file.path)).limit(_HEAD_LINES).collect()
        except (Py4JJavaError, PySparkException) as error:
            raise UserError(f"{file.path} cannot be read: {first_line(error)}") from error
        lines = [row.value for row in rows]
    return [line.strip("\ufeff\r\n") for line in lines if line.strip()]


def _lines(start: bytes, *, whole: bool) -> list[str] | None:
    """The first lines of a text, as Spark cuts them; None if it may have too few."""
    lines = re.split(rb"\r\n|\r|\n", start)
    if not whole and len(lines) <= _HEAD_LINES:
        return None
    return [line.decode("utf-8", "replace") for line in lines[:_HEAD_LINES]]


def splits_of(frame: DataFrame) -> list[Split]:
    """List the pieces that Spark cuts the files behind a DataFrame into, task by task.

    `frame` must do nothing but read and select.
    """
    partitions = frame._jdf.queryExecution().toRdd().partitions()
    found = [
        (number, str(file.toPath().toString()), file)
        for number, partition in enumerate(partitions)
        for file in partition.files()
    ]
    path_of: Any = frame.sparkSession._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    encoded = {uri: str(path_of(uri).toUri().toString()) for uri in {uri for _, uri, _ in found}}
    return [
        Split(number, uri, encoded[uri], file.start(), file.length(), file.fileSize())
        for number, uri, file in found
    ]


def largest_split(spark: SparkSession, sizes: Sequence[int]) -> int:
    """Bytes up to which Spark leaves files of these sizes whole, and into which it cuts larger ones."""
    conf = spark._jsparkSession.sessionState().conf()
    open_cost = int(conf.filesOpenCostInBytes())
    n_tasks = spark.conf.get(MIN_TASKS, None) or spark._jsparkSession.leafNodeDefaultParallelism()
    per_task = sum(size + open_cost for size in sizes) // int(n_tasks)
    return min(int(conf.filesMaxPartitionBytes()), max(open_cost, per_task))


def for_reader(taken: Sequence[StoredFile], listed: Iterable[StoredFile]) -> StoredFiles:
    """Name the files to Spark's readers in the way that is fastest to look up.

    Parameters
    ----------
    taken : sequence of StoredFile
        The files to read.
    listed : iterable of StoredFile
        All that were found, to make sure that a pattern takes in no others.
    """
    sizes = tuple(file.size for file in taken)
    paths = {file.path for file in taken}
    directories = {file.directory for file in taken}
    if len(taken) > _MANY > len(directories):
        roots = sorted(d for d in directories if not any(d.startswith(f"{other}/") for other in directories))
        below = [f for f in listed if any(f.path.startswith(f"{root}/") for root in roots)]
        shapes = {file.shape.rpartition("/")[2] for file in taken}
        pattern = sorted(shapes)[0] if len(shapes) == 1 else "{" + ",".join(sorted(shapes)) + "}"
        matching = {f.path for f in below if any(fnmatchcase(f.path.rpartition("/")[2], s) for s in shapes)}
        if matching == paths and not re.search(r"[\[\]?\\{},]", "".join(shapes)):
            options = {"recursiveFileLookup": "true", "pathGlobFilter": pattern}
            return StoredFiles([escaped(root) for root in roots], options, sizes)
    return StoredFiles([escaped(file.path) for file in taken], {}, sizes)


def _by_directory(paths: Sequence[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(path.rstrip("/") or "/" for path in paths):
        grouped[path.rpartition("/")[0]].append(path)
    return grouped


def _pick(spark: SparkSession, directory: str, paths: Sequence[str]) -> dict[str, StoredFile]:
    """Look up many files of one directory by a single listing."""
    root = FileSystem(spark, paths[0]).qualified(directory or ".")
    names = {path.rpartition("/")[2] for path in paths}
    listed = [f for f in _list(spark, {root: root}) if f.directory == root and f.relative in names]
    return {file.path: StoredFile(file.path, file.size, file.path) for file in listed}


def _expand(spark: SparkSession, path: str, option: str) -> tuple[dict[str, StoredFile], dict[str, str]]:
    """Look up one path.

    Returns
    -------
    files : dict
        The files it leads to by their paths, if they had to be listed.
    roots : dict
        Else the files and directories that are still to be listed, and the root that they count as.
    """
    file_system = FileSystem(spark, path)
    if file_system.exists(path):
        if not _is_seen(path.rpartition("/")[2]) and not file_system.is_directory(path):
            raise UserError(
                f"{option} {path} is a file that Spark passes over, as all whose names begin with . or _; "
                "rename it"
            )
        root = file_system.qualified(path)
        return {}, {root: root}
    if not _is_pattern(path):
        raise UserError(f"{option} {path} does not exist; give a file, a directory or a pattern")
    directory, _, name = path.rpartition("/")
    n_matches, matches = file_system.matches(path, _MANY)
    if n_matches > _MANY and not _is_pattern(directory):
        root = file_system.qualified(directory or ".")
        listed = {file.path: file for file in _list(spark, {root: root}, name) if file.directory == root}
        if len(listed) == n_matches:
            return listed, {}
    if n_matches > _MANY:
        matches = file_system.matches(path, n_matches)[1]
    seen = {match: match.rpartition("/")[0] for match in matches if _is_seen(match.rpartition("/")[2])}
    if not seen:
        raise UserError(f"{option} {path} matches no file; give a file, a directory or a pattern")
    return {}, seen


def _is_pattern(path: str) -> bool:
    return re.search(r"[*?\[{]", path) is not None


def _list(spark: SparkSession, roots: Mapping[str, str], name_pattern: str = "*") -> list[StoredFile]:
    """List files with the names and sizes that Spark's readers see; those of other machines in parallel."""
    here: dict[str, str] = {}
    if name_pattern == "*":
        paths = {root: FileSystem(spark, root).local_path(root) for root in roots}
        here = {root: path for root, path in paths.items() if path is not None}
    found = [(uri, size, root) for root, path in here.items() for uri, size in _list_local(root, path)]
    others = {root: given for root, given in roots.items() if root not in here}
    listed = _list_by_spark(spark, others, name_pattern)
    return [StoredFile(uri, size, roots[root]) for uri, size, root in found] + listed


def _list_local(root: str, path: str) -> Iterator[tuple[str, int]]:
    """URIs and sizes of what Spark lists of a file or directory, given its URI and its path."""
    paths = [path]
    if os.path.isdir(path):
        paths = []
        for folder, inner, names in os.walk(path, onerror=_refuse, followlinks=True):
            _refuse_endless(folder)
            inner[:] = filter(_is_seen, inner)
            paths += [os.path.join(folder, name) for name in filter(_is_seen, names)]
    for file in filter(os.path.isfile, paths):  # no links that lead nowhere
        if size := os.path.getsize(file):
            yield root + file[len(path) :], size


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed: {error.strerror}") from error


def _refuse_endless(folder: str) -> None:
    """Refuse a link to a directory that it is in: all would be below it once more, over and over."""
    if not os.path.islink(folder):
        return
    above = map(os.path.realpath, Path(folder).parents)
    if os.path.realpath(folder) in above:
        raise UserError(
            f"{folder} is a link to a directory it is in, so that there is no end to it; remove it"
        )


def _is_seen(name: str) -> bool:
    """Whether a name is none of those that Spark passes over."""
    hidden = name.startswith(".") or (name.startswith("_") and "=" not in name)
    return not (hidden or name.endswith("._COPYING_"))


def _list_by_spark(spark: SparkSession, roots: Mapping[str, str], name_pattern: str) -> list[StoredFile]:
    if not roots:
        return []
    try:
        # The content is not read unless its column is asked for.
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        reader = reader.option("pathGlobFilter", name_pattern)
        rows = reader.load([escaped(root) for root in roots]).select("path", "length").collect()
    except (Py4JJavaError, PySparkException) as error:
        raise UserError(f"{', '.join(list(roots)[:3])} cannot be listed: {first_line(error)}") from error
    return [StoredFile(row.path, row.length, _root(row.path, roots)) for row in rows]


def _empty(spark: SparkSession, roots: Iterable[str]) -> list[StoredFile]:
    """Find the files of no bytes among the roots: Spark lists none of those."""
    return [StoredFile(root, 0, root) for root in roots if not FileSystem(spark, root).is_directory(root)]


def _root(path: str, roots: Mapping[str, str]) -> str:
    """Return the directory or file that a listed file was found under."""
    if path in roots:
        return roots[path]
    parent = path.rpartition("/")[0]
    above = parent
    while above and above not in roots:
        above = above.rpartition("/")[0]
    return above or parent
