"""What a report takes of a run, and when; Spark is stood in for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

import contents
from tastemap import activity
from tastemap.config import Config, from_options
from tastemap.errors import UserError
from tastemap.report import page, reporter
from tastemap.report.content import Content, People
from tastemap.report.reporter import Reporter

WAIT = 20.0
"""Seconds; nothing here takes one."""
SHOWN = contents.content()
TOLD = {key: told for key, told in SHOWN.manifest.items() if key != "started"}
ACTIVE = SHOWN.sample.people.table.groupby(["cluster", "n_ratings"]).size().rename("n_users").reset_index()


class Run:
    """Remembers what is written."""

    started = datetime(2026, 1, 2, tzinfo=UTC)

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def write_text(self, name: str, text: str) -> None:
        self.texts[name] = text


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Reporter, Run]]:
    """Makes a report as far as it is drawn, where `content` is what there is to show."""
    people = SHOWN.sample.people
    alone = People(people.table.drop(columns=["cluster", "membership"]), people.scores)
    monkeypatch.setattr(reporter.sample, "choose_people", lambda *_: alone)
    monkeypatch.setattr(reporter, "assignments", Mock())
    monkeypatch.setattr(reporter.sample, "choose_members", lambda assignments: assignments)
    monkeypatch.setattr(reporter.sample, "members", lambda *_: SHOWN.sample.members)
    monkeypatch.setattr(reporter, "_rejects", lambda *_: SHOWN.rejects)

    def make(beside: ThreadPoolExecutor, config: Config | None = None) -> tuple[Reporter, Run]:
        run = Run()
        made = Reporter(run, None, None, contents.MOVIE_IDS, config or Config(), beside)  # type: ignore[arg-type]
        made.choose_people()
        made.choose_members(CLUSTERS)
        tables = {
            "profiles": SHOWN.profiles,
            "cluster_movies": SHOWN.movies,
            "cluster_genres": SHOWN.genres,
            "cluster_years": SHOWN.years,
            "components": SHOWN.components,
        }
        made.look_up_members(SHOWN.movies, contents.K)
        made.draw(CLUSTERS, tables, ACTIVE, None, TOLD)
        return made, run

    return make


class Clusters:
    """Assigns everybody as they are."""

    n_clusters = contents.K

    def assign(self, scores: np.ndarray) -> pd.DataFrame:
        table = SHOWN.sample.people.table
        return table.rename(columns={"cluster": "clusters", "membership": "memberships"})


CLUSTERS = Clusters()


def test_the_page_is_of_the_run(report: Callable[..., tuple[Reporter, Run]]) -> None:
    with ThreadPoolExecutor() as beside:
        made, run = report(beside)
        size = made.write(TOLD)
    shown, table = made._shown.result(), SHOWN.sample.people.table
    pd.testing.assert_frame_equal(shown.sample.people.table[table.columns], table)
    np.testing.assert_array_equal(shown.neighbours, SHOWN.neighbours)
    assert shown.sample.members is SHOWN.sample.members
    assert shown.manifest["started"] == "2026-01-02T00:00:00+00:00"
    drawn = made._drawn.result()
    assert {name for name in drawn.charts if name.startswith("heat-")}
    assert page.render(shown, drawn) == run.texts[reporter.PAGE]
    assert size == len(run.texts[reporter.PAGE].encode())


def test_figures_are_drawn_while_the_run_goes_on(
    report: Callable[..., tuple[Reporter, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    as_ever = page.draw

    def draw(shown: Content) -> page.Drawn:
        begun.set()
        assert go_on.wait(WAIT)
        return as_ever(shown)

    monkeypatch.setattr(page, "draw", draw)
    with ThreadPoolExecutor() as beside:
        made, run = report(beside)  # would wait for ever if it drew
        assert begun.wait(WAIT)
        go_on.set()
        stage = {"name": "write all results", "rows": 6, "unit": "tables", "seconds": 1.0}
        made.write(TOLD | {"stages": [stage]})
    assert "write all results" in run.texts[reporter.PAGE]


@pytest.mark.parametrize("fails", [False, True])
def test_users_do_not_go_away_while_they_are_read(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    go_on, done = threading.Event(), threading.Event()

    def choose(*_: object) -> None:
        assert go_on.wait(WAIT)
        done.set()
        if fails:
            raise RuntimeError("gone")

    monkeypatch.setattr(reporter.sample, "choose_people", choose)
    with ThreadPoolExecutor() as beside:
        made = Reporter(Run(), None, None, contents.MOVIE_IDS, Config(), beside)  # type: ignore[arg-type]
        made.choose_people()
        threading.Timer(0.2, go_on.set).start()
        made.wait_for_reading()
        assert done.is_set()


def test_what_goes_wrong_in_drawing_is_told_and_spoils_no_run(
    report: Callable[..., tuple[Reporter, Run]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def draw(shown: Content) -> page.Drawn:
        raise RuntimeError("no ink")

    monkeypatch.setattr(page, "draw", draw)
    with ThreadPoolExecutor() as beside:
        made, run = report(beside)
        assert made.write(TOLD) == 0
    assert not run.texts
    (told,) = caplog.records
    assert "no report.html is written" in told.getMessage() and "all tables are" in told.getMessage()
    assert told.exc_info is not None and "no ink" in str(told.exc_info[1])


def test_members_who_cannot_be_looked_up_spoil_no_run(
    report: Callable[..., tuple[Reporter, Run]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look_up(*_: object) -> None:
        raise RuntimeError("an executor is gone")

    monkeypatch.setattr(reporter.sample, "members", look_up)
    with ThreadPoolExecutor() as beside:
        made, run = report(beside)
        assert made.write(TOLD) == 0
    assert not run.texts
    (told,) = caplog.records  # once, not for every step after it
    assert "an executor is gone" in str(told.exc_info and told.exc_info[1])


def test_the_page_stays_where_pictures_go_wrong(
    report: Callable[..., tuple[Reporter, Run]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def pictures(figures: object) -> None:
        raise UserError("the disk is full; free some")

    monkeypatch.setattr(reporter.images, "pictures", pictures)
    with ThreadPoolExecutor() as beside:
        made, run = report(beside, from_options(figures="png"))
        assert made.write(TOLD) == len(run.texts[reporter.PAGE].encode()) > 1000
    (told,) = caplog.records
    assert "only a part of figures/ is written" in told.getMessage()
    assert told.getMessage().endswith("the disk is full; free some") and told.exc_info is None


def test_where_few_people_are_not_to_be_told_of_nor_are_single_ones(
    report: Callable[..., tuple[Reporter, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "draw", lambda shown: None)
    with ThreadPoolExecutor() as beside:
        made, _ = report(beside, from_options(min_cell_users=8))
        found = made._shown.result().sample
    assert found.members == ()
    pd.testing.assert_frame_equal(found.activity, activity.bars(ACTIVE, 8))
