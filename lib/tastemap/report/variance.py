"""Principal components: how much of the variance each explains."""

from __future__ import annotations

from bokeh.models import LinearAxis, NumeralTickFormatter, Range1d

from tastemap.report import style
from tastemap.report.content import Content
from tastemap.report.style import Figure


def figures(content: Content) -> list[Figure]:
    """Variance explained by each component as bars, by all up to it as a line with an axis of its own."""
    table = content.components.sort_values("component")
    number = (table["component"] + 1).to_numpy()
    ratio = table["variance_ratio"].to_numpy()
    together = ratio.cumsum()
    plot = style.blank(
        260,
        x_range=(0.4, number.max() + 0.6),
        y_range=(0, float(ratio.max()) * 1.1),
        x_axis_label="component",
        y_axis_label="of the variance: each (bars)",
    )
    plot.vbar(x=number, top=ratio, width=0.8, color=style.ACCENT, fill_alpha=0.75)
    plot.extra_y_ranges = {"together": Range1d(0, float(together[-1]) * 1.1)}
    right = LinearAxis(y_range_name="together", axis_label="together (line)")
    style.plain_axis(right)
    plot.add_layout(right, "right")
    plot.yaxis.formatter = NumeralTickFormatter(format="0.[0]%")
    plot.line(number, together, y_range_name="together", color=style.INK, line_width=1.5)
    plot.scatter(number, together, y_range_name="together", color=style.INK, size=4)
    plot.xgrid.visible = False
    return [Figure("variance", "Variance explained by each component, and together", plot)]
