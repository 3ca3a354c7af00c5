"""The report in a real browser: drawn, told, hovered, selected, read with keys, at both widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import contents

pytest.importorskip("bokeh", reason="the report needs Bokeh")
pytest.importorskip("selenium", reason="Selenium opens the report")

from tastemap.report import images, page
from tastemap.report.content import Content

MARKED = '<i>Ital</i> & "Quoted"'


@pytest.fixture(scope="module")
def shown() -> Content:
    return contents.content()


@pytest.fixture(scope="module")
def path(shown: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    titles = shown.movies["title"].mask(shown.movies["cluster"] == 0, MARKED)
    written = tmp_path_factory.mktemp("page") / "report.html"
    marked = dataclasses.replace(shown, movies=shown.movies.assign(title=titles))
    written.write_text(page.render(marked, contents.drawn(marked)), encoding="utf-8")
    return written


@pytest.fixture(scope="module", params=browser.WIDTHS)
def opened(path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    with browser.chromium(request.param) as driver:
        browser.open_page(driver, path)
        driver.width = request.param
        yield driver


def test_no_errors_and_no_requests(opened: Any) -> None:
    assert browser.errors(opened) == []
    asked = opened.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in asked if not name.startswith(("data:", "blob:"))] == []


def test_every_section_is_there(opened: Any) -> None:
    for section in browser.SECTIONS:
        found = opened.find_element("id", section)
        assert found.is_displayed() and found.size["height"] > 200, section
        assert found.find_element("tag name", "h2").text


def test_page_is_never_wider_than_the_window(opened: Any) -> None:
    widths = opened.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [opened.width, opened.width]
    outside = opened.execute_script(
        """
        return [...document.querySelectorAll("main *")].filter((one) => !one.closest(".scroll, .hidden")
            && one.getBoundingClientRect().right > window.innerWidth + 1).map((one) => one.outerHTML);
        """
    )
    assert outside == []


def test_figures_are_drawn(opened: Any) -> None:
    empty = opened.execute_script(
        """
        const models = (name) => Bokeh.documents.map((one) => one.get_model_by_name(name));
        const places = [...document.querySelectorAll("[data-figure]")].filter((one) => one.offsetParent);
        return places.map((one) => one.dataset.figure).filter((name) => {
            const model = models(name).find((one) => one), view = model && Bokeh.index.find_one(model);
            return !view || view.frame.bbox.width < 60 || view.frame.bbox.height < 50;
        });
        """
    )
    assert empty == []


def test_hover_tells_the_segment(opened: Any, shown: Content) -> None:
    people = shown.sample.people
    # Somebody far from the others, so that nobody else is under the mouse.
    at = people.scores[:, :2]
    gaps = ((at[:, None] - at[None]) ** 2).sum(axis=2)
    gaps[range(len(at)), range(len(at))] = gaps.max()
    alone = int(gaps.min(axis=1).argmax())
    there = browser.place(opened, "map", *at[alone])
    browser.drag(opened, there, there)
    told = browser.wait_for(opened, browser.TOOLTIP)
    row = people.table.iloc[alone]
    assert told.startswith(f"Segment {int(row['cluster'])}: ") and f" {int(row['n_ratings'])} ratings" in told
    assert "90000000" not in told


def test_hover_tells_the_movie_of_a_heat_map_as_text(opened: Any) -> None:
    stars = contents.content().sample.members[0].active_ratings
    row, column = next((r, c) for r in range(len(stars)) for c in range(10) if stars[r, c] == stars[r, c])
    there = browser.place(opened, "heat-0-stars", column + 0.5, len(stars) - row - 0.5)
    browser.drag(opened, there, there)
    told = browser.wait_for(opened, browser.TOOLTIP)
    assert MARKED in told and f"{stars[row, column]:g} stars" in told


def pictures(driver: Any) -> dict[str, bytes]:
    browser.wait_for(driver, "return Bokeh.documents.every((one) => one.is_idle)")
    plots = driver.find_elements("css selector", "#map .views .plot")
    return dict(zip(("map", "neighbours"), (plot.screenshot_as_png for plot in plots), strict=True))


def selected(driver: Any) -> list[int]:
    return list(driver.execute_script(f"return {browser.PEOPLE}.selected.indices"))


def test_a_box_in_one_view_selects_in_the_other(opened: Any, shown: Content) -> None:
    before = pictures(opened)
    at = shown.sample.people.scores[:, :2]
    low, high = at.min(axis=0), at.max(axis=0)
    middle = (low + high) / 2
    start = browser.place(opened, "map", *middle)
    browser.drag(opened, start, browser.place(opened, "map", *high))
    chosen = browser.wait_for(
        opened, "return document.getElementById('selection').textContent.match(/^\\d+ selected: /) && 1"
    )
    inside = ((at >= middle) & (at <= high)).all(axis=1).nonzero()[0]
    assert chosen and abs(len(set(selected(opened)) ^ set(inside.tolist()))) <= 0.1 * len(at)
    after = pictures(opened)
    assert all(before[view] != after[view] for view in before)
    opened.find_element("css selector", ".legend .plain").click()
    assert selected(opened) == []


def test_a_segment_is_selected_by_key_and_named(opened: Any, shown: Content) -> None:
    from selenium.webdriver.common.keys import Keys

    button = opened.find_element("css selector", ".legend [data-segment='2']")
    button.send_keys(Keys.ENTER)
    members = (shown.sample.people.table["cluster"] == 2).to_numpy().nonzero()[0].tolist()
    assert selected(opened) == members
    told = opened.find_element("id", "selection").text
    assert told == f"{len(members)} selected: {len(members)} of segment 2."
    assert button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.ENTER)
    assert selected(opened) == [] and button.get_attribute("aria-pressed") == "false"


def test_axes_can_be_chosen(opened: Any) -> None:
    before = pictures(opened)
    choice = opened.find_element("id", "axis-x")
    assert len(choice.find_elements("tag name", "option")) == contents.M
    choice.find_element("css selector", "[value=c4]").click()
    after = pictures(opened)
    assert before["map"] != after["map"] and before["neighbours"] == after["neighbours"]
    label = "return Bokeh.documents.map((one) => one.get_model_by_name('map')).find((one) => one)"
    assert opened.execute_script(f"{label}.below[0].axis_label") == "component 4"
    choice.find_element("css selector", "[value=c1]").click()
    data = "const {x, c1} = " + browser.PEOPLE + ".data; return x.every((one, i) => one === c1[i])"
    assert opened.execute_script(data)


def test_other_panels_are_shown_on_request(opened: Any) -> None:
    for group, name in (("genres", "genres-segment-of-genre"), ("heat-0", "heat-0-rated")):
        assert not opened.find_element("id", name).is_displayed()
        button = opened.find_element("css selector", f"input[name='{group}'][value='{name}']")
        opened.execute_script("arguments[0].click()", button)
        panel = opened.find_element("id", name)
        assert panel.is_displayed()
        opened.execute_script("arguments[0].scrollIntoView()", panel)
        panels = opened.find_elements("css selector", f".panel[data-group='{group}']")
        assert sum(one.is_displayed() for one in panels) == 1
        drawn = f"return document.querySelector('[data-figure=\"{name}\"].drawn') && 1"
        assert browser.wait_for(opened, drawn)
        first = opened.find_element("css selector", f"input[name='{group}']")
        opened.execute_script("arguments[0].click()", first)


def test_keys_reach_everything_and_focus_is_seen(path: Path) -> None:
    browser.require()
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    with browser.chromium(1280) as driver:
        driver.get(path.as_uri())
        reached = []
        while len(reached) < 200 and ("select", "axis-y") not in reached:
            ActionChains(driver).send_keys(Keys.TAB).perform()
            now = driver.execute_script(browser.FOCUSED)
            assert now.value_of_css_property("outline-style") != "none", now.get_attribute("outerHTML")[:100]
            name = now.get_attribute("id") or now.get_attribute("class")
            reached.append((now.tag_name, name))
            assert not driver.execute_script("return document.activeElement.closest('[role=img]')"), name
            assert now.location["x"] >= 0
    assert reached[0] == ("a", "skip")
    assert {("select", "axis-x"), ("select", "axis-y"), ("button", "plain")} <= set(reached)
    assert {"a", "summary", "input", "div"} <= {kind for kind, _ in reached}


def test_pictures_are_png_files_of_the_same_figures(shown: Content) -> None:
    browser.require()
    wanted = ("genres-lift", "map", "heat-1-stars")
    figures = [figure for figure in contents.drawn(shown).figures if figure.name in wanted]
    found = dict(images.pictures(figures))
    assert set(found) == set(wanted)
    for figure in figures:
        data = found[figure.name]
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 5_000
        assert int.from_bytes(data[16:20]) == figure.width * images.SCALE
