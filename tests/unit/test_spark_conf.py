"""The files of Spark settings in conf/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CONF = Path(__file__).parents[2] / "conf"
FORMS = {
    "spark-local.conf": r"(\S+)\s+(\S.*)",
    "spark-emr.conf": r"(\S+)\s+(\S+)",
    "spark-dataproc.conf": r"([^\s=]+)=([^\s=]+)",  # gcloud takes no other
}


def settings(name: str) -> dict[str, str]:
    lines = [line for line in (CONF / name).read_text().splitlines() if line and not line.startswith("#")]
    pairs = [re.fullmatch(FORMS[name], line) for line in lines]
    assert None not in pairs, lines[pairs.index(None)]
    keys = [pair[1] for pair in pairs if pair]
    assert sorted(set(keys)) == sorted(keys)
    return {pair[1]: pair[2] for pair in pairs if pair}


@pytest.mark.parametrize("name", FORMS)
def test_results_do_not_depend_on_the_place(name: str) -> None:
    """Time zone, Arrow and ANSI are for session.py and the code to say."""
    decided_in_code = {"spark.sql.session.timeZone", "spark.sql.ansi.enabled"}
    assert not [
        k for k in settings(name) if k in decided_in_code or k.startswith("spark.sql.execution.arrow")
    ]


@pytest.mark.parametrize("name", ["spark-emr.conf", "spark-dataproc.conf"])
def test_an_executor_fits_a_node(name: str) -> None:
    chosen = settings(name)
    heap, overhead = (
        int(chosen[f"spark.executor.{part}"].removesuffix("g")) for part in ("memory", "memoryOverhead")
    )
    assert heap + overhead <= 12  # GB that YARN has on a node of 16
    assert overhead >= int(chosen["spark.executor.cores"])  # 1 GB a Python worker
