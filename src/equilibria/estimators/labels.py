"""Labels as class numbers, −1 where one is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

__all__ = ["encode_labels", "plain_labels"]


def encode_labels(y: Any, rows: int, missing: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The classes in order, and each row's class number.

    Parameters
    ----------
    y : array-like of shape (rows,)
        Numbers or strings. NaN and None are missing, and so is what equals ``missing``.
    rows : int
        How many there should be.
    missing : optional
        What stands for a missing label, such as -1.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int64, shape (rows,)
        Places in ``classes``; −1 where the label is missing.

    Raises
    ------
    ValueError
        For another number of labels, labels that are no classes, or fewer than two classes.

    Examples
    --------
    >>> encode_labels(["b", None, "a"], rows=3)
    (array(['a', 'b'], dtype='<U1'), array([ 1, -1,  0]))
    """
    if y is None:
        raise ValueError("y: a classifier requires y to be passed, but the target y is None")
    if not isinstance(y, np.ndarray) and not hasattr(y, "dtype"):
        y = np.array(y, dtype=object)  # numpy would make strings of numbers beside None
    y = column_or_1d(y, warn=True)
    if len(y) != rows:
        raise ValueError(f"y: {len(y)} labels for {rows} rows of X: expected one each")
    known = _known(y, missing)
    labels = np.array(y[known].tolist()) if y.dtype == object else y[known]
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise ValueError("y: Input y contains infinity; expected classes, with NaN or None where a label is missing")
    if len(labels):
        check_classification_targets(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y: {len(classes)} class{'' if len(classes) == 1 else 'es'} among the labels; expected two classes or more")
    codes = np.full(rows, -1, dtype=np.int64)
    codes[known] = numbers
    return classes, codes


def plain_labels(y: Any) -> np.ndarray:
    """Labels as text, in whatever container they came, so that equal labels have equal digests."""
    return np.array([str(label) for label in np.asarray(y, dtype=object).ravel().tolist()])


def _known(y: np.ndarray, missing: Any) -> np.ndarray:
    """Whether each label is there."""
    if y.dtype.kind == "f":
        known = ~np.isnan(y)
    elif y.dtype == object:
        known = np.array([label is not None and label == label for label in y], dtype=bool)  # NaN is not equal to itself
    else:
        known = np.ones(len(y), dtype=bool)
    return known if missing is None else known & np.array([label != missing for label in y.tolist()], dtype=bool)
