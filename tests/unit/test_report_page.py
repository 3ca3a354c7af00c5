"""The page and its figures, without a browser."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import contents
from evaluations import figures

pytest.importorskip("bokeh", reason="the report needs Bokeh")

from bokeh.embed import json_item

import tastemap
from tastemap.config import ReportConfig
from tastemap.errors import UserError
from tastemap.report import (
    distributions,
    embedding,
    heat_maps,
    images,
    page,
    probabilities,
    reporter,
    style,
)
from tastemap.report.content import Content, People


@pytest.fixture(scope="module")
def shown() -> Content:
    return contents.content()


@pytest.fixture(scope="module")
def text(shown: Content) -> str:
    return rendered(shown)


def rendered(content: Content) -> str:
    return page.render(content, contents.drawn(content))


def without_libraries(text: str) -> str:
    """What of the page is ours: without the scripts that hold Bokeh."""
    scripts = re.findall(r"<script[^>]*>.*?</script>", text, flags=re.DOTALL)
    largest = max(scripts, key=len)
    assert "Copyright" in largest[:500] and len(largest) > 1_000_000
    return text.replace(largest, "")


@pytest.mark.slow
def test_page_is_one_file_that_asks_nobody(text: str) -> None:
    assert len(text.encode()) < 5_000_000
    ours = without_libraries(text)
    assert len(ours) < 1_000_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", ours)


@pytest.mark.slow
def test_the_choice_of_their_number_is_shown_where_there_was_one(text: str) -> None:
    assert 'id="choice"' not in text and 'href="#choice"' not in text
    table = figures((4, 0.02, 0.003, (0.5, 0.6)), (8, 0.03, 0.003, (0.4, 0.2)))
    content = contents.content(evaluation=table)
    content.manifest["metrics"] = {"choice": "chose 8 clusters: as a test", "verdict": "Found again."}
    ours = without_libraries(rendered(content))
    assert "Chose 8 clusters: as a test." in ours and "Found again." in ours
    rows = re.findall(r"<th scope=\"row\">(\d+)</th><td>0\.8[78]00</td>", ours)
    assert rows == ["4", "8"] and "choice-curve" in ours


@pytest.mark.slow
def test_what_is_suppressed_is_left_out(shown: Content) -> None:
    few = shown.profiles.astype({"n_ratings": "Int64"}).assign(
        activity=[None, *shown.profiles["activity"][1:]],
        rating_histogram=[None, *shown.profiles["rating_histogram"][1:]],
    )
    few.loc[0, ["n_ratings", "mean_rating", "mean_membership"]] = pd.NA
    sample = dataclasses.replace(shown.sample, members=())
    content = dataclasses.replace(shown, profiles=few, sample=sample)
    content.manifest["config"]["privacy"] = {"min_cell_users": 10}
    ours = without_libraries(rendered(content))
    assert "Too few people to tell more of." in ours and "a row is one person" in ours
    assert "<summary>Typical members" not in ours and 'id="heat-0-stars"' not in ours


def test_titles_are_text_and_not_markup(shown: Content) -> None:
    marked = dataclasses.replace(
        shown,
        movies=shown.movies.assign(title="<b>Bold</b> </script><!--<script>"),
        rejects=pd.DataFrame({"reason": ["<i>"], "n": [1]}),
    )
    ours = without_libraries(rendered(marked))
    text = re.sub(r"<script.*?</script>", "", ours, flags=re.DOTALL)
    assert "&lt;b&gt;Bold&lt;/b&gt;" in text and "&lt;i&gt;" in text
    assert "<b>Bold" not in text and "<i>" not in text
    # No title ends a script element early, or has the end of one taken for something else.
    assert "Bold" in ours.replace(text, "") and "</b> </script>" not in ours and "<!--<script>" not in ours


@pytest.mark.slow
def test_no_user_ids_unless_asked_for(shown: Content, text: str) -> None:
    ids = [str(user) for user in shown.sample.people.table["user_id"]]
    assert not [user for user in ids if user in text]
    named = rendered(dataclasses.replace(shown, user_ids=True))
    assert all(user in named for user in ids)


def test_years_of_rating_are_shares_without_stray_ones(shown: Content) -> None:
    table = distributions.rating_years(shown)
    for cluster, row in shown.profiles.set_index("cluster").iterrows():
        found = table[table["cluster"] == cluster].set_index("at")["share"]
        assert found.index.tolist() == list(range(2000, 2006))
        assert {year: round(share * row["n_ratings"]) for year, share in found.items()} == {
            bar["year"]: bar["n_ratings"] for bar in row["rating_years"]
        }
    stray = [[{"year": 1970, "n_ratings": 1}, *bars] for bars in shown.profiles["rating_years"]]
    with_stray = dataclasses.replace(shown, profiles=shown.profiles.assign(rating_years=stray))
    pd.testing.assert_frame_equal(distributions.rating_years(with_stray), table)


@pytest.mark.slow
def test_without_times_there_are_no_years_of_rating(shown: Content, text: str) -> None:
    assert "rating-years-0" in text and "Year of rating" in text
    untimed = dataclasses.replace(shown, profiles=shown.profiles.assign(rating_years=[[]] * contents.K))
    ours = without_libraries(rendered(untimed))
    assert "rating-years-0" not in ours and "Year of rating" not in ours


def test_years_that_nobody_who_is_kept_rated_in(shown: Content) -> None:
    nothing = [[{"year": 2000, "n_ratings": 0}]] * contents.K
    assert distributions.rating_years(
        dataclasses.replace(shown, profiles=shown.profiles.assign(rating_years=nothing))
    ).empty


def test_counts_rejects_settings_and_times_are_told(text: str) -> None:
    for told in ("rating off the scale", "--n-clusters", "read and pivot", "1,234", "123 MB", "2026-03-04"):
        assert told in text


@pytest.mark.slow
def test_a_log_without_genres_years_or_rejects(shown: Content) -> None:
    bare = dataclasses.replace(contents.content(genres=False), rejects=shown.rejects[:0])
    found = rendered(bare)
    assert "No genres are known" in found and "None: every record was read" in found


@pytest.mark.slow
@pytest.mark.parametrize("n_users", [5, 9])
def test_very_few_people(n_users: int) -> None:
    assert "Audience segments" in rendered(contents.content(n_users=n_users))


@pytest.mark.slow
def test_a_cluster_that_nobody_is_in(shown: Content) -> None:
    last = dataclasses.replace(
        shown.sample.members[3],
        active=shown.sample.members[3].active[:0],
        active_ratings=np.empty((0, 0)),
        typical=shown.sample.members[3].typical[:0],
        typical_ratings=np.empty((0, 0)),
        movie_ids=np.empty(0, dtype=np.int32),
        n_most_rated=0,
    )
    tables = {
        name: table[table["cluster"] != 3]
        for name in ("profiles", "movies", "genres", "years")
        for table in [getattr(shown, name)]
    }
    people = shown.sample.people
    others = (people.table["cluster"] != 3).to_numpy()
    sample = dataclasses.replace(
        shown.sample,
        people=People(people.table[others].reset_index(drop=True), people.scores[others]),
        members=(*shown.sample.members[:3], last),
        activity=shown.sample.activity.query("cluster != 3"),
    )
    found = rendered(dataclasses.replace(shown, sample=sample, neighbours=shown.neighbours[others], **tables))
    assert 'id="segment-2"' in found and 'id="segment-3"' not in found


def test_many_segments_do_not_make_a_page_that_is_too_large(
    shown: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemap.report.content.MAX_DRAWN", 2)
    text = rendered(shown)
    assert 'data-figure="heat-1-stars"' in text and 'data-figure="heat-2-stars"' not in text
    assert 'data-figure="years-1"' in text and 'data-figure="years-2"' not in text
    assert 'id="segment-3"' in text and "the 2 largest segments" in text


def test_numbers_of_an_earlier_run_do_not_go_by_size(
    shown: Content, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemap.report.content.MAX_DRAWN", 2)
    people = shown.profiles.assign(n_users=[20, 90, 40, 90])
    config = {**shown.manifest["config"], "clustering": {"warm_start": "output/monday"}}
    continued = dataclasses.replace(shown, profiles=people, manifest={**shown.manifest, "config": config})
    assert continued.drawn == [1, 3]
    assert "Segment 0 is the largest." in text
    told = rendered(continued)
    assert "Segment 0 is the largest." not in told
    for kind in ("ratings", "activity", "years", "rating-years", "heat"):
        numbers = set(re.findall(rf'data-figure="{kind}-(\d)', told))
        assert numbers == {"1", "3"}, kind


@pytest.mark.slow
def test_figures_have_names_of_their_own(shown: Content) -> None:
    names = [figure.name for figure in contents.drawn(shown).figures]
    assert len(names) == len(set(names))
    kinds = {name.rstrip("0123456789-") for name in names}
    assert {
        "heat-0-stars",
        "heat-3-rated",
        "map",
        "neighbours",
        "variance",
        "genres-lift",
        "pair-1-2",
    } <= set(names)
    assert {"ratings", "activity", "years"} <= kinds


def test_segments_differ_in_colour_or_marker() -> None:
    looks = {(style.colour(cluster), style.marker(cluster)) for cluster in range(63)}
    assert len(looks) == 63


def test_text_in_cells_stands_out() -> None:
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    # The palest grey that passes.
    assert style.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert [style.contrast(style.on(colour), colour) for colour in ("#000000", "#ffffff")] == [
        pytest.approx(21),
        style.contrast(style.INK, "#ffffff"),
    ]
    for colour in (*style.STARS, *style.SEQUENCE):
        assert style.contrast(style.on(colour), colour) >= 4.5, colour


def test_probabilities_of_genres(shown: Content) -> None:
    of_genre = probabilities.table(shown, "share_of_genre")
    np.testing.assert_allclose(of_genre.sum(axis=1), 1.0)
    n = shown.genres.pivot(index="genre", columns="cluster", values="n_ratings")
    assert of_genre.index.tolist() == n.sum(axis=1).sort_values(ascending=False, kind="stable").index.tolist()
    np.testing.assert_allclose(of_genre, n.div(n.sum(axis=1), axis=0).loc[of_genre.index])
    # Bayes: P(segment | genre) = lift · P(segment).
    whole = shown.profiles["n_ratings"] / shown.profiles["n_ratings"].sum()
    np.testing.assert_allclose(of_genre, probabilities.table(shown, "lift") * whole.to_numpy())


def test_distributions_are_shares_that_add_up(shown: Content) -> None:
    for table in (distributions.ratings(shown), distributions.activity(shown), distributions.years(shown)):
        np.testing.assert_allclose(table.groupby("cluster")[["share", "everybody"]].sum(), 1.0)
        assert set(table.groupby("at").size()) == {4}


def test_figures_are_told_as_bokeh_tells_them(shown: Content) -> None:
    names = {cluster: "they" for cluster in shown.clusters}
    for figure in [*distributions.figures(shown, names)[::5], *heat_maps.figures(shown, names)[:1]]:
        expected = json_item(figure.model)
        figure.model.document.clear()
        found = page.embedded(figure.model)
        for told in (expected, found):
            told["doc"].pop("config", None)  # an object with an id of its own
        assert found == expected


def test_activity_has_no_holes(shown: Content) -> None:
    two = pd.DataFrame({"cluster": [0, 1], "low": [16.0, 128.0], "n_users": [3, 1]})
    content = dataclasses.replace(shown, sample=dataclasses.replace(shown.sample, activity=two))
    of_first = distributions.activity(content).query("cluster == 0")
    np.testing.assert_allclose(of_first["at"], 2.0 ** (np.arange(8, 15) / 2))
    assert of_first["share"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert of_first["everybody"].tolist() == [0.75, 0, 0, 0, 0, 0, 0.25]


def test_embedding_keeps_planted_groups_together_and_is_the_same_again() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 40)
    scores = rng.normal(size=(120, 6)) + 12 * np.eye(3, 6)[group]
    found = embedding.neighbours(scores, seed=7)
    distances = np.linalg.norm(found[:, None] - found[None], axis=2) + np.diag(np.full(120, np.inf))
    assert np.mean(group[distances.argmin(axis=1)] == group) == 1.0
    np.testing.assert_array_equal(found, embedding.neighbours(scores, seed=7))


def test_people_who_are_all_alike_stand_in_one_place() -> None:
    assert not embedding.neighbours(np.full((20, 3), 0.3), seed=7).any()


def test_pictures_need_their_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"Chromium.*ChromeDriver.*--figures at none"):
        reporter.wanted(ReportConfig(figures="png"))
    assert reporter.wanted(ReportConfig())


def test_jobs_start_where_nothing_is_installed_that_draws() -> None:
    """As on a cluster, which has what clusters need; in a process of its own, for here Bokeh is loaded."""
    missing = ["bokeh", "sklearn", "jinja2", "markupsafe", "threadpoolctl", "selenium", "PIL"]
    program = f"""if True:
        import sys
        sys.modules.update(dict.fromkeys({missing}))  # None: cannot be imported
        from tastemap import comparison, pipeline, summary
        from tastemap.config import ReportConfig
        from tastemap.evaluation import pipeline as of_evaluation
        assert not pipeline.reporter.wanted(ReportConfig())
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(tastemap.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_without_bokeh_the_run_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reporter.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level("INFO", "tastemap"):
        assert not reporter.wanted(ReportConfig())
    assert caplog.messages == [
        "no report.html will be written: the driver lacks what draws it; pip install bokeh scikit-learn"
    ]
    with pytest.raises(UserError, match="pip install bokeh"):
        reporter.wanted(ReportConfig(figures="png"))
