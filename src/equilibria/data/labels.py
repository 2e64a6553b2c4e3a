"""Class labels as whole numbers, and back."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from equilibria.data.columns import is_missing, missing_cells

__all__ = ["LabelCoding"]

_WHOLE = (int, np.integer)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelCoding:
    """Classes in sorted order; a label's code is its class's place, −1 where the label is missing. Made by :meth:`infer`.

    Attributes
    ----------
    classes : ndarray, shape (classes,)
        The classes in sorted order, in the labels' own type.
    missing_label : int, float, str or None
        What stands for a missing label besides NaN, None and pandas' NA.

    Examples
    --------
    >>> coding = LabelCoding.infer(["rep", None, "dem", "rep"])
    >>> coding.classes.tolist(), coding.encode(["dem", None]).tolist()
    (['dem', 'rep'], [0, -1])
    >>> coding.decode(np.array([1, 0])).tolist()
    ['rep', 'dem']
    """

    classes: np.ndarray
    missing_label: int | float | str | None = None

    @classmethod
    def infer(cls, y: Any, missing_label: int | float | str | None = None) -> LabelCoding:
        """The classes among labels.

        Parameters
        ----------
        y : array-like, shape (n,)
            Whole numbers, truth values or text; None, NaN and pandas' NA are missing.
        missing_label : int, float or str, optional
            What else stands for a missing label, e.g. −1 or ``"?"``.

        Raises
        ------
        ValueError
            For labels that are no classes (numbers that are not whole), text and numbers in one, or fewer than two classes.
        """
        labels, missing_label = _column(y), None if is_missing(missing_label) else missing_label
        present = _tidy(labels[~_missing(labels, missing_label)])
        _refuse_continuous(present)
        if not len(present):
            raise ValueError("y has no label that is not missing; expected at least two classes")
        classes = np.unique(present)
        if len(classes) < 2:
            raise ValueError(f"y has only one class, {classes[0].item()!r}; expected at least two classes")
        return cls(classes, missing_label)

    def encode(self, y: Any) -> np.ndarray:
        """The codes of labels, int64 (n,): 0 … classes − 1, and −1 where missing.

        Raises
        ------
        ValueError
            For a label that is none of the classes.
        """
        labels = _column(y)
        missing = _missing(labels, self.missing_label)
        codes = np.full(len(labels), -1, dtype=np.int64)
        present = _tidy(labels[~missing])
        if not len(present):
            return codes
        if (present.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            self._refuse(present[0], int((~missing).argmax()))
        place = np.searchsorted(self.classes, present).clip(max=len(self.classes) - 1)
        unseen = self.classes[place] != present
        if unseen.any():
            self._refuse(present[unseen.argmax()], int(np.flatnonzero(~missing)[unseen.argmax()]))
        codes[~missing] = place
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The labels of codes in the labels' own type; −1 becomes ``missing_label``, by default None among text and NaN among
        floats.

        Raises
        ------
        ValueError
            For a code that is no class's place, or −1 where the labels' type cannot say that one is missing.
        """
        codes = np.asarray(codes)
        missing = codes == -1
        if ((codes < -1) | (codes >= len(self.classes))).any() or codes.dtype.kind not in "iu":
            raise ValueError(f"codes: expected whole numbers from 0 to {len(self.classes) - 1}, or −1 for a missing label")
        labels = self.classes[np.where(missing, 0, codes)]
        if not missing.any():
            return labels
        mark = np.nan if self.missing_label is None and labels.dtype.kind == "f" else self.missing_label
        if mark is None and labels.dtype.kind != "U":
            raise ValueError(f"codes holds −1, and labels of type {labels.dtype} have no value for a missing one; give missing_label")
        if labels.dtype.kind == "U" or isinstance(mark, str):  # text of any length, or None, or text among numbers
            labels = labels.astype(object)
        labels[missing] = mark
        return labels

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        dtype = self.classes.dtype
        name = dtype.str if dtype.kind == "U" else dtype.name  # numpy cannot read the name of a text type
        return {"classes": self.classes.tolist(), "dtype": name, "missing_label": self.missing_label}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelCoding:
        """The inverse of :meth:`to_json`, also after a trip through JSON text."""
        return cls(np.array(data["classes"], dtype=data["dtype"]), data["missing_label"])

    def _refuse(self, label: Any, row: int) -> None:
        listed = ", ".join(map(repr, self.classes[:10].tolist())) + (", …" if len(self.classes) > 10 else "")
        label = label.item() if isinstance(label, np.generic) else label
        raise ValueError(f"y[{row}] is {label!r}, which is not among the classes {listed}")


def _column(y: Any) -> np.ndarray:
    """Labels as an array (n,); a list may hold None beside text, which numpy would spell out."""
    labels = np.asarray(y) if hasattr(y, "__array__") else np.array(y, dtype=object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        _warn_of_column()
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {labels.shape} instead: expected one label for each row")
    return labels


def _warn_of_column() -> None:
    from sklearn.exceptions import DataConversionWarning

    text = "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,)."
    warnings.warn(text, DataConversionWarning, stacklevel=4)


def _missing(labels: np.ndarray, missing_label: int | float | str | None) -> np.ndarray:
    missing = missing_cells(labels)
    if missing_label is None or (labels.dtype.kind in "biuf" and isinstance(missing_label, str)):
        return missing
    if labels.dtype.kind == "U" and not isinstance(missing_label, str):
        return missing
    given = np.zeros(len(labels), dtype=bool)
    given[~missing] = [bool(label == missing_label) for label in labels[~missing]]
    return missing | given


def _tidy(labels: np.ndarray) -> np.ndarray:
    """Labels without missing ones in the type that they have in truth: text, truth values, whole numbers or floats."""
    if labels.dtype.kind in "biufU":
        return labels
    for types, to in (((bool, np.bool_), "bool"), (_WHOLE, "int64"), ((*_WHOLE, float, np.floating), "float64"), ((str,), "str")):
        if all(isinstance(label, types) for label in labels):
            return labels.astype(to)
    found = sorted({type(label).__name__ for label in labels}) if labels.dtype == object else [str(labels.dtype)]
    raise ValueError(
        f"Unknown label type: y holds {' and '.join(found)}; expected whole numbers, truth values or text, and only one of the three"
    )


def _refuse_continuous(present: np.ndarray) -> None:
    """The first words are scikit-learn's, whose tools look for them."""
    if present.dtype.kind != "f" or (np.isfinite(present).all() and (present == np.rint(present)).all()):
        return
    odd = present[~(np.isfinite(present) & (present == np.rint(present)))][0].item()
    raise ValueError(f"Unknown label type: continuous. y holds {odd!r}: expected classes, which are whole numbers, truth values or text")
