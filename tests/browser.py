"""A headless Chromium that opens a report, and what the tests ask of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (1280, 390)
SECTIONS = ("run", "segments", "probabilities", "distributions", "map", "heat-maps", "components")


def require() -> None:
    """Skip where there is no Chromium, but in CI, where that is a failure."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not missing:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{' and '.join(missing)} not found: .ci/run installs them")
    pytest.skip(f"{' and '.join(missing)} not found (Debian: apt-get install chromium chromium-driver)")


@contextmanager
def chromium(width: int, height: int = 900) -> Iterator[Any]:
    """A Chromium whose window shows a page `width` pixels wide."""
    require()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    # The report scrolls smoothly for others: a picture or a click in the meantime is of another place.
    options.add_argument("--force-prefers-reduced-motion")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        resize(driver, width, height)
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """Set the size of the page, which may be narrower than any window."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def open_page(driver: Any, page: Path) -> None:
    """Open a report and have all of its figures drawn, those in closed parts as well."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(page.as_uri())
    driver.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = true; });"
        "window.dispatchEvent(new Event('beforeprint'));"
    )
    drawn = "return [...document.querySelectorAll('[data-figure]')].every((one) => !one.offsetParent || "
    WebDriverWait(driver, 60).until(lambda d: d.execute_script(drawn + "one.classList.contains('drawn'))"))
    idle = "return Bokeh.documents.every((one) => one.is_idle)"
    WebDriverWait(driver, 60).until(lambda d: d.execute_script(idle))


def screenshots(driver: Any, folder: Path, name: str, width: int) -> list[Path]:
    """The whole page and each of its sections as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    driver.execute_script(
        "document.querySelectorAll('details').forEach((one) => {"
        " one.open = one.matches('.heat:first-of-type'); }); window.scrollTo(0, 0);"
    )
    height = driver.execute_script("return document.documentElement.scrollHeight")
    resize(driver, width, height)
    written = [folder / f"{name}-{width}.png"]
    driver.save_screenshot(str(written[0]))
    for section in SECTIONS:
        written.append(folder / f"{name}-{width}-{section}.png")
        driver.find_element("id", section).screenshot(str(written[-1]))
    resize(driver, width, 900)
    return written


def errors(driver: Any) -> list[str]:
    """What the page has complained of on the console."""
    bad = ("SEVERE", "WARNING")
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in bad]


def wait_for(driver: Any, script: str) -> Any:
    """Wait until a script returns something that is true; what it returned."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 60).until(lambda d: d.execute_script(script))


def place(driver: Any, figure: str, x: float, y: float) -> tuple[int, int]:
    """Where in the window a point of a figure is that is given in the figure's coordinates."""
    found = driver.execute_script(
        """
        const model = Bokeh.documents.map((one) => one.get_model_by_name(arguments[0])).find((one) => one);
        const view = Bokeh.index.find_one(model);
        view.el.scrollIntoView({block: "center", behavior: "instant"});
        const box = view.el.getBoundingClientRect(), {x_scale, y_scale} = view.frame;
        return [box.left + x_scale.compute(arguments[1]), box.top + y_scale.compute(arguments[2])];
        """,
        figure,
        x,
        y,
    )
    return round(found[0]), round(found[1])


def drag(driver: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Press the mouse at one place of the window and let it go at another; the same place: only go there."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(driver)
    mouse = actions.pointer_action
    mouse.move_to_location(*start)
    if start != end:
        mouse.pointer_down()
        mouse.move_to_location(*((one + other) // 2 for one, other in zip(start, end, strict=True)))
        mouse.move_to_location(*end)
        mouse.pointer_up()
    actions.perform()


PEOPLE = "Bokeh.documents.map((one) => one.get_model_by_name('people')).find((one) => one)"
"""The data of the map."""
FOCUSED = """
    let found = document.activeElement;
    while (found.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
    return found;
"""
"""The element that has the focus, in whatever shadow root it is."""
TOOLTIP = """
    const within = (root) => [...root.querySelectorAll("*")].flatMap((one) => [
        ...(one.matches(".bk-Tooltip") && one.getBoundingClientRect().width ? [one] : []),
        ...(one.shadowRoot ? within(one.shadowRoot) : []),
    ]);
    const text = (node) => [...node.childNodes].map((one) => one.nodeType === 3 ? one.data
        : ["STYLE", "LINK"].includes(one.nodeName) ? "" : text(one) + " ").join("")
        + (node.shadowRoot ? text(node.shadowRoot) : "");
    return within(document).map(text).join(" ").replace(/\\s+/g, " ").trim();
"""
"""What the tooltips that are shown say; they are in shadow roots."""
