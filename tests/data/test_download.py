"""The lookup of sets that are not shipped: own folder, cache, mirrors, all checked."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import importlib
import struct
import threading
from collections.abc import Iterator

import pooch
import pytest

from equilibria.data import load

download = importlib.import_module("equilibria.data.load")  # the name is the function's, too
FILE = "train-labels-idx1-ubyte"
CONTENT = bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes([3, 1, 4, 1, 5])
CLOSED = "http://127.0.0.1:9/"


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """A set ``mnist`` of five labels, an empty cache, no own folder and no network."""
    monkeypatch.setitem(download.HASHES, f"mnist/{FILE}", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(download.MIRRORS, "mnist", (CLOSED,))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("EQUILIBRIA_DATA", raising=False)
    return tmp_path


@pytest.fixture
def mirror(tmp_path) -> Iterator[str]:
    """The address of a server of the folder ``served``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("place", ["own", "cache"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_found_without_a_network(small_set, monkeypatch, place, ending):
    monkeypatch.setenv("EQUILIBRIA_DATA", str(small_set / "own"))
    put(
        small_set / place / "mnist" / (FILE + ending), gzip.compress(CONTENT) if ending else CONTENT
    )
    assert download.fetch("mnist", FILE).tolist() == [3, 1, 4, 1, 5]


def test_own_folder_comes_before_the_cache(small_set, monkeypatch):
    monkeypatch.setenv("EQUILIBRIA_DATA", str(small_set / "own"))
    put(small_set / "own/mnist" / FILE, CONTENT)
    put(small_set / "cache/mnist" / FILE, b"something else")
    assert download.fetch("mnist", FILE).tolist() == [3, 1, 4, 1, 5]


def test_foreign_content_is_named(small_set):
    put(small_set / "cache/mnist" / FILE, CONTENT[:-1] + b"\x06")
    with pytest.raises(
        ValueError,
        match=rf"{FILE}: its content has SHA-256 \w{{64}}, expected \w{{64}}; delete the file",
    ):
        download.fetch("mnist", FILE)


def test_offline_says_what_was_tried_and_what_to_do(small_set, monkeypatch):
    monkeypatch.setenv("EQUILIBRIA_DATA", str(small_set / "own"))
    with pytest.raises(ValueError, match="mnist: ") as caught:
        download.fetch("mnist", FILE)
    message = str(caught.value)
    for part in (
        f"{FILE}.gz was neither found nor downloaded",
        "own/mnist",
        "cache/mnist",
        CLOSED,
        "ConnectionError",
        "set EQUILIBRIA_DATA=DIR",
    ):
        assert part in message
    assert "\n" not in message
    assert not list(small_set.rglob("*.part"))


def test_load_is_offline_with_the_same_sentence(small_set):
    with pytest.raises(
        ValueError, match=r"mnist: train-images-idx3-ubyte\.gz was neither found nor downloaded"
    ):
        load("mnist")


def test_download_into_the_cache_from_the_first_mirror_that_is_good(small_set, monkeypatch, mirror):
    put(small_set / "served/bad" / f"{FILE}.gz", gzip.compress(b"an error page"))
    put(small_set / "served/torn" / f"{FILE}.gz", gzip.compress(CONTENT)[:-3])
    put(small_set / "served/good" / f"{FILE}.gz", gzip.compress(CONTENT))
    monkeypatch.setitem(
        download.MIRRORS,
        "mnist",
        (CLOSED, f"{mirror}none/", f"{mirror}bad/", f"{mirror}torn/", f"{mirror}good/"),
    )
    assert download.fetch("mnist", FILE).tolist() == [3, 1, 4, 1, 5]
    assert [path.name for path in (small_set / "cache/mnist").iterdir()] == [f"{FILE}.gz"]
    monkeypatch.setitem(download.MIRRORS, "mnist", (CLOSED,))
    assert download.fetch("mnist", FILE).tolist() == [3, 1, 4, 1, 5]


def test_bad_downloads_are_named_and_not_kept(small_set, monkeypatch, mirror):
    put(small_set / "served/bad" / f"{FILE}.gz", gzip.compress(b"an error page"))
    monkeypatch.setitem(download.MIRRORS, "mnist", (f"{mirror}none/", f"{mirror}bad/"))
    with pytest.raises(
        ValueError,
        match=r"none/\S+ \(HTTPError\), \S+bad/\S+ \(.*SHA-256 \w{64}, expected .*; try again\)",
    ):
        download.fetch("mnist", FILE)
    assert not list((small_set / "cache/mnist").iterdir())


def test_every_file_of_every_set_has_a_hash():
    files = {
        f"{part}-{kind}-ubyte"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    }
    tables = {"tables/house_votes_1984.csv", "tables/dna_splice.csv"}
    assert set(download.HASHES) == tables | {
        f"{name}/{file}" for name in download.MIRRORS for file in files
    }
    assert all(len(mirrors) > 1 for mirrors in download.MIRRORS.values())


@pytest.mark.parametrize("place", ["own", "cache"])
def test_tables_are_found_and_checked(small_set, monkeypatch, place):
    content = b"a,b\n1,2\n3,4\n"
    monkeypatch.setitem(
        download.HASHES, "tables/dna_splice.csv", hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setenv("EQUILIBRIA_DATA", str(small_set / "own"))
    put(small_set / place / "tables" / "dna_splice.csv", content)
    assert download.table_path("dna_splice.csv") == small_set / place / "tables" / "dna_splice.csv"
    put(small_set / place / "tables" / "dna_splice.csv", content + b"5,6\n")
    with pytest.raises(
        ValueError,
        match=r"dna_splice\.csv: its content has SHA-256 .* put the right file there",
    ):
        load("dna")


def test_a_table_that_is_nowhere_is_a_sentence(small_set):
    with pytest.raises(
        ValueError,
        match=r"house_votes_1984\.csv: not found in .*tables, .*EQUILIBRIA_DATA=DIR",
    ):
        load("house-votes")
