"""How figures look: one accent, colours that the colour-blind can tell apart, markers that need no colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bokeh.models import Axis, Grid, LinearAxis, LinearScale, LogAxis, LogScale, Plot, Range1d
from bokeh.plotting import figure

ACCENT = "#1f5f8b"
MUTED = "#8a94a0"
INK = "#25303b"
GRID = "#e4e8ec"

COLOURS = (
    *("#332288", "#44aa99", "#cc6677", "#88ccee", "#117733"),
    *("#999933", "#882255", "#ddaa33", "#aa4499"),
)
"""Paul Tol's "muted" scheme (personal.sron.nl/~pault), its sand a little darker to be seen on white."""
MARKERS = {
    "circle": "M8 2a6 6 0 1 0 .01 0z",
    "square": "M3 3h10v10H3z",
    "triangle": "M8 2l6.5 11.5h-13z",
    "diamond": "M8 1l5 7-5 7-5-7z",
    "inverted_triangle": "M8 14L1.5 2.5h13z",
    "star": "M8 1l2 4.8 5.2.4-4 3.4 1.3 5L8 12l-4.5 2.6 1.3-5-4-3.4L6 5.8z",
    "hex": "M8 1.5l5.6 3.2v6.6L8 14.5l-5.6-3.2V4.7z",
}
"""Bokeh's markers, and their outlines in a box of 16 by 16 for the legend."""
# 9 colours and 7 markers have no common factor: 63 segments look different.

STARS = ("#8c510a", "#cd9443", "#dfc27d", "#efe3c2", "#cfe3ea", "#9bc8dd", "#6aa8cc", "#2f74a3", "#0e4a78")
"""Brown for low to blue for high, both darker towards the ends; made after ColorBrewer's BrBG."""
SEQUENCE = ("#f3f7fa", "#dbe8f1", "#bcd5e6", "#94bbd6", "#71a5c9", "#3a76a1", "#1f5f8b", "#12466b")

_USUAL = {"sizing_mode": "stretch_width", "min_width": 120, "toolbar_location": None}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """A figure and what is said of it."""

    name: str
    """Its id on the page, and the name of its file."""
    title: str
    """For its file, and for those who cannot see it."""
    model: Plot
    width: int = 900
    """Of its file, in pixels."""


def colour(cluster: int) -> str:
    """Colour of a segment."""
    return COLOURS[cluster % len(COLOURS)]


def marker(cluster: int) -> str:
    """Marker of a segment."""
    return list(MARKERS)[cluster % len(MARKERS)]


def size(cluster: int) -> float:
    """Size of a segment's marker, in pixels: those that fill little of their box get a larger one."""
    return 11.0 if marker(cluster) in ("star", "diamond") else 7.0


def blank(height: int, **settings: object) -> figure:
    """An empty figure as wide as its place; `settings` go to Bokeh."""
    plot = figure(height=height, **{**_USUAL, "tools": "", **settings})
    _style(plot)
    return plot


def numeric(
    height: int, x_range: tuple[float, float], y_range: tuple[float, float], *, log: bool = False
) -> Plot:
    """An empty figure of numbers by numbers: without what `blank` has for others, in 3/4 of its time.

    Parameters
    ----------
    height : int
    x_range, y_range : pair of float
    log : bool
        Whether the axis below is logarithmic.
    """
    plot = Plot(
        height=height,
        x_range=Range1d(*x_range),
        y_range=Range1d(*y_range),
        x_scale=LogScale() if log else LinearScale(),
        **_USUAL,
    )
    plot.add_layout(LogAxis() if log else LinearAxis(), "below")
    values = LinearAxis()
    plot.add_layout(values, "left")
    plot.add_layout(Grid(dimension=1, axis=values))
    _style(plot)
    return plot


def _style(plot: Plot) -> None:
    plot.outline_line_color = None
    plot.background_fill_color = plot.border_fill_color = "#ffffff"
    plot.grid.grid_line_color = GRID
    for axis in plot.axis:
        plain_axis(axis)
    plot.title.text_font = _FONT
    plot.title.text_color = INK
    plot.title.text_font_size = "13px"
    plot.title.text_font_style = "normal"


def tooltip(*lines: str) -> str:
    """What hovering shows, the first line in bold; narrow enough for a phone."""
    first, *others = lines
    rest = "".join(f"<div>{line}</div>" for line in others)
    return f'<div style="max-width: 220px; color: {INK}"><div><b>{first}</b></div>{rest}</div>'


def plain_axis(axis: Axis) -> None:
    """Make an axis look like all others."""
    axis.axis_line_color = MUTED
    axis.major_tick_line_color = MUTED
    axis.minor_tick_line_color = None
    axis.major_label_text_color = axis.axis_label_text_color = INK
    axis.major_label_text_font = axis.axis_label_text_font = _FONT
    axis.major_label_text_font_size = axis.axis_label_text_font_size = "12px"
    axis.axis_label_text_font_style = "normal"


def on(background: str) -> str:
    """Colour of text on a background: whichever of dark and white stands out more."""
    return max((INK, "#ffffff"), key=lambda ink: contrast(ink, background))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, from 1 to 21; 4.5 is enough for text (WCAG 2.2, 1.4.3)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def shade(value: float, low: float, high: float, palette: tuple[str, ...]) -> str:
    """Colour of a number between two others."""
    place = (value - low) / (high - low) if high > low else 0.5
    return palette[min(max(math.floor(place * len(palette)), 0), len(palette) - 1)]
