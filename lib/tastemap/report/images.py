"""The figures as PNG files, by a Chromium without a window."""

from __future__ import annotations

import importlib.util
import io
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tastemap.errors import UserError

if TYPE_CHECKING:  # Bokeh's, which a cluster need not have; this module is imported to find out
    from tastemap.report.style import Figure

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRIVER = "chromedriver"
SCALE = 2
"""Pixels of the file a pixel of the page, along each side: sharp on slides."""
PIXELS_PER_SEGMENT = 24
"""In a legend."""
WIDTH_OF_CHARACTER = 7.5
"""Of a title, in pixels, about."""


def check() -> None:
    """Make sure that pictures can be made, before anything is computed.

    Raises
    ------
    UserError
        With what is missing.
    """
    missing = []
    if importlib.util.find_spec("selenium") is None:
        missing.append("the Python package selenium (pip install selenium)")
    if _browser() is None:
        missing.append("Chromium (Debian: apt-get install chromium)")
    if shutil.which(DRIVER) is None:
        missing.append("its ChromeDriver (Debian: apt-get install chromium-driver)")
    if missing:
        raise UserError(
            f"--figures is png, which needs {', '.join(missing)} on the driver's machine; install it, "
            "or leave --figures at none"
        )


def pictures(figures: Sequence[Figure]) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each figure, one after the other; titles are written into them."""
    from bokeh.io.export import get_screenshot_as_png

    with _driver() as driver:
        for drawn in figures:
            plot = drawn.model
            plot.title.text = "\n".join(textwrap.wrap(drawn.title, int(drawn.width / WIDTH_OF_CHARACTER)))
            plot.sizing_mode = "fixed"
            plot.width, plot.toolbar_location = drawn.width, None
            for legend in plot.legend:
                legend.visible = True
                plot.height += PIXELS_PER_SEGMENT * len(legend.items)
            image = get_screenshot_as_png(plot, driver=driver, scale_factor=SCALE, timeout=60)
            written = io.BytesIO()
            image.save(written, "png", optimize=True)
            yield drawn.name, written.getvalue()


@contextmanager
def _driver() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _browser() or ""
    # In containers Chromium has neither a sandbox nor much shared memory; the only pages it sees are ours.
    scale = f"force-device-scale-factor={SCALE}"
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", scale):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)
