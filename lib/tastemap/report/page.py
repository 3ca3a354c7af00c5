"""The page: everything in one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import bokeh
import pandas as pd
from bokeh.document import Document
from bokeh.embed import components
from bokeh.models import Plot
from bokeh.resources import Resources
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from tastemap import __version__
from tastemap.report import (
    audience_map,
    choice,
    distributions,
    heat_maps,
    probabilities,
    segments,
    style,
    titles,
    variance,
)
from tastemap.report.content import Content
from tastemap.report.style import Figure

_ASSETS = ("page.html", "page.css", "page.js")
N_ENDS = 5
"""Movies named at each end of a component."""
DIRECTLY = 6
"""Components that are told of without unfolding the rest."""


@dataclass(frozen=True)
class Drawn:
    """All figures."""

    charts: dict[str, tuple[Figure, Markup]]
    """By name, and as they stand on the page: JSON, drawn when they come into view."""
    linked: dict[str, tuple[Figure, Markup]]
    """Those that show one selection, by name: their places."""
    script: Markup
    """Of the linked ones."""

    @property
    def figures(self) -> list[Figure]:
        """The charts, then the linked ones."""
        return [figure for figure, _ in [*self.charts.values(), *self.linked.values()]]


def draw(content: Content) -> Drawn:
    """All figures."""
    names = segments.names(content)
    charts = [
        *choice.figures(content),
        *probabilities.figures(content),
        *distributions.figures(content, names),
        *variance.figures(content),
        *heat_maps.figures(content, names),
    ]
    linked = audience_map.figures(content, names)
    script, places = components([_named(figure) for figure in linked]) if linked else ("", ())
    found = {figure.name: (figure, Markup(place)) for figure, place in zip(linked, places, strict=True)}
    items = {figure.name: (figure, _item(figure)) for figure in charts}
    return Drawn(items, found, Markup(script))


def render(content: Content, drawn: Drawn) -> str:
    """The whole page, with what `draw` has made for it."""
    assets = files("tastemap.report") / "assets"
    texts = {name: (assets / name).read_text(encoding="utf-8") for name in _ASSETS}
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=titles.count, percent=titles.percent, factor=titles.factor, signed=titles.signed, symbol=symbol
    )
    cards = segments.cards(content)
    shown = min(audience_map.N_COMPONENTS, content.sample.people.scores.shape[1])
    whole: str = environment.get_template("page.html").render(
        bokeh=Markup(Resources(mode="inline", components=["bokeh"], log_level="error").render()),
        css=Markup(texts["page.css"]),
        script=Markup(texts["page.js"]),
        version=__version__,
        content=content,
        manifest=content.manifest,
        cards=cards,
        items=drawn.charts,
        linked=drawn.linked,
        linked_script=drawn.script,
        axes=audience_map.axis_labels(content, shown) if drawn.linked else [],
        choices=None if content.evaluation is None else choice.numbers(content.evaluation),
        settings=_settings(content),
        seconds=sum(stage["seconds"] for stage in content.manifest["stages"]),
        component_rows=_component_rows(content),
        n_directly=DIRECTLY,
        star_colours=style.STARS,
        genre_tables=_genre_tables(content),
        share_tables={
            "ratings": distributions.ratings(content),
            "rating-years": distributions.rating_years(content),
        },
        decades=segments.by_decade(content.years),
        positions=_positions(content, shown),
        explained=float(content.components["variance_ratio"].sum()),
    )
    return whole


def symbol(cluster: int) -> Markup:
    """The marker of a segment, in its colour, as a picture in the text."""
    path = style.MARKERS[style.marker(cluster)]
    return Markup(
        '<svg class="symbol" viewBox="0 0 16 16" aria-hidden="true"><path d="{}" fill="{}"/></svg>'
    ).format(path, style.colour(cluster))


def _named(figure: Figure) -> Plot:
    """What Bokeh knows of a figure, by the name that the page's script finds it under."""
    figure.model.name = figure.name
    return figure.model


def _item(figure: Figure) -> Markup:
    """A figure as JSON that may stand in a script element, of which no title can be an end or a beginning."""
    return Markup(json.dumps(embedded(_named(figure)), separators=(",", ":")).replace("<", r"\u003c"))


def embedded(plot: Plot) -> dict[str, Any]:
    """What `bokeh.embed.json_item` makes of a figure, in two thirds of the time.

    It looks through the figure for other documents, themes and mistakes; there are 70 figures.
    """
    document = Document(title="")
    document.add_root(plot)
    return {
        "target_id": None,
        "root_id": plot.id,
        "doc": document.to_json(deferred=False),
        "version": bokeh.__version__,
    }


def _settings(content: Content) -> list[tuple[str, str]]:
    """Option and value of every setting."""
    rows = []
    for options in content.manifest["config"].values():
        for name, value in options.items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            rows.append(("--" + name.replace("_", "-"), "not set" if value is None else shown))
    return rows


def _component_rows(content: Content) -> list[dict[str, Any]]:
    rows = []
    for _, row in content.components.sort_values("component").iterrows():
        ends = {side: _ends(row[side]) for side in ("negative", "positive")}
        rows.append({"number": int(row["component"]) + 1, "ratio": float(row["variance_ratio"]), **ends})
    return rows


def _ends(movies: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"movie {movie['movie_id']}" if movie["title"] is None else titles.plain(movie["title"])
        for movie in movies[:N_ENDS]
    ]


def _genre_tables(content: Content) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Name of the figure, what it says, column, and its numbers."""
    if content.genres.empty:
        return []
    return [
        (f"genres-{name}", title, column, probabilities.table(content, column))
        for name, (column, title) in probabilities.KINDS.items()
    ]


def _positions(content: Content, shown: int) -> pd.DataFrame:
    """Where the sampled people of each segment are on average, and how many they are."""
    people = content.sample.people
    scores = pd.DataFrame(people.scores[:, :shown]).assign(cluster=people.table["cluster"])
    means = scores.groupby("cluster").mean()
    means.insert(0, "n", scores.groupby("cluster").size())
    return means
