"""The command line: what it takes, what it says, and that it starts no Spark."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tastemap import cli
from tastemap.config import SECTIONS, Config
from tastemap.errors import UserError
from tastemap.options import declared

DESCRIPTION = "Count the stars.\n\nexamples:\n  count --ratings a\n"
LIBRARY = Path(cli.__file__).resolve().parents[1]


def parse(*arguments: str, sections: tuple[str, ...] = tuple(SECTIONS)) -> cli.Arguments:
    return cli.parse(DESCRIPTION, sections, arguments)


def faults(*arguments: str, sections: tuple[str, ...] = tuple(SECTIONS)) -> tuple[str, ...]:
    with pytest.raises(UserError) as error:
        parse(*arguments, sections=sections)
    return error.value.faults


GOOD = ("--ratings", "a", "--output", "b")


def test_the_least_that_is_needed() -> None:
    assert parse(*GOOD) == cli.Arguments(
        ratings=("a",), output="b", movies=None, overwrite=False, config=Config()
    )


def test_everything_given(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[run]\nseed = 3\n[clustering]\nn_clusters = 4\n")
    found = parse(
        *("--ratings", "a", "b*", "--movies", "m", "--output", "out", "--overwrite", "--config", str(path)),
        *("--n-clusters", "5", "--normalize=false", "--rating-min", "-1", "--weighting", "stars"),
    )
    assert (found.ratings, found.movies, found.output, found.overwrite) == (("a", "b*"), "m", "out", True)
    assert (found.config.run.seed, found.config.clustering.n_clusters) == (3, (5,))
    assert found.config.weighting.normalize is False and found.config.source.rating_min == -1.0


def test_paths_add_up_when_the_flag_is_repeated() -> None:
    assert parse("--ratings", "a", "b", "--output", "o", "--ratings", "c").ratings == ("a", "b", "c")


def test_process_arguments_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job", *GOOD])
    assert cli.parse(DESCRIPTION, ("run",)).output == "b"


def test_missing_ratings_and_output() -> None:
    assert faults() == (
        "--ratings is missing; for example --ratings ml-latest-small/ratings.csv",
        "--output is missing; for example --output output/segments",
    )


@pytest.mark.parametrize(
    "name", ["--ratings", "--output", "--movies", "--config", "--n-clusters", "--weighting"]
)
@pytest.mark.parametrize("value", [[], [""]])
def test_missing_values(name: str, value: list[str]) -> None:
    given = [text for pair in (GOOD[:2], GOOD[2:]) if pair[0] != name for text in pair]
    assert faults(*given, name, *value) == (f"{name} needs a value",)
    assert faults(name, *value, *given) == (f"{name} needs a value",)


def test_a_fault_in_the_options_alone() -> None:
    assert faults(*GOOD, "--n-clusters", "1") == (
        "--n-clusters is '1'; allowed: a whole number of at least 2, several with commas or as "
        "FIRST:LAST:STEP, or auto",
    )


def test_one_empty_path_among_others() -> None:
    assert faults("--ratings", "a", "", "--output", "b") == ("--ratings needs a value",)


def test_all_faults_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    found = faults(
        *(
            "--ratings",
            "--n-cluster",
            "5",
            "--seed",
            "minus",
            "--weightng=stars",
            "--zzzzzz",
            "--output",
            "o",
        ),
        *("stray", "--config", str(missing), "--max-bad-fraction", "2"),
    )
    known = ["-h", "--help", "--ratings", "--movies", "--output", "--overwrite", "--config"]
    known += ["--quiet", "--log-json"]
    known += [spec.flag for section in SECTIONS.values() for spec in declared(section)]
    assert sorted(found) == sorted(
        [
            "--ratings needs a value",
            "unknown option --n-cluster (did you mean --n-clusters?)",
            "unknown option --weightng (did you mean --weighting?)",
            f"unknown option --zzzzzz (known: {', '.join(known)})",
            "unexpected argument 'stray'; see --help",
            "--seed is 'minus'; allowed: a whole number from 0 to 2147483647",
            f"--config {missing} cannot be read: No such file or directory; give the path of a TOML file",
            "--max-bad-fraction is '2'; allowed: a number from 0 to 1",
        ]
    )


def test_only_the_value_of_an_unknown_option_goes_without_saying() -> None:
    assert faults(*GOOD, "--n-cluster=5", "six") == (
        "unknown option --n-cluster (did you mean --n-clusters?)",
        "unexpected argument 'six'; see --help",
    )


def test_flags_are_not_abbreviated() -> None:
    assert faults(*GOOD, "--over") == ("unknown option --over (did you mean --overwrite?)",)


def test_what_argparse_itself_refuses() -> None:
    (fault,) = faults(*GOOD, "--overwrite=yes")
    assert "--overwrite" in fault and "'yes'" in fault and "see --help" in fault


def test_a_job_takes_the_options_of_its_sections_only(tmp_path: Path) -> None:
    assert parse(*GOOD, "--seed", "3", sections=("run",)).config.run.seed == 3
    assert faults(*GOOD, "--n-clusters", "3", sections=("run",))[0].startswith("unknown option --n-clusters")
    # One file serves all jobs.
    path = tmp_path / "own.toml"
    path.write_text("[clustering]\nn_clusters = 4\n")
    assert parse(*GOOD, "--config", str(path), sections=("run",)).config.clustering.n_clusters == (4,)


def test_help_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        parse("--help", "--nonsense")
    assert exit.value.code == 0
    told = capsys.readouterr().out
    words = " ".join(told.split())
    assert "Count the stars." in told and "examples:\n  count --ratings a\n" in told
    for section in SECTIONS.values():
        assert (section.__doc__ or "?") in words
        for spec in declared(section):
            assert f"  {spec.flag} " in told and spec.help in words
            if spec.default is not None:
                assert f"{spec.help} [{spec.default_text}]" in words
    assert "--ratings PATH...  " in told and "--weighting residual|centered|stars|rated,...\n" in told


@dataclass(frozen=True)
class Own:
    """What a job may be told that reads no log."""

    before: str = cli.argument("a run", "DIR", example="output/monday")
    others: tuple[str, ...] = cli.argument("more of them", "DIR", default=())
    output: str | None = cli.argument("where to", "DIR")
    dry_run: bool = cli.argument("only say what", default=False)


def test_a_job_declares_its_own_arguments() -> None:
    arguments = ["--before", "a", "--others", "b", "c", "--dry-run", "--others=d"]
    assert cli.parse(DESCRIPTION, (), arguments, kind=Own) == Own("a", ("b", "c", "d"), None, True)
    assert cli.parse(DESCRIPTION, (), ["--before=a", "--quiet", "--log-json"], kind=Own) == Own("a")


def test_faults_in_own_arguments() -> None:
    with pytest.raises(UserError) as error:
        cli.parse(DESCRIPTION, (), ["--others", "--output", "--ratings", "x", "--config", "y"], kind=Own)
    known = "-h, --help, --before, --others, --output, --dry-run, --quiet, --log-json"
    assert sorted(error.value.faults) == [
        "--before is missing; for example --before output/monday",
        "--others needs a value",
        "--output needs a value",
        f"unknown option --config (known: {known})",
        f"unknown option --ratings (known: {known})",
    ]


def test_help_of_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse(DESCRIPTION, (), ["--help"], kind=Own)
    told = capsys.readouterr().out
    assert "--before DIR [options]" in told and "--others DIR...  more of them" in told
    assert "--config" not in told and "--ratings PATH" not in told and "--log-json" in told


@dataclass(frozen=True)
class Both(cli.Arguments):
    """What a job that reads a log may be told besides."""

    model: str = cli.argument("a model", "DIR", example="run/model")


def test_own_arguments_beside_sections() -> None:
    found = cli.parse(DESCRIPTION, ("run",), [*GOOD, "--model", "m", "--seed", "3"], kind=Both)
    assert (found.model, found.ratings, found.config.run.seed) == ("m", ("a",), 3)


def in_own_process(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={"PYTHONPATH": str(LIBRARY)}, capture_output=True, text=True)


def test_importing_and_help_start_no_spark() -> None:
    program = (
        "import sys\n"
        "from tastemap import cli\n"
        "from tastemap.config import SECTIONS\n"
        "try:\n"
        "    cli.parse('Job.', tuple(SECTIONS), ['--help'])\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0\n"
        "heavy = {'pyspark', 'py4j', 'pandas', 'pyarrow', 'numpy', 'scipy'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = in_own_process(program)
    assert done.returncode == 0, done.stderr
    assert "--n-clusters" in done.stdout and done.stdout.endswith("loaded: []\n")


def test_a_process_does_not_look_for_garbage_at_its_end() -> None:
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
        "from tastemap import cli\n"
        "cli.run(lambda: None)\n"
        "assert gc.get_freeze_count() == 0\n"
    )
    done = in_own_process(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_a_job_that_goes_well(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> None:
        logging.getLogger("tastemap.anything").info("a line for the person")

    assert cli.run(job) == 0
    assert capsys.readouterr() == ("", "a line for the person\n")


def test_faults_are_printed_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> None:
        raise UserError(["one thing", "another thing"])

    assert cli.run(job) == 2
    assert capsys.readouterr() == ("", "error: one thing\nerror: another thing\n")


def test_other_errors_are_not_hidden() -> None:
    def job() -> None:
        raise RuntimeError("a bug")

    before = list(logging.getLogger("tastemap").handlers)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(job)
    assert logging.getLogger("tastemap").handlers == before


@pytest.mark.parametrize(
    ("by_pip", "of_this_python", "goes"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_pyspark_is_imported_from_where_pip_has_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pip: bool, of_this_python: bool, goes: bool
) -> None:
    home = tmp_path / "site-packages/pyspark"
    home.mkdir(parents=True)
    if by_pip:
        (home / "__init__.py").touch()
    archives = [f"{home}/python/lib/{name}.zip" for name in ("pyspark", "py4j-0.10.9.9-src")]
    others = ["/job", "/elsewhere/python/lib/pyspark.zip", *([str(home.parent)] if of_this_python else [])]
    monkeypatch.setenv("SPARK_HOME", str(home))
    monkeypatch.setattr(sys, "path", [*archives, *others])
    assert cli.run(lambda: None) == 0
    assert sys.path == (others if goes else [*archives, *others])
