"""The command line of the jobs: parsing, help, exit codes. Starts no Spark."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import gc
import logging
import os
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from tastemap import config as configuration
from tastemap.config import Config
from tastemap.console import Console, JobEnd
from tastemap.errors import UserError
from tastemap.options import declared, unknown

OK, FAILED, FAULT = 0, 1, 2

A = TypeVar("A")
_METADATA = "tastemap argument"
log = logging.getLogger(__name__)


def argument(help: str, metavar: str = "", *, example: str = "", default: Any = None) -> Any:
    """Declare a dataclass field that is an argument of a job.

    Its type says what it takes: `bool` is a flag, `tuple[str, ...]` several values, `str` one. With an
    `example` it is required, and the example is what somebody who leaves it out is told.
    """
    return dataclasses.field(default=default, metadata={_METADATA: (help, metavar, example)})


@dataclass(frozen=True)
class Arguments:
    """What every job that reads a log is told."""

    ratings: tuple[str, ...] = argument(
        "files, directories or globs of the log", "PATH", example="ml-latest-small/ratings.csv", default=()
    )
    movies: str | None = argument("titles (default: beside the ratings)", "PATH")
    output: str = argument("where the results go", "DIR", example="output/segments", default="")
    overwrite: bool = argument("replace an earlier run in --output", default=False)
    config: Config = dataclasses.field(default_factory=Config)
    """Of the options in the sections that the job takes."""


@typing.overload
def parse(
    description: str,
    sections: Sequence[str],
    argv: Sequence[str] | None = ...,
    *,
    defaults: Mapping[str, str] = ...,
) -> Arguments: ...
@typing.overload
def parse(
    description: str,
    sections: Sequence[str],
    argv: Sequence[str] | None = ...,
    *,
    kind: type[A],
    defaults: Mapping[str, str] = ...,
) -> A: ...
def parse(
    description: str,
    sections: Sequence[str],
    argv: Sequence[str] | None = None,
    *,
    kind: type[Any] = Arguments,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Parse a job's command line.

    Parameters
    ----------
    description : str
        The job's docstring: a summary, a blank line, examples.
    sections : sequence of str
        Sections of the configuration whose options the job takes; where there are any, `kind` has a field
        `config` for them.
    argv : sequence of str, optional
        Default: the process's own.
    kind : type
        A dataclass of `argument` fields: what the job is told beside those options.
    defaults : mapping
        Values of options where the job has other ones than the library; a file and the command line win.

    Returns
    -------
    object
        Of that kind.

    Raises
    ------
    UserError
        With every fault at once.
    SystemExit
        After `--help`.
    """
    own = _declared(kind)
    parser = _parser(description, sections, own, defaults)
    argv = sys.argv[1:] if argv is None else argv
    # Nothing is required and everything is a text to argparse: it would stop at the first fault.
    found, rest = parser.parse_known_args(argv)
    given = {name: value for name, value in vars(found).items() if value is not None}
    flags = [flag for action in parser._actions for flag in action.option_strings]
    faults = list(_not_taken(rest, argv, flags))
    texts = {name: value for name, value in given.items() if not isinstance(value, bool)}
    faults += [
        f"--{name.replace('_', '-')} needs a value" for name, value in texts.items() if not all(value or [""])
    ]
    for each in own:
        if each.example and each.name not in given:
            faults.append(f"{each.flag} is missing; for example {each.flag} {each.example}")
    values = {each.name: given[each.name] for each in own if each.name in given}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if sections:
        known = {spec.name for name in sections for spec in declared(configuration.SECTIONS[name])}
        options = {name: value for name, value in given.items() if name in known and value != ""}
        values["config"], more = configuration.load(given.get("config") or None, options, defaults)
        faults += more
    if faults:
        raise UserError(faults)
    return kind(**values)


