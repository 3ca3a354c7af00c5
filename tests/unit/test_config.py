"""The configuration of a run: defaults, TOML files, the command line over them, and all faults at once."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tastemap.config import SECTIONS, Config, from_options, load
from tastemap.errors import UserError
from tastemap.options import declared

EXAMPLE = Path(__file__).resolve().parents[2] / "conf/cluster_users.toml"


NUMBERS = "allowed: a whole number of at least 2, several with commas or as FIRST:LAST:STEP, or auto"
KINDS = "allowed: one of residual, centered, stars, rated, several with commas, or all"


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_numbers_of_clusters_in_steps_of_one() -> None:
    """The step is no number of clusters: it may be less than two."""
    config, faults = load(None, {"n_clusters": "2:6:1"})
    assert (config.clustering.n_clusters, faults) == ((2, 3, 4, 5, 6), [])


def test_sections_are_the_fields_of_config() -> None:
    assert {
        field.name: type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)
    } == SECTIONS


def test_no_name_is_used_twice() -> None:
    names = Counter(spec.name for section in SECTIONS.values() for spec in declared(section))
    names.update(("ratings", "movies", "output", "overwrite", "config"))
    assert [name for name, n in names.items() if n > 1] == []


def test_every_default_is_allowed() -> None:
    for section in SECTIONS.values():
        for spec in declared(section):
            assert spec.convert(spec.default, spec.name) == spec.default


def test_defaults_are_those_that_were_promised() -> None:
    config = Config()
    assert config.source.format == "auto" and config.source.max_bad_fraction == 0.01
    assert (config.cleaning.min_user_ratings, config.cleaning.min_movie_ratings) == (20, 5)
    assert (config.weighting.weighting, config.weighting.normalize) == (("residual",), True)
    assert (config.decomposition.n_components, config.decomposition.pca_solver) == ((32,), "auto")
    assert (config.clustering.n_clusters, config.run.seed) == ((8,), 7)


def test_example_file_holds_the_defaults() -> None:
    config, faults = load(str(EXAMPLE), {})
    assert faults == []
    assert config == Config()
    assert config.as_dict() == Config().as_dict()


def test_example_file_holds_every_option_with_a_comment() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    assert list(tables) == list(SECTIONS)
    for name, section in SECTIONS.items():
        body = text.split(f"[{name}]")[1].split("\n[")[0]
        # What has no default stands there as a comment.
        written = re.findall(r"^(?:# )?(\w+) = ", body, flags=re.MULTILINE)
        assert written == [spec.name for spec in declared(section)]
        assert set(tables[name]) == {spec.name for spec in declared(section) if spec.default is not None}
        for paragraph in body.strip().split("\n\n")[1:]:
            assert re.match(r"# [A-Za-z]", paragraph), f"a comment is missing above: {paragraph}"


def test_commented_out_options_of_the_example_are_valid(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    config, faults = load(write(tmp_path, text), {})
    assert faults == []
    assert (config.source.rating_min, config.source.rating_max) == (0.5, 5.0)
    assert config.clustering.warm_start == "output/yesterday"


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "[clustering]\nn_clusters = 12\nmax_iterations = 5\n[run]\nseed = 1\n")
    config, faults = load(path, {"n_clusters": "15", "weighting": "stars"})
    assert faults == []
    assert (config.clustering.n_clusters, config.clustering.max_iterations) == ((15,), 5)
    assert (config.run.seed, config.weighting.weighting) == (1, ("stars",))
    expected = Config(
        weighting=dataclasses.replace(Config().weighting, weighting=("stars",)),
        clustering=dataclasses.replace(Config().clustering, n_clusters=(15,), max_iterations=5),
        run=dataclasses.replace(Config().run, seed=1),
    )
    assert config == expected


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "colour = 'red'\n[clustering]\nn_clusters = 1\nn_cluster = 3\n[clusterin]\nk = 1\n[run]\nseed = 'x'\n"
        "[cleaning]\nmin_user_ratings = [3]\n",
    )
    _, faults = load(path, {"weighting": "star", "rating_min": "5", "rating_max": "1"})
    assert sorted(faults) == sorted(
        [
            f"unknown table in {path}: colour (known: {', '.join(SECTIONS)})",
            f"unknown table in {path}: clusterin (did you mean clustering?)",
            f"unknown key in {path} [clustering]: n_cluster (did you mean n_clusters?)",
            f"{path} [clustering] n_clusters is 1; {NUMBERS}",
            f"{path} [run] seed is 'x'; allowed: a whole number from 0 to 2147483647",
            f"{path} [cleaning] min_user_ratings is [3]; allowed: a whole number of at least 1",
            f"--weighting is 'star'; {KINDS} (did you mean stars?)",
            "--rating-min is 5, --rating-max is 1; the first must be below the second",
        ]
    )


def test_a_value_where_a_table_should_be(tmp_path: Path) -> None:
    path = write(tmp_path, "run = 7\n")
    config, faults = load(path, {})
    assert config == Config()
    assert faults == [f"{path} run is 7; expected a table [run]"]


def test_a_file_from_a_windows_editor(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xef\xbb\xbf[run]\r\nseed = 3\r\n")
    config, faults = load(str(path), {})
    assert (config.run.seed, faults) == (3, [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[run\nseed = 3\n", "is not valid TOML: "),
        (b"[run]\nseed = 3\nseed = 4\n", "is not valid TOML: "),
        (b"# caf\xe9\n", "is not valid TOML: "),
    ],
)
def test_broken_toml(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    config, faults = load(str(path), {"n_clusters": "1"})
    assert len(faults) == 2 and f"--config {path} {told}" in faults[0] and "--n-clusters" in faults[1]
    assert config == Config()


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    missing, _ = tmp_path / "none.toml", tmp_path
    assert load(str(missing), {})[1] == [
        f"--config {missing} cannot be read: No such file or directory; give the path of a TOML file"
    ]
    assert load(str(tmp_path), {})[1] == [
        f"--config {tmp_path} cannot be read: Is a directory; give the path of a TOML file"
    ]


def test_from_python() -> None:
    config = from_options(n_clusters=3, weighting="rated", normalize=False, rating_min=None)
    assert (config.clustering.n_clusters, config.weighting.weighting) == ((3,), ("rated",))
    assert config.weighting.normalize is False and config.source.rating_min is None


def test_from_python_over_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[clustering]\nn_clusters = 12\n[run]\nseed = 1\n")
    config = from_options(path, seed=2)
    assert (config.clustering.n_clusters, config.run.seed) == ((12,), 2)


def test_from_python_raises_with_all_faults() -> None:
    with pytest.raises(UserError) as error:
        from_options(n_clusters=1, n_component=3, seed=None)
    assert error.value.faults == (
        "unknown option n_component (did you mean n_components?)",
        f"--n-clusters is 1; {NUMBERS}",
        "--seed is None; allowed: a whole number from 0 to 2147483647",
    )


def test_from_python_refuses_an_unknown_option_alone() -> None:
    with pytest.raises(UserError) as error:
        from_options(n_component=3)
    assert error.value.faults == ("unknown option n_component (did you mean n_components?)",)


@pytest.mark.parametrize(("low", "high", "n"), [("1", "1", 1), ("1", "5", 0), ("5", "1", 1)])
def test_the_ends_of_a_scale_differ(low: str, high: str, n: int) -> None:
    assert len(load(None, {"rating_min": low, "rating_max": high})[1]) == n


def test_as_dict_is_json() -> None:
    plain = Config().as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == list(SECTIONS) and plain["clustering"]["n_clusters"] == 8
