"""Where `make run` gets its ratings from."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import fetch_movielens
from fetch_movielens import DataFolderError, FetchError, fetch, named_folder


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


RATINGS = b"userId,movieId,rating,timestamp\r\n1,1,4.0,964982703\r\n"
ARCHIVE = zipped({"ml-latest-small/ratings.csv": RATINGS, "ml-latest-small/README.txt": b"Terms"})
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


class Site(ThreadingHTTPServer):
    """Serves one body at every address, breaks off after some bytes of it if told so, and counts requests."""

    body = ARCHIVE
    breaks_off_after: int | None = None
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ml-latest-small.zip"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body[: self.server.breaks_off_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Site(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_archive_is_unpacked_as_it_is(site: Site, tmp_path: Path) -> None:
    folder = fetch(tmp_path / "data", site.url, SHA256)
    assert folder == tmp_path / "data/ml-latest-small"
    assert (folder / "ratings.csv").read_bytes() == RATINGS
    assert [path.name for path in folder.parent.iterdir()] == ["ml-latest-small"]


def test_the_second_time_nothing_is_downloaded(site: Site, tmp_path: Path) -> None:
    assert fetch(tmp_path, site.url, SHA256) == fetch(tmp_path, site.url, SHA256)
    assert site.requests == 1


def test_another_file_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.body = zipped({"ml-latest-small/ratings.csv": b"something else"})
    with pytest.raises(FetchError, match=f"not {SHA256}"):
        fetch(tmp_path / "data", site.url, SHA256)
    assert not (tmp_path / "data").exists()


def test_a_broken_connection_is_reported(site: Site, tmp_path: Path) -> None:
    site.breaks_off_after = 100
    with pytest.raises(FetchError):
        fetch(tmp_path / "data", site.url, SHA256)
    assert not (tmp_path / "data").exists()


def test_a_file_that_does_not_end_is_reported(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_movielens, "LARGEST_BYTES", len(ARCHIVE) - 1)
    with pytest.raises(FetchError, match="more than"):
        fetch(tmp_path, site.url, SHA256)


def test_no_connection_is_reported(site: Site, tmp_path: Path) -> None:
    site.server_close()
    with pytest.raises(FetchError, match="Cannot download"):
        fetch(tmp_path, site.url, SHA256)


def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path) -> None:
    broken = ARCHIVE.replace(RATINGS, RATINGS[::-1])  # fails its CRC half-way through
    with pytest.raises(zipfile.BadZipFile):
        fetch_movielens.unpack(broken, tmp_path / "ml-latest-small")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["", "ml-latest-small"])
def test_the_named_folder_is_the_data_or_holds_it(tmp_path: Path, named: str) -> None:
    folder = tmp_path / "ml-latest-small"
    folder.mkdir()
    (folder / "ratings.csv").write_bytes(RATINGS)
    assert named_folder(str(tmp_path / named)) == folder


def test_a_named_folder_without_data_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataFolderError, match="TASTEMAP_DATA"):
        named_folder(str(tmp_path))
    monkeypatch.setenv("TASTEMAP_DATA", str(tmp_path))
    assert fetch_movielens.main(["--output", str(tmp_path / "data")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert str(tmp_path) in said.err


def test_the_folder_is_all_of_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TASTEMAP_DATA", raising=False)
    (tmp_path / "ml-latest-small").mkdir()
    assert fetch_movielens.main(["--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'ml-latest-small'}\n"


def test_offline_has_an_exit_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("TASTEMAP_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    assert fetch_movielens.main(["--output", str(tmp_path)]) == 1
