"""The command line of the jobs: parsing, help, exit codes. Starts no Spark."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import NoReturn

from tastemap import config as configuration
from tastemap.config import Config
from tastemap.errors import UserError
from tastemap.options import declared, unknown

OK, FAULT = 0, 2


@dataclass(frozen=True)
class Arguments:
    """What every job is told."""

    ratings: tuple[str, ...]
    output: str
    movies: str | None
    overwrite: bool
    config: Config


def parse(
    description: str,
    sections: Sequence[str],
    argv: Sequence[str] | None = None,
    *,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Arguments:
    """Parse a job's command line.

    Parameters
    ----------
    description : str
        The job's docstring: a summary, a blank line, examples.
    sections : sequence of str
        Sections of the configuration whose options the job takes.
    argv : sequence of str, optional
        Default: the process's own.
    defaults : mapping
        Values of options where the job has other ones than the library; a file and the command line win.

    Raises
    ------
    UserError
        With every fault at once.
    SystemExit
        After `--help`.
    """
    parser = _parser(description, sections, defaults)
    argv = sys.argv[1:] if argv is None else argv
    # Nothing is required and everything is a text to argparse: it would stop at the first fault.
    found, rest = parser.parse_known_args(argv)
    given = {name: value for name, value in vars(found).items() if value is not None}
    overwrite = given.pop("overwrite")
    flags = [flag for action in parser._actions for flag in action.option_strings]
    faults = list(_not_taken(rest, argv, flags))
    faults += [
        f"--{name.replace('_', '-')} needs a value" for name, value in given.items() if not all(value or [""])
    ]
    for name, example in (("ratings", "ml-latest-small/ratings.csv"), ("output", "output/segments")):
        if name not in given:
            faults.append(f"--{name} is missing; for example --{name} {example}")
    named = {"ratings", "output", "movies", "config"}
    options = {name: value for name, value in given.items() if name not in named and value != ""}
    config, more = configuration.load(given.get("config") or None, options, defaults)
    if faults + more:
        raise UserError(faults + more)
    return Arguments(tuple(given["ratings"]), given["output"], given.get("movies"), overwrite, config)


def run(job: Callable[[], None]) -> int:
    """Run a job for a person: faults as sentences on standard error, and an exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("tastemap")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        job()
    except UserError as error:
        for fault in error.faults:
            logger.error("error: %s", fault)
        return FAULT
    finally:
        logger.removeHandler(handler)
    return OK


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
    description: str, sections: Sequence[str], defaults: Mapping[str, str]
) -> argparse.ArgumentParser:
    summary, _, examples = description.partition("\n\n")
    parser = _Parser(
        description=summary,
        epilog=examples,
        formatter_class=_Help,
        allow_abbrev=False,
        usage="%(prog)s --ratings PATH... --output DIR [options]",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--ratings",
        nargs="*",
        action="extend",
        metavar="PATH",
        help="files, directories or globs of the log",
    )
    data.add_argument(
        "--movies", nargs="?", const="", metavar="PATH", help="titles (default: beside the ratings)"
    )
    data.add_argument("--output", nargs="?", const="", metavar="DIR", help="where the results go")
    data.add_argument("--overwrite", action="store_true", help="replace an earlier run in --output")
    data.add_argument(
        "--config", nargs="?", const="", metavar="FILE", help="TOML file; the command line wins"
    )
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
