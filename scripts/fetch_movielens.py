#!/usr/bin/env python3
"""Print the folder of MovieLens ml-latest-small, after downloading it if need be.

    fetch_movielens.py --output data

It is the folder that TASTEMAP_DATA names, or ml-latest-small in it; else ml-latest-small in the output
folder, where it is downloaded to from GroupLens the first time. Exit code 0: stdout is the folder. 1: it
cannot be downloaded. 2: TASTEMAP_DATA names something else.

The data is free for research, not for sale, under the terms in the README.txt that comes with it. Please cite
F. M. Harper and J. A. Konstan, 2015, The MovieLens Datasets: History and Context, ACM TiiS 5(4).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import os
import shutil
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

URL = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
SHA256 = "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
NAME = "ml-latest-small"
SILENCE_SECONDS = 20
WHOLE_SECONDS = 120
LARGEST_BYTES = 10_000_000
"""The archive has 1 MB; whatever has ten times as many is something else."""


class FetchError(Exception):
    """Why the data is not to be had, for the person at the terminal."""


class DataFolderError(Exception):
    """What is wrong with the folder that was named, for the person at the terminal."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the folder of MovieLens ml-latest-small.")
    parser.add_argument("--output", type=Path, required=True, help="folder to download into")
    options = parser.parse_args(arguments)
    try:
        print(named_folder(os.environ.get("TASTEMAP_DATA")) or fetch(options.output))
    except DataFolderError as error:
        print(error, file=sys.stderr)
        return 2
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def named_folder(name: str | None) -> Path | None:
    """Folder of the data in, or at, the folder that the user named; None where none is named."""
    if not name:
        return None
    for folder in (Path(name) / NAME, Path(name)):
        if (folder / "ratings.csv").is_file():
            return folder.resolve()
    raise DataFolderError(
        f"TASTEMAP_DATA={name}: found neither {NAME}/ratings.csv nor ratings.csv in it. "
        f"Name the folder of {NAME} or the one above it, or unset TASTEMAP_DATA to have it downloaded."
    )


def fetch(output: Path, url: str = URL, sha256: str = SHA256) -> Path:
    """Download and unpack into `output`; what a former call has unpacked there is taken as it is."""
    folder = output / NAME
    if folder.is_dir():
        return folder
    print(f"Downloading {url}", file=sys.stderr)
    archive = download(url)
    found = hashlib.sha256(archive).hexdigest()
    if found != sha256:
        raise FetchError(f"What came from {url} is not the file we know: SHA-256 {found}, not {sha256}.")
    unpack(archive, folder)
    print(f"Its terms of use: {folder / 'README.txt'}", file=sys.stderr)
    return folder


def download(url: str) -> bytes:
    """Content of a small file, within the limits of this module on silence, time and size."""
    deadline = time.monotonic() + WHOLE_SECONDS
    content = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response:
            while part := response.read1(1 << 16):
                content += part
                if time.monotonic() > deadline:
                    raise FetchError(f"Cannot download {url}: not done in {WHOLE_SECONDS} seconds.")
                if len(content) > LARGEST_BYTES:
                    raise FetchError(f"Cannot download {url}: more than {LARGEST_BYTES:,} bytes.")
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"Cannot download {url}: {getattr(error, 'reason', error)}.") from error
    return bytes(content)


def unpack(archive: bytes, folder: Path) -> None:
    """Unpack the archive's one folder to `folder`, which is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(workplace)
        (workplace / NAME).replace(folder)
    finally:
        shutil.rmtree(workplace)


if __name__ == "__main__":
    sys.exit(main())
