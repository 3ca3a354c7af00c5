"""The report of a run: what it shows is taken while the run goes on, and drawn beside it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from tastemap import activity
from tastemap.blocks import BlockMatrix
from tastemap.clustering.assignment import Clusters
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import Config, ReportConfig
from tastemap.errors import UserError
from tastemap.report import embedding, images, sample
from tastemap.report.content import Content, Members, MovieIds, People, Plane, Sample
from tastemap.runs import Run
from tastemap.segmentation import assignments

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


class Reporter:
    """Makes the report of a run, in the order of its methods, each as soon as there is what it needs.

    What goes wrong with it is logged and spoils nothing else: the tables took hours, perhaps.

    Parameters
    ----------
    run : Run
        That has written `rejects`.
    matrix : BlockMatrix
        Ratings, under the ids that may be shown.
    scores : ScoreMatrix
        The same users, under the same ids.
    movie_ids : ndarray of shape (d,)
        By column of the matrix.
    config : Config
    beside : Executor
        Threads: people are embedded and figures drawn while the run waits for Spark.
    """

    def __init__(
        self,
        run: Run,
        matrix: BlockMatrix,
        scores: ScoreMatrix,
        movie_ids: MovieIds,
        config: Config,
        beside: Executor,
    ) -> None:
        self._run = run
        self._matrix = matrix
        self._scores = scores
        self._movie_ids = movie_ids
        self._config = config
        self._beside = beside
        self._people: Future[tuple[People, Plane | None]]
        self._chosen: Future[pd.DataFrame] | None = None
        self._shown: Future[Content]
        self._drawn: Future[Drawn]
        self._members: tuple[Members, ...] = ()
        self._reading: list[Future[Any]] = []
        self._failed = False

    def choose_people(self) -> None:
        """Sample the users and embed them, beside what comes next.

        What embeds, and then what draws, is loaded as late as here: before, the PCA needs the memory.
        """
        seed = self._config.run.seed
        sampled = self._beside.submit(sample.choose_people, self._scores, seed)

        def embedded() -> tuple[People, Plane | None]:
            people = sampled.result()
            neighbours = embedding.neighbours(people.scores, seed)
            # Beside the counting of users, not when figures wait for it: as long as half of them take.
            importlib.import_module("tastemap.report.page")
            return people, neighbours

        self._reading.append(sampled)
        self._people = self._beside.submit(embedded)

    def choose_members(self, clusters: Clusters) -> None:
        """Choose members of each cluster, beside what comes next."""
        if self._config.privacy.min_cell_users == 1:  # else no single people are to be shown
            assigned = assignments(self._scores, clusters)
            self._chosen = self._beside.submit(sample.choose_members, assigned)
            self._reading.append(self._chosen)

    def wait_for_reading(self) -> None:
        """Wait until nobody reads the users, before they go away; how the reading ends does not matter."""
        wait(self._reading)

    def look_up_members(self, cluster_movies: pd.DataFrame, n_clusters: int) -> int:
        """Look up what the members rated: one pass.

        Parameters
        ----------
        cluster_movies : DataFrame
            The table of that name.
        n_clusters : int

        Returns
        -------
        int
            Members that are shown.
        """
        with self._sparing_the_run(f"no {PAGE}"):
            if self._chosen is not None:
                chosen = self._chosen.result()
                self._members = sample.members(
                    self._matrix, chosen, cluster_movies, self._movie_ids, n_clusters
                )
        return sum(len(each.active) + len(each.typical) for each in self._members)

    def draw(
        self,
        clusters: Clusters,
        tables: Mapping[str, pd.DataFrame],
        active: pd.DataFrame,
        evaluation: pd.DataFrame | None,
        manifest: Mapping[str, Any],
    ) -> None:
        """Draw all figures, beside what comes next.

        That is best something that workers do, for drawing and what else the driver does take turns.

        Parameters
        ----------
        clusters : Clusters
        tables : mapping
            The tables `profiles`, `cluster_movies`, `cluster_genres`, `cluster_years` and `components`.
        active : DataFrame
            Of `activity.counts`.
        evaluation : DataFrame, optional
            The table of that name.
        manifest : mapping
            What is known of the run so far.
        """
        if self._failed:
            return
        with self._sparing_the_run(f"no {PAGE}"):
            told = self._told(manifest)
            rejects = _rejects(self._run, told["counts"]["rejects"])
            bars = activity.bars(active, self._config.privacy.min_cell_users)

            def shown() -> Content:
                people, neighbours = self._people.result()
                return Content(
                    manifest=told,
                    rejects=rejects,
                    profiles=tables["profiles"],
                    movies=tables["cluster_movies"],
                    genres=tables["cluster_genres"],
                    years=tables["cluster_years"],
                    components=tables["components"],
                    sample=Sample(sample.assigned(people, clusters), self._members, bars),
                    neighbours=neighbours,
                    evaluation=evaluation,
                    user_ids=self._config.report.report_user_ids,
                )

            def drawn() -> Drawn:
                from tastemap.report import page  # only here, for Bokeh may be missing

                return page.draw(self._shown.result())

            self._shown = self._beside.submit(shown)
            self._drawn = self._beside.submit(drawn)

    def write(self, manifest: Mapping[str, Any]) -> int:
        """Write the page with the whole manifest, and pictures where they are asked for.

        Returns
        -------
        int
            The page's size in bytes; 0 where it could not be made.
        """
        size = 0
        if not self._failed:
            with self._sparing_the_run(f"no {PAGE}"):
                size = self._write_page(manifest)
        if size and self._config.report.figures == "png":
            with self._sparing_the_run("only a part of figures/"):
                self._write_pictures()
        return size

    @contextmanager
    def _sparing_the_run(self, remains: str) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self._failed = True
            log.error("%s is written, for it could not be made; all tables are: %s", remains, error)
        # Whatever it is that scikit-learn, Bokeh or a browser stumble over: nobody else needs what they make.
        except Exception:
            self._failed = True
            log.exception("%s is written, for it could not be made; all tables are", remains)

    def _write_page(self, manifest: Mapping[str, Any]) -> int:
        # Only here, for Bokeh may be missing.
        from tastemap.report import page

        text = page.render(replace(self._shown.result(), manifest=self._told(manifest)), self._drawn.result())
        self._run.write_text(PAGE, text)
        return len(text.encode())

    def _write_pictures(self) -> None:
        for name, picture in images.pictures(self._drawn.result().figures):
            self._run.write_bytes(f"figures/{name}.png", picture)

    def _told(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return {"started": self._run.started.isoformat(timespec="seconds"), **manifest}


def _rejects(run: Run, n_rejects: int) -> pd.DataFrame:
    """Records by the reason for which they were rejected: columns reason, n."""
    if n_rejects == 0:
        return pd.DataFrame(columns=["reason", "n"])
    reasons = run.read("rejects").groupBy("reason").count().toPandas()  # a row a reason
    return reasons.rename(columns={"count": "n"}).sort_values("n", ascending=False, ignore_index=True)
