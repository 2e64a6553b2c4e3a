"""Data by name or by path: built-in sets, pictures, tables and arrays, all as one :class:`Data`."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from equilibria.data import download, images, tables
from equilibria.data.toy import GaussianMixture, bars_and_stripes
from equilibria.random import Stream

__all__ = ["Data", "load", "names"]

SPLITS = ("train", "test", "all")
_DIGITS_TEST = 360
_TOY_POINTS = {"train": 100_000, "test": 20_000}


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory, or memory-mapped.

    Attributes
    ----------
    values : ndarray, shape (n, d)
        One example a row, in the data's own type; Python objects where columns are of several types.
    labels : ndarray, shape (n,), or None
        What each example is.
    columns : tuple of str or None
        Names of the d columns.
    shape : tuple of int or None
        (height, width) or (height, width, 3) where a row is a flattened picture.
    low, high : float or None
        The range that values are known to have, e.g. 0 and 255.
    name : str
        What to call it.
    density : GaussianMixture or None
        The distribution the data were drawn from, where it is known.
    """

    values: np.ndarray
    labels: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    low: float | None = None
    high: float | None = None
    name: str = "data"
    density: GaussianMixture | None = None

    def __len__(self) -> int:
        return len(self.values)

    def digest(self) -> str:
        """SHA-256 (hex) of the values and the labels with their types and shapes: the same data, the same digest."""
        digest = hashlib.sha256()
        for array in (self.values, self.labels):
            if array is None:
                continue
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def load(
    source: str | os.PathLike[str],
    *,
    split: str = "train",
    size: int | tuple[int, int] | None = None,
    colour: str = "grey",
    label: str | None = None,
    text: bool = False,
) -> Data:
    """Data from a built-in name (see :func:`names`) or a path.

    Parameters
    ----------
    source : str or path
        A built-in name; or a folder of pictures, a ``.csv``, ``.npz`` or ``.npy`` file, or an idx file (``.gz`` or not). A local
        file that is called like a built-in set is meant by ``./name``.
    split : {"train", "test", "all"}
        Which part; a path has no test part.
    size, colour
        For a folder of pictures: see :func:`~equilibria.data.images.read_folder`.
    label : str, optional
        For a CSV file: the column that holds labels.
    text : bool
        For a CSV file: whether columns may hold text. The values are then Python objects, None where missing, for a schema of kind
        ``"mixed"``.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        For an unknown name, a missing or damaged file, data that cannot be found or downloaded, or an option that does not apply.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.values.shape, digits.shape, digits.high
    ((1437, 64), (8, 8), 16.0)
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: expected 'train', 'test' or 'all'")
    if isinstance(source, str) and source in _BUILT_IN:
        _refuse_options(source, "a built-in set", size=size, colour=colour if colour != "grey" else None, label=label, text=text or None)
        return _BUILT_IN[source][1](source, split)
    path = Path(source).expanduser()
    if not path.exists():
        raise ValueError(_unknown(str(source)))
    if split == "test":
        raise ValueError(f"split='test': {path} has no test part; put the test examples in a path of their own, or use split='train'")
    return _from_path(path, size, colour, label, text)


def names() -> dict[str, str]:
    """The built-in data sets: name → one line about it.

    Examples
    --------
    >>> "digits" in names()
    True
    """
    return {name: line for name, (line, _) in _BUILT_IN.items()}


def _digits(name: str, split: str) -> Data:
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    rows = _stratified(labels, split, "digits", _DIGITS_TEST)
    return Data(values[rows].astype(np.uint8), labels[rows].astype(np.int64), shape=(8, 8), low=0.0, high=16.0, name=name)


def _table(name: str, split: str) -> Data:
    file, label, texts = {"house-votes": ("house_votes_1984.csv", "party", True), "dna": ("dna_splice.csv", "Class", False)}[name]
    values, labels, columns = tables.read_csv(download.table(file), label, text=texts)
    assert labels is not None
    rows = _stratified(labels, split, name, round(len(labels) / 5))
    return Data(values[rows], labels[rows], columns, name=name)


def _stratified(labels: np.ndarray, split: str, name: str, count: int) -> np.ndarray:
    """Evenly spaced examples of the list sorted by class, each class in random order: a class gives its share, to within one."""
    n = len(labels)
    shuffled = Stream(0).child(name).permutation(n).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = np.zeros(n, dtype=bool)
    test[by_class[(2 * np.arange(count) + 1) * n // (2 * count)]] = True
    return np.flatnonzero({"train": ~test, "test": test, "all": np.ones(n, dtype=bool)}[split])


def _mnist(name: str, split: str) -> Data:
    prefixes = {"train": ["train"], "test": ["t10k"], "all": ["train", "t10k"]}[split]
    pictures = [download.fetch(name, f"{prefix}-images-idx3-ubyte") for prefix in prefixes]
    labels = [download.fetch(name, f"{prefix}-labels-idx1-ubyte") for prefix in prefixes]
    values = pictures[0] if len(pictures) == 1 else np.concatenate(pictures)
    return Data(values.reshape(len(values), -1), np.concatenate(labels).astype(np.int64), shape=(28, 28), low=0.0, high=255.0, name=name)


def _toy(name: str, split: str) -> Data:
    density = {"ring": GaussianMixture.ring, "grid": GaussianMixture.grid}[name]()
    parts = [part for part in _TOY_POINTS if split in (part, "all")]
    points = [density.sample(_TOY_POINTS[part], Stream(0).child(name, part)) for part in parts]
    return Data(np.concatenate(points), columns=("x", "y"), name=name, density=density)


def _bars(name: str, split: str) -> Data:
    return Data(bars_and_stripes(4), shape=(4, 4), low=0.0, high=1.0, name=name)


_BUILT_IN: dict[str, tuple[str, Callable[[str, str], Data]]] = {
    "digits": ("1,797 handwritten digits, 8×8 greys, from scikit-learn (train 1,437, test 360)", _digits),
    "mnist": ("70,000 handwritten digits, 28×28 greys (train 60,000, test 10,000)", _mnist),
    "fashion-mnist": ("70,000 pictures of clothes, 28×28 greys, in 10 kinds (train 60,000, test 10,000)", _mnist),
    "ring": ("points of 8 Gaussians on a circle, a known density (train 100,000, test 20,000)", _toy),
    "grid": ("points of 25 Gaussians on a grid, a known density (train 100,000, test 20,000)", _toy),
    "bars": ("bars and stripes: 30 binary patterns of 4×4, equally likely (every split is all of them)", _bars),
    "house-votes": ("16 yes/no votes of 435 members in 1984, 392 of them missing, and their party (train 348, test 87)", _table),
    "dna": ("180 binary columns of 3,186 pieces of DNA, and which kind of junction each is (train 2,549, test 637)", _table),
}


def _from_path(path: Path, size: int | tuple[int, int] | None, colour: str, label: str | None, text: bool) -> Data:
    if path.is_dir():
        _refuse_options(path, "a folder of pictures", label=label, text=text or None)
        pictures, labels = images.read_folder(path, size=size, colour=colour)
        return _from_array(path, pictures, labels)
    suffix = path.suffix.lower()
    _refuse_options(path, "a file", size=size, colour=colour if colour != "grey" else None)
    if suffix == ".csv":
        values, labels, columns = tables.read_csv(path, label, text=text)
        return Data(values, labels, columns, name=path.name)
    _refuse_options(path, "a file", label=label, text=text or None)
    if suffix == ".npz":
        return _from_array(path, *tables.read_npz(path))
    if suffix == ".npy":
        return _from_array(path, tables.read_npy(path))
    if suffix == ".gz" or "idx" in path.name:
        return _from_array(path, images.read_idx(path))
    raise ValueError(
        f"{path}: unknown kind of file; expected a folder of pictures, .csv, .npz, .npy, or an idx file (…-ubyte or …-ubyte.gz)"
    )


def _from_array(path: Path, array: np.ndarray, labels: np.ndarray | None = None) -> Data:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: its array is of type {array.dtype}; expected numbers")
    pictures = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
    if array.ndim != 2 and not pictures:
        raise ValueError(
            f"{path}: its array has shape {array.shape}; expected (rows, columns), (n, height, width) or (n, height, width, 3)"
        )
    if not array.size:
        raise ValueError(f"{path}: its array has shape {array.shape}; expected at least one row and a column")
    if labels is not None and labels.shape != array.shape[:1]:
        raise ValueError(f"{path}: has labels of shape {labels.shape} for {len(array)} examples; expected one each")
    shape = array.shape[1:3] + (array.shape[3:] if array.shape[3:] == (3,) else ()) if pictures else None
    high = 1.0 if array.dtype == np.bool_ else 255.0 if pictures and array.dtype == np.uint8 else None
    return Data(array.reshape(len(array), -1), labels, shape=shape, low=None if high is None else 0.0, high=high, name=path.name)


def _refuse_options(source: str | Path, kind: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            csv = {"label": "names a column of a CSV file", "text": "is about the columns of a CSV file"}
            purpose = csv.get(name, "applies to a folder of pictures")
            raise ValueError(f"{name}={value!r}: {purpose}, and {source} is {kind}; leave it out")


def _unknown(source: str) -> str:
    if os.sep in source or Path(source).suffix:
        return f"source={source!r}: no such file or folder"
    close = difflib.get_close_matches(source, _BUILT_IN, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"source={source!r}: neither a path nor a built-in set ({', '.join(_BUILT_IN)}){hint}"
