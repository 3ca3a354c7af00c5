"""The process from which workers are forked: nothing in it may run beside it, for a fork would lose that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tastemap import daemon

LIBRARY = str(Path(daemon.__file__).parents[1])

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only on Linux it loads anything before it forks"
)


def environment(**variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in daemon.WITHOUT_THREADS}
    return own | {"PYTHONPATH": LIBRARY} | variables


def test_what_is_loaded_starts_no_thread_and_is_nothing_to_collect() -> None:
    program = (
        "import gc, sys; from tastemap import daemon; daemon.load(); "
        "print(daemon.n_threads(), gc.get_freeze_count() > 50_000, 'pyarrow' in sys.modules)"
    )
    told = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True)
    assert told == "1 True True\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "tastemap.daemon"),
        # A setting of one's own under which Arrow starts a thread when it is loaded.
        ({"JE_ARROW_MALLOC_CONF": "background_thread:true"}, "pyspark.daemon"),
    ],
)
def test_where_there_are_threads_it_is_sparks_own(variables: dict[str, str], expected: str) -> None:
    command = [sys.executable, "-m", "tastemap.daemon", "pyspark.worker"]
    with subprocess.Popen(
        command, env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        assert len(process.stdout.read(4)) == 4  # the first of where it listens: it is up
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        process.stdin.close()  # which ends it, as the end of Spark does
    assert arguments[1:] == ["-m", expected, "pyspark.worker", ""]
