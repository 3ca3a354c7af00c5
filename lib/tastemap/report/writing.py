"""The report in a run's output."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from tastemap.config import ReportConfig
from tastemap.errors import UserError
from tastemap.report import images
from tastemap.report.content import Content, Plane, Sample
from tastemap.runs import Run

if TYPE_CHECKING:  # it is Bokeh's
    from tastemap.report.page import Drawn

log = logging.getLogger(__name__)

PAGE = "report.html"
INSTALL = "pip install bokeh scikit-learn"


def wanted(settings: ReportConfig) -> bool:
    """Tell whether a report can be made here; say so where it can't.

    Raises
    ------
    UserError
        Pictures are asked for, and what makes them is missing.
    """
    missing = [name for name in ("bokeh", "sklearn") if importlib.util.find_spec(name) is None]
    if settings.figures != "none":
        if missing:
            raise UserError(f"--figures is {settings.figures}, which needs Bokeh and scikit-learn: {INSTALL}")
        images.check()
    if missing:
        log.info("no %s will be written: the driver lacks what draws it; %s", PAGE, INSTALL)
    return not missing


def content(
    run: Run,
    sample: Sample,
    neighbours: Plane | None,
    tables: Mapping[str, pd.DataFrame],
    evaluation: pd.DataFrame | None,
    manifest: dict[str, Any],
    settings: ReportConfig,
) -> Content:
    """Everything that the report shows.

    Parameters
    ----------
    run : Run
        That has written `rejects`.
    sample : Sample
    neighbours : ndarray of shape (n, 2), optional
        Of `embedding.neighbours`.
    tables : mapping
        The tables `profiles`, `cluster_movies`, `cluster_genres`, `cluster_years` and `components`.
    evaluation : DataFrame, optional
        The table of that name.
    manifest : dict
        What is known of the run so far.
    settings : ReportConfig
    """
    reasons = run.read("rejects").groupBy("reason").count().toPandas()  # a row a reason
    return Content(
        manifest={"started": run.started.isoformat(timespec="seconds"), **manifest},
        rejects=reasons.rename(columns={"count": "n"}).sort_values("n", ascending=False, ignore_index=True),
        profiles=tables["profiles"],
        movies=tables["cluster_movies"],
        genres=tables["cluster_genres"],
        years=tables["cluster_years"],
        components=tables["components"],
        sample=sample,
        neighbours=neighbours,
        evaluation=evaluation,
        user_ids=settings.report_user_ids,
    )


def draw(shown: Content) -> Drawn:
    """All figures. Seconds of Python and no Spark, so it may go on beside what waits for Spark."""
    # Only here, for Bokeh may be missing.
    from tastemap.report import page

    return page.draw(shown)


def write(run: Run, shown: Content, drawn: Drawn, settings: ReportConfig) -> int:
    """Write the page, and pictures where they are asked for, to the run; the page's size in bytes."""
    from tastemap.report import page

    text = page.render(shown, drawn)
    run.write_text(PAGE, text)
    if settings.figures == "png":
        for name, picture in images.pictures(drawn.figures):
            run.write_bytes(f"figures/{name}.png", picture)
    return len(text.encode())
