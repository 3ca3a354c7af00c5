"""The rule that chooses a number of clusters, the verdict, and how both are told."""

from __future__ import annotations

import pytest

from evaluations import figures
from tastemap.evaluation.choice import choose, curve, verdict
from tastemap.evaluation.summary import WIDTH, table_lines, without_clusters


def test_curve_has_a_row_a_setting_and_means_over_repeats() -> None:
    found = curve(figures((4, 0.02, 0.003, (0.5, 0.7)), (8, 0.03, 0.003, (0.4, 0.2))))
    assert found["n_clusters"].tolist() == [4, 8]
    assert found["stability"].tolist() == pytest.approx([0.6, 0.3])
    assert found["rmse"].tolist() == pytest.approx([0.88, 0.87])
    assert found["temperature"].tolist() == [0.4, 0.8]


def test_of_those_as_good_as_the_best_the_most_stable() -> None:
    settings = [
        (4, 0.020, 0.001, (0.95,)),  # stable, but predicts less
        (8, 0.0295, 0.001, (0.7,)),
        (12, 0.0300, 0.001, (0.6,)),
        (16, 0.0285, 0.001, (0.9,)),  # just outside one standard error of the best
    ]
    found = choose(figures(*settings))
    assert (found.n_clusters, found.temperature) == (8, 0.8)
    assert found.reason == (
        "chose 8 clusters: they lower the RMSE of held-out ratings by 0.0295, within one standard error "
        "(0.0010) of the best (12 clusters lower it by 0.0300), and are at least as stable as 12 "
        "(stability 0.70)"
    )


def test_of_equally_stable_ones_the_smallest_whatever_the_order() -> None:
    settings = [(12, 0.03, 0.01, (0.5,)), (6, 0.03, 0.01, (0.5,)), (9, 0.025, 0.01, (0.5,))]
    assert choose(figures(*settings)).n_clusters == 6


def test_the_best_alone_is_taken() -> None:
    found = choose(figures((2, 0.01, 0.001, (0.9,)), (5, 0.03, 0.001, (0.4,))))
    assert found.n_clusters == 5 and "more than any other number (stability 0.40)" in found.reason


def test_where_none_helps_it_is_not_said_that_one_does() -> None:
    found = choose(figures((2, -0.0012, 0.0001, (0.9,)), (5, -0.03, 0.0001, (0.4,))))
    assert "they raise the RMSE of held-out ratings by 0.0012, less than any other number" in found.reason
    found = choose(figures((2, -0.0012, 0.001, (0.4,)), (5, -0.0013, 0.001, (0.9,))))
    assert "raise the RMSE of held-out ratings by 0.0013, within one" in found.reason
    assert "of the best (2 clusters raise it by 0.0012), and are" in found.reason


@pytest.mark.parametrize(
    ("gain", "stability", "told"),
    [
        (0.05, 0.6, "found again with stability 0.60"),
        (0.05, 0.1, "clustered anew each time (stability 0.10)"),
        (0.004, 0.6, "No structure found"),  # twice its error is more
        (-0.03, 0.05, "The best raise their RMSE by 0.0300 ± 0.0030"),
    ],
)
def test_verdict(gain: float, stability: float, told: str) -> None:
    assert told in verdict(figures((3, gain - 0.1, 0.003, (1.0,)), (7, gain, 0.003, (stability,))))


def test_memberships_count_where_they_predict_better() -> None:
    table = figures((3, 0.004, 0.003, (0.5,)), (7, 0.002, 0.003, (0.5,)), soft_gain=0.02)
    assert verdict(table).startswith("Memberships lower the RMSE of held-out ratings by 0.0240 ± 0.0030")
    assert "7 clusters" in verdict(table, 7) and verdict(table, 7).startswith("Memberships lower")
    assert verdict(figures((3, 0.01, 0.003, (0.5,)))).startswith("Clusters lower")


def test_nobody_is_told_to_take_fewer_than_two_clusters() -> None:
    told = [verdict(figures((k, 0.02, 0.003, (0.1,)))) for k in (2, 3)]
    assert "Take more users before" in told[0] and "Take fewer clusters or more users before" in told[1]


def test_what_is_told_fits_the_terminal() -> None:
    lines = table_lines(figures((4, 0.02, 0.003, (0.5,)), (40, 0.03, 0.003, (0.4,))))
    assert lines[0].split()[:5] == ["weighting", "components", "clusters", "RMSE", "hard"]
    assert lines[2].split() == [
        "residual",
        "16",
        "40",
        "0.8700",
        "0.8710",
        "0.0300",
        "0.0030",
        "0.200",
        "0.40",
        "0.30",
    ]
    assert len(lines) == 3 and all(len(line) <= WIDTH for line in lines)
    told = without_clusters(figures((4, 0.02, 0.003, (0.5,))))
    assert "global mean 1.0500" in told and "effects 0.9000" in told and "ALS" not in told
