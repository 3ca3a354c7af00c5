"""How the number of segments was chosen: what each number predicts, and how stable it is."""

from __future__ import annotations

import pandas as pd
from bokeh.models import ColumnDataSource, LinearAxis, Range1d, Whisker

from tastemap.evaluation.choice import curve
from tastemap.report import style
from tastemap.report.content import Content
from tastemap.report.style import Figure


def figures(content: Content) -> list[Figure]:
    """Gain on held-out ratings by number of segments, and stability with an axis of its own."""
    if content.evaluation is None:
        return []
    table = numbers(content.evaluation)
    low, high = (table["gain"] - table["gain_error"]).min(), (table["gain"] + table["gain_error"]).max()
    room = 0.08 * max(high - low, 1e-6)
    plot = style.blank(
        280,
        y_range=(min(float(low), 0.0) - room, max(float(high), 0.0) + room),
        x_axis_label="segments",
        y_axis_label="RMSE lower by (circles)",
        x_range=(0, float(table["n_clusters"].max()) * 1.05),
    )
    source = ColumnDataSource(
        {
            "k": table["n_clusters"].to_numpy(),
            "gain": table["gain"].to_numpy(),
            "low": (table["gain"] - table["gain_error"]).to_numpy(),
            "high": (table["gain"] + table["gain_error"]).to_numpy(),
        }
    )
    plot.add_layout(Whisker(base="k", lower="low", upper="high", source=source, line_color=style.ACCENT))
    plot.line("k", "gain", source=source, color=style.ACCENT, line_width=1.5)
    plot.scatter("k", "gain", source=source, color=style.ACCENT, size=8)
    stability = table["stability"].to_numpy()
    plot.extra_y_ranges = {"stability": Range1d(min(0.0, float(stability.min())), 1.0)}
    right = LinearAxis(y_range_name="stability", axis_label="stability (squares)")
    style.plain_axis(right)
    plot.add_layout(right, "right")
    shown = {"y_range_name": "stability", "color": style.INK}
    plot.line(table["n_clusters"].to_numpy(), stability, line_dash="dashed", **shown)
    plot.scatter(table["n_clusters"].to_numpy(), stability, marker="square", size=7, **shown)
    return [Figure("choice-curve", "Gain on held-out ratings, and stability, by number of segments", plot)]


def numbers(evaluation: pd.DataFrame) -> pd.DataFrame:
    """A row a number of segments, ascending: the columns of `tastemap.evaluation.choice.curve`."""
    return curve(evaluation).sort_values("n_clusters", ignore_index=True)
