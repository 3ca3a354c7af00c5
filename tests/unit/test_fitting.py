"""What a run fits, in which order it finds out what is wrong; without Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tastemap import fitting
from tastemap.catalogue import Catalogue
from tastemap.config import Config
from tastemap.decomposition.krylov import Progress
from tastemap.errors import UserError


@contextmanager
def stages(name: str, unit: str) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(rows=0)


@pytest.mark.parametrize(("told", "passes"), [("before the second pass", 1), ("never", 3)])
def test_a_list_of_movies_that_cannot_be_read_is_told_of_between_passes(
    monkeypatch: pytest.MonkeyPatch, told: str, passes: int
) -> None:
    made: list[int] = []
    titles: Future[Catalogue] = Future()

    def principal_components(_: Any, __: Any, ___: Any, on_pass: Callable[[Progress], None]) -> Any:
        if told == "before the second pass":
            titles.set_exception(UserError("the list of movies cannot be read: movies.csv"))
        for number in range(1, 4):
            made.append(number)
            on_pass(Progress(number, 0.1, 1.0))
        return SimpleNamespace(passes=3, total_variance=1.0)

    monkeypatch.setattr(fitting.featuring, "fit", lambda *_: SimpleNamespace(n_features=99))
    monkeypatch.setattr(fitting, "principal_components", principal_components)
    kept = SimpleNamespace(matrix=None, movies=SimpleNamespace(n_ratings=None, rating_sums=None))
    run: Any = (kept, titles, Config(), stages)
    if told == "never":  # who does not need titles does not wait for them
        assert len(fitting.reduce(*run).passes) == 3
    else:
        with pytest.raises(UserError, match=r"movies\.csv"):
            fitting.reduce(*run)
    assert len(made) == passes
