"""Data files that are not shipped: found in a folder of one's own or in a cache, some else downloaded, and always checked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from equilibria.data.images import parse_idx, read_bytes

__all__ = ["HASHES", "MIRRORS", "TABLES", "fetch", "find", "table"]

VARIABLE = "EQUILIBRIA_DATA"
TIMEOUT = 30  # seconds without an answer

# SHA-256 of the uncompressed content, because a .gz that was packed anew differs from the official one.
HASHES = {
    "mnist/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "mnist/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "mnist/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "mnist/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "fashion-mnist/train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "fashion-mnist/train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "fashion-mnist/t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "fashion-mnist/t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
TABLES = {  # CSV files in the sub-folder "tables", with a header; nobody keeps a copy of this form that could be downloaded
    "house_votes_1984.csv": "f761202eda7985de12d21c797a68949c4d30073a710502f2a4760e676cd4dce9",
    "dna_splice.csv": "44f669458489c02c426fe51ad2f57a0d200665c754a5ca49be572be4fcfd5e1b",
}
MIRRORS = {
    "mnist": ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}


def fetch(name: str, file: str) -> np.ndarray:
    """The array in an idx file of a data set.

    It is looked for in the folder that the environment variable ``EQUILIBRIA_DATA`` names, then in the cache, each in the sub-folder
    ``name``, compressed or not; then it is downloaded into the cache.

    Parameters
    ----------
    name : str
        The data set, e.g. ``"mnist"``.
    file : str
        The file without ``.gz``, e.g. ``"train-images-idx3-ubyte"``.

    Raises
    ------
    ValueError
        If the content does not have the known SHA-256, or the file can be neither found nor downloaded.
    """
    folders = _folders(name)
    for path in (folder / (file + ending) for folder in folders for ending in (".gz", "")):
        if path.is_file():
            return parse_idx(_checked(path, HASHES[f"{name}/{file}"]), str(path))
    return _download(name, file, folders)


def table(file: str) -> Path:
    """The place of a CSV file of :data:`TABLES`: in the folder that ``EQUILIBRIA_DATA`` names or in the cache, sub-folder ``tables``.

    Raises
    ------
    ValueError
        If there is none, or its content does not have the known SHA-256. It is never downloaded.
    """
    folders = _folders("tables")
    for path in (folder / file for folder in folders):
        if path.is_file():
            _checked(path, TABLES[file], "put the right file there, or load this one by its path")
            return path
    raise ValueError(
        f"{file}: not found in {' or '.join(map(str, folders))}, and it cannot be downloaded; put the file in a folder DIR/tables and set "
        f"{VARIABLE}=DIR, or load a file of your own by its path"
    )


def find(name: str) -> Path | None:
    """The folder on this machine that holds every file of a data set, if there is one; the files are not checked."""
    files = [key.partition("/")[2] for key in HASHES if key.startswith(f"{name}/")]
    for folder in _folders(name):
        if all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in files):
            return folder
    return None


def _folders(name: str) -> list[Path]:
    return [folder / name for folder in (_own_folder(), _cache()) if folder is not None]


def _own_folder() -> Path | None:
    folder = os.environ.get(VARIABLE)
    return Path(folder).expanduser() if folder else None


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("equilibria"))


def _checked(path: Path, expected: str, remedy: str = "delete the file and load again") -> bytes:
    content = read_bytes(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise ValueError(f"{path}: its content has SHA-256 {actual}, expected {expected}; {remedy}")
    return content


def _download(name: str, file: str, folders: list[Path]) -> np.ndarray:
    failures = []
    for mirror in MIRRORS[name]:
        url, target = f"{mirror}{file}.gz", folders[-1] / f"{file}.gz"
        try:
            return parse_idx(_save_checked(url, target, HASHES[f"{name}/{file}"]), str(target))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            failures.append(f"{url} ({type(error).__name__ if isinstance(error, OSError) else error})")
    tried = ", ".join([str(folder) for folder in folders] + failures)
    raise ValueError(
        f"{name}: {file}.gz was neither found nor downloaded (tried {tried}); connect to the network, or put the data set's idx files in a "
        f"folder DIR/{name} and set {VARIABLE}=DIR"
    )


def _save_checked(url: str, target: Path, expected: str) -> bytes:
    """Download aside, check, rename: what the cache holds under its own name is whole."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        pooch.HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT)(url, str(aside), None)
        content = read_bytes(aside)
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected:
            raise ValueError(f"SHA-256 {actual}, expected {expected}")
        os.replace(aside, target)
        return content
    finally:
        aside.unlink(missing_ok=True)