def run(job: Callable[[], str | None]) -> int:
    """Run a job for a person or a scheduler.

    Parameters
    ----------
    job : callable
        Returns what is printed at its end, unless it is to be quiet or to talk JSON.

    Returns
    -------
    int
        The exit code; faults of the user are sentences on standard error.
    """
    # NumPy reads it when it is loaded. Threads of its BLAS that wait for work spin for 30 ms, which slows
    # whatever else computes. Hardly spinning, the driver does its part of a PCA in 1.6 s, not 2.7.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    # Python ends by collecting garbage, for which it looks through half a million objects of the libraries:
    # half a second before the process is gone. What is frozen it leaves to the system.
    atexit.register(gc.freeze)
    _prefer_installed_pyspark()
    console = Console.of(sys.argv[1:])
    start = time.perf_counter()
    with console.open():
        code = OK
        try:
            told = job()
            if told and not (console.quiet or console.json):
                print(told)  # noqa: T201  # what it is for
        except UserError as error:
            code = FAULT
            for fault in error.faults:
                log.error("error: %s", fault)
        except Exception:
            if not console.json:
                raise
            # A bug, told with its trace as JSON: Python's own text would be none.
            code = FAILED
            log.exception("the job failed")
        end = JobEnd(code, round(time.perf_counter() - start, 3))
        log.debug("finished", extra={"event": end})
    return code


def _prefer_installed_pyspark() -> None:
    """Import PySpark from where pip has put it, if that is the Spark that runs this job.

    `spark-submit` puts it first as an archive, of which Python compiles all modules at every start and reads
    the contents again whenever a file is added: more than a second.
    """
    home = os.environ.get("SPARK_HOME", "")
    if os.path.dirname(home) in sys.path and os.path.isfile(os.path.join(home, "__init__.py")):
        archives = os.path.join(home, "python", "lib", "")
        sys.path[:] = [path for path in sys.path if not path.startswith(archives)]


@dataclass(frozen=True)
class _Declared:
    """An argument as it was declared."""

    name: str
    many: bool
    is_flag: bool
    help: str
    metavar: str
    example: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def _declared(kind: type[Any]) -> list[_Declared]:
    hints = typing.get_type_hints(kind)
    return [
        _Declared(
            field.name,
            typing.get_origin(hints[field.name]) is tuple,
            hints[field.name] is bool,
            *field.metadata[_METADATA],
        )
        for field in dataclasses.fields(kind)
        if _METADATA in field.metadata
    ]


def _not_taken(rest: Sequence[str], argv: Sequence[str], flags: Sequence[str]) -> Iterator[str]:
    """Sentences about what argparse has left over."""
    unknown_flags = {text for text in rest if text.startswith("-") and "=" not in text}
    values = {value for flag, value in pairwise(argv) if flag in unknown_flags}
    for text in rest:
        if text.startswith("-"):
            yield unknown("option", text.partition("=")[0], flags)
        elif text not in values:  # what was meant for an unknown option is no fault of its own
            yield f"unexpected argument {text!r}; see --help"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class _Help(argparse.RawDescriptionHelpFormatter):
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        # To argparse values may be missing, so that it does not stop there; to people they are not optional.
        return f"{action.metavar or default_metavar}{'...' if action.nargs == '*' else ''}"


def _parser(
    description: str, sections: Sequence[str], own: Sequence[_Declared], defaults: Mapping[str, str]
) -> argparse.ArgumentParser:
    summary, _, examples = description.partition("\n\n")
    needed = [f"{each.flag} {each.metavar}{'...' if each.many else ''}" for each in own if each.example]
    parser = _Parser(
        description=summary,
        epilog=examples,
        formatter_class=_Help,
        allow_abbrev=False,
        usage=" ".join(["%(prog)s", *needed, "[options]"]),
    )
    data = parser.add_argument_group("data")
    for each in own:
        if each.is_flag:
            data.add_argument(each.flag, action="store_true", help=each.help)
        elif each.many:
            data.add_argument(each.flag, nargs="*", action="extend", metavar=each.metavar, help=each.help)
        else:
            data.add_argument(each.flag, nargs="?", const="", metavar=each.metavar, help=each.help)
    if sections:
        file = "TOML file; the command line wins"
        data.add_argument("--config", nargs="?", const="", metavar="FILE", help=file)
    talk = parser.add_argument_group("messages")
    talk.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    talk.add_argument("--log-json", action="store_true", help="print JSON, an object a line, for schedulers")
    for name in sections:
        section = configuration.SECTIONS[name]
        group = parser.add_argument_group(name, (section.__doc__ or "").strip())
        for spec in declared(section):
            metavar = "|".join(spec.choices) or spec.type.__name__.upper()
            metavar += ",..." if spec.several else ""
            default_text = defaults.get(spec.name, spec.default_text)
            default = "" if default_text is None else f" [{default_text}]"
            group.add_argument(spec.flag, nargs="?", const="", metavar=metavar, help=spec.help + default)
    return parser
