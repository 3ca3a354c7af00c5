"""The session of a job: its settings, the package on executors, and that nothing is left behind.

In a process of its own: the session of the other tests would be taken, and stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from pyspark import SparkConf

from tastemap import session

LIBRARY = Path(session.__file__).resolve().parents[1]

BROKEN = """
import sys, types
sys.modules["loads"] = types.SimpleNamespace(n=1)
raise LookupError("told to whoever imports it")
"""
PROGRAM = """
import json, os, sys, tempfile, threading
sys.path.insert(0, LIBRARY)
from tastemap.session import session


def where(batches):
    import gc, os, sys
    frozen = gc.get_freeze_count()
    import pyarrow as pa
    import tastemap.executors, tastemap.schemas
    warm = tastemap.executors._settled
    for batch in batches:
        found = [tastemap.schemas.__file__, sys.executable, warm, frozen, os.getppid()]
        found = [str(each) for each in found]
        yield pa.record_batch([pa.array(found)], names=["found"])


try:
    with session("a job by name", loading="broken") as spark:
        begun = sys.modules.pop("loads").n  # by session
        try:
            import broken
        except LookupError as error:
            fault = str(error)
        spark.sparkContext.setLogLevel("OFF")
        accumulators, waiting, waits = spark.sparkContext._accumulatorServer, [], threading.Event()
        shutdown, thread = accumulators.shutdown, threading.current_thread
        accumulators.shutdown = lambda: (waiting.append(thread().name), waits.set(), shutdown())
        rows = spark.range(1).mapInArrow(where, "found string").collect()
        package, python, warm, frozen, parent = (row.found for row in rows)
        of_rdds = spark.sparkContext.parallelize([0], 1).map(lambda _: os.getppid()).first()
        names = ("spark.sql.session.timeZone", "spark.sql.execution.arrow.pyspark.enabled")
        told = dict(
            package=package,
            python=python,
            warm=warm,
            frozen=int(frozen),
            daemons=[int(parent), of_rdds],
            daemon=open(f"/proc/{parent}/cmdline").read() if sys.platform == "linux" else "tastemap.daemon",
            name=spark.sparkContext.appName,
            settings=[spark.conf.get(name) for name in names],
            progress=spark.sparkContext.getConf().get("spark.ui.showConsoleProgress"),
            loads=begun,
            fault=fault,
            folders=[name for name in os.listdir(tempfile.gettempdir()) if name.startswith("tastemap-")],
        )
        raise LookupError("the job fails")
except LookupError as error:
    told["error"] = str(error)
told["stopped"] = spark.sparkContext._jsc is None
left = os.listdir(tempfile.gettempdir())
told["left"] = [name for name in left if name.startswith("tastemap-") or name.endswith(".sock")]
told["accumulators"] = waits.wait(60) and waiting
print(json.dumps(told))
"""


def environment(scratch: Path) -> dict[str, str]:
    """Ours, without what would tell executors of this library or this Python."""
    taken = ("PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYSPARK_GATEWAY_PORT")
    given = {name: value for name, value in os.environ.items() if name not in taken}
    # No web page, and no port that others could reach.
    quiet = (
        "spark.ui.enabled=false",
        "spark.python.unix.domain.socket.enabled=true",
        "spark.driver.host=127.0.0.1",
        "spark.driver.bindAddress=127.0.0.1",
    )
    options = [text for each in (*quiet, f"spark.local.dir={scratch}") for text in ("--conf", each)]
    return {**given, "TMPDIR": str(scratch), "PYSPARK_SUBMIT_ARGS": " ".join([*options, "pyspark-shell"])}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("tastemap.daemon", str(LIBRARY))),
        ({"spark.master": "local[2]"}, ("tastemap.daemon", str(LIBRARY))),
        (
            {"spark.executorEnv.PYTHONPATH": "own", "spark.python.daemon.module": "own.daemon"},
            ("own.daemon", f"own{os.pathsep}{LIBRARY}"),
        ),
        # Executors of a cluster have this package only once a job sends it.
        ({"spark.master": "spark://host:7077"}, None),
        ({"spark.master": "yarn"}, None),
        ({"spark.master": "local-cluster[2,1,512]"}, None),
    ],
)
def test_workers_of_local_mode_alone_are_forked_from_what_is_loaded(
    given: dict[str, str], expected: tuple[str, str] | None
) -> None:
    conf = SparkConf(loadDefaults=False).setAll(list(given.items()))
    found = session.settings_of_workers(conf)
    names = ("spark.python.daemon.module", "spark.executorEnv.PYTHONPATH")
    assert found == ({} if expected is None else dict(zip(names, expected, strict=True)))


def test_a_cluster_is_sent_the_package_and_workers_of_local_mode_have_it(tmp_path: Path) -> None:
    sent: list[str] = []
    for local in (True, False):
        told = SimpleNamespace(isLocal=lambda local=local: local)
        spark = SimpleNamespace(_jsc=told, sparkContext=SimpleNamespace(addPyFile=sent.append))
        session._ship_package(spark, tmp_path)  # type: ignore[arg-type]
    (archive,) = sent
    names = ZipFile(archive).namelist()
    assert {"tastemap/schemas.py", "tastemap/sources/netflix.py"} <= set(names)


def test_what_embeds_and_draws_is_not_loaded_before_the_pca_is_done() -> None:
    late = ("bokeh", "sklearn", "scipy.stats", "scipy.optimize")
    program = f"import sys, tastemap.pipeline; print([name for name in {late} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    told = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert told == "[]\n"


def test_workers_of_local_mode_alone_are_started_before_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(session, "warm_up", lambda context: started.append(context._jsc.isLocal()))
    with ThreadPoolExecutor() as beside:
        for local in (True, False):
            told = SimpleNamespace(isLocal=lambda local=local: local)
            session._start_workers(beside, SimpleNamespace(_jsc=told))  # type: ignore[arg-type]
    assert started == [True]


@pytest.mark.slow
def test_a_session_from_beginning_to_end(tmp_path: Path) -> None:
    library = tmp_path / "lib"  # not the one that is installed
    shutil.copytree(LIBRARY / "tastemap", library / "tastemap")
    program = f"LIBRARY = {str(library)!r}\n{PROGRAM}"
    (tmp_path / "scratch").mkdir()
    (tmp_path / "broken.py").write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path / "scratch"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["name"] == "a job by name"
    assert told["loads"] == 1 and told["fault"] == "told to whoever imports it"
    assert told["settings"] == ["UTC", "true"] and told["progress"] == "false"
    assert told["python"] == sys.executable
    # Workers have the package of the job, from where it is, whatever else is installed.
    assert told["package"] == str(library / "tastemap/schemas.py")
    # Workers have been started, and do not look through what they have loaded after every task.
    assert told["warm"] == "True" and told["frozen"] > 10_000
    # DataFrames and RDDs have workers of one kind, all forked from one process.
    assert len(set(told["daemons"])) == 1 and "tastemap.daemon" in told["daemon"]
    # Whatever happens in it, the session ends.
    assert told["error"] == "the job fails" and told["stopped"]
    assert len(told["folders"]) == 1 and told["left"] == []
    # PySpark's thread of accumulators, which takes a second to look up, is told to, but not waited for.
    assert len(told["accumulators"]) == 1 and told["accumulators"] != ["MainThread"]
