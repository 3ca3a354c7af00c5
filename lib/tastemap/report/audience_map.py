"""The map: a sample of people on pairs of components and in a neighbour embedding, selections linked."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, GlyphRenderer, HoverTool, LassoSelectTool, Legend, LegendItem
from bokeh.plotting import figure

from tastemap.report import style
from tastemap.report.content import Content
from tastemap.report.style import Figure
from tastemap.report.titles import plain, shortened

N_COMPONENTS = 8
"""Components that can be put on the axes."""
N_MATRIX = 4
"""Components in the scatter matrix."""


def figures(content: Content, names: dict[int, str]) -> list[Figure]:
    """Map, neighbours and scatter matrix over one source of data, so that all of them show a selection."""
    people = content.sample.people
    shown = min(N_COMPONENTS, people.scores.shape[1])
    if len(people.table) == 0 or shown < 2:
        return []
    source = ColumnDataSource(columns(content, names, shown), name="people")
    drawn = _scatter(source, "x", "y", "component 1", "component 2", 460)
    result = [Figure("map", "People on two components", drawn)]
    if "tx" in source.data:
        result.append(
            Figure("neighbours", "People beside their neighbours", _scatter(source, "tx", "ty", "", "", 460))
        )
    n = min(N_MATRIX, shown)
    for row in range(1, n):
        for column in range(row):
            title = f"Components {column + 1} and {row + 1}"
            plot = _scatter(
                source,
                *(f"c{column + 1}", f"c{row + 1}"),
                *(f"component {column + 1}", f"component {row + 1}"),
                height=210,
                size="small",
            )
            result.append(Figure(f"pair-{column + 1}-{row + 1}", title, plot, width=450))
    return result


def columns(content: Content, names: dict[int, str], shown: int) -> dict[str, object]:
    """What the source holds: x and y are what the axes show at first, c1, c2, … what they can show."""
    people = content.sample.people
    table = people.table
    clusters = table["cluster"].tolist()
    scores = people.scores[:, :shown].astype(np.float32)
    found: dict[str, object] = {
        "x": scores[:, 0],
        "y": scores[:, 1],
        **{f"c{number + 1}": scores[:, number] for number in range(shown)},
        "cluster": table["cluster"].to_numpy(np.int32),
        "colour": [style.colour(cluster) for cluster in clusters],
        "marker": [style.marker(cluster) for cluster in clusters],
        "size": np.array([style.size(cluster) for cluster in clusters], dtype=np.float32),
        "small": np.array([0.6 * style.size(cluster) for cluster in clusters], dtype=np.float32),
        "segment": [f"{cluster}: {names[cluster]}" for cluster in clusters],
        "n_ratings": table["n_ratings"].to_numpy(np.int32),
        "mean_rating": table["mean_rating"].to_numpy(np.float32),
        "membership": table["membership"].to_numpy(np.float32),
    }
    if content.user_ids:
        found["user"] = [str(user) for user in table["user_id"]]  # 64 bits are more than JavaScript's numbers
    if content.neighbours is not None:
        found["tx"], found["ty"] = content.neighbours[:, 0], content.neighbours[:, 1]
    return found


def axis_labels(content: Content, shown: int) -> list[str]:
    """Components with a movie at either end."""
    table = content.components.sort_values("component")
    result = []
    for _, row in table.head(shown).iterrows():
        low, high = (_title(row[end][0]) for end in ("negative", "positive"))
        result.append(f"component {row['component'] + 1}:  {low}  ↔  {high}")
    return result


def _title(end: dict[str, object]) -> str:
    title = end["title"]
    return f"movie {end['movie_id']}" if title is None else shortened(plain(str(title)), 22)


def _legend(plot: figure, dots: GlyphRenderer) -> None:
    """What the symbols mean, for the picture in a file; the page has buttons that say so."""
    segments = dots.data_source.data["segment"]
    first = {name: place for place, name in reversed(list(enumerate(segments)))}
    items = [
        LegendItem(label=name, renderers=[dots], index=first[name])
        for name in sorted(first, key=lambda name: int(name.partition(":")[0]))
    ]
    legend = Legend(items=items, visible=False, border_line_color=None, label_text_color=style.INK)
    plot.add_layout(legend, "below")


def _scatter(
    source: ColumnDataSource, x: str, y: str, x_label: str, y_label: str, height: int, size: str = "size"
) -> figure:
    plot = style.blank(
        height,
        tools="box_select,pan,wheel_zoom,tap,reset",
        toolbar_location="above" if height > 300 else None,
        active_drag="box_select",
        active_scroll=None,
        x_axis_label=x_label or None,
        y_axis_label=y_label or None,
    )
    plot.toolbar.logo = None
    dots = plot.scatter(
        x,
        y,
        source=source,
        size=size,
        marker="marker",
        fill_color="colour",
        line_color="#ffffff",
        line_width=0.4,
        fill_alpha=0.75,
        nonselection_fill_alpha=0.07,
        nonselection_line_alpha=0.0,
        selection_fill_alpha=0.95,
    )
    told = ["Segment @segment", "@n_ratings{0,0} ratings, @mean_rating{0.00} on average"]
    told += ["membership @membership{0 %} sure", *(["user @user"] if "user" in source.data else [])]
    if height > 300:
        _legend(plot, dots)
        plot.add_tools(HoverTool(tooltips=style.tooltip(*told), renderers=[dots]), LassoSelectTool())
    if not x_label:
        plot.axis.major_label_text_font_size = "0px"
        plot.axis.major_tick_line_color = None
    return plot
