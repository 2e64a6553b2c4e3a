"""Class labels as whole numbers, and back."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from equilibria.data.columns import is_missing, missing_cells

__all__ = ["LabelCoding"]

_WHOLE = (int, np.integer)
_TYPES = (  # what labels may be, and the type that they then have
    ((bool, np.bool_), "bool"),
    (_WHOLE, "int64"),
    ((*_WHOLE, float, np.floating), "float64"),
    ((str,), "str"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelCoding:
    """Classes in sorted order; a label's code is its class's place, −1 where it is missing.

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
        """
        labels = _column(y)
        if isinstance(missing_label, np.generic):
            missing_label = missing_label.item()
        missing_label = None if is_missing(missing_label) else missing_label
        present = _tidy(labels[~_missing(labels, missing_label)])
        if (
            present.dtype.kind == "f"
            and (odd := present[~np.isfinite(present) | (present != np.rint(present))]).size
        ):
            raise ValueError(  # the first words are those that scikit-learn's tools look for
                f"Unknown label type: continuous. y holds {odd[0].item()!r}: expected classes, "
                "which are whole numbers, truth values or text"
            )
        classes = np.unique(present)
        if len(classes) < 2:
            found = (
                f"only one class, {classes[0].item()!r}"
                if len(classes)
                else "no label that is not missing"
            )
            raise ValueError(f"y has {found}; expected at least two classes")
        return cls(classes, missing_label)

    def encode(self, y: Any) -> np.ndarray:
        """The codes of labels, int64 (n,): 0 … classes − 1, and −1 where missing."""
        labels = _column(y)
        missing = _missing(labels, self.missing_label)
        codes = np.full(len(labels), -1, dtype=np.int64)
        present = _tidy(labels[~missing])
        place = {label: code for code, label in enumerate(self.classes.tolist())}
        found = np.array([place.get(label, -1) for label in present.tolist()], dtype=np.int64)
        if (found < 0).any():
            first = int((found < 0).argmax())
            row, label = int(np.flatnonzero(~missing)[first]), present[first].item()
            listed = ", ".join(map(repr, list(place)[:10])) + (", …" if len(place) > 10 else "")
            raise ValueError(f"y[{row}] is {label!r}, which is not among the classes {listed}")
        codes[~missing] = found
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The labels of codes in the labels' own type.

        −1 becomes ``missing_label``, by default None among text and NaN among floats.
        """
        codes = np.asarray(codes)
        missing = codes == -1
        if codes.dtype.kind not in "iu" or ((codes < -1) | (codes >= len(self.classes))).any():
            last = len(self.classes) - 1
            raise ValueError(
                f"codes: expected whole numbers from 0 to {last}, or −1 for a missing label"
            )
        labels = self.classes[np.where(missing, 0, codes)]
        if not missing.any():
            return labels
        kind = labels.dtype.kind
        mark = np.nan if self.missing_label is None and kind == "f" else self.missing_label
        if mark is None and kind != "U":
            what = f"labels of type {labels.dtype} have no value for a missing one"
            raise ValueError(f"codes holds −1, and {what}; give missing_label")
        if kind == "U" or isinstance(mark, str):
            labels = labels.astype(object)
        labels[missing] = mark
        return labels

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        dtype = self.classes.dtype
        name = dtype.str if dtype.kind == "U" else dtype.name  # numpy cannot read a text's name
        classes = self.classes.tolist()
        return {"classes": classes, "dtype": name, "missing_label": self.missing_label}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelCoding:
        """The inverse of :meth:`to_json`."""
        return cls(np.array(data["classes"], dtype=data["dtype"]), data["missing_label"])


def _column(y: Any) -> np.ndarray:
    """Labels as an array (n,); a list may hold None beside text, which numpy would spell out."""
    labels = np.asarray(y) if hasattr(y, "__array__") else np.array(y, dtype=object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        text = "A column-vector y was passed when a 1d array was expected. Please change the shape "
        warnings.warn(f"{text}of y to (n_samples,).", DataConversionWarning, stacklevel=3)
        labels = labels[:, 0]
    if labels.ndim != 1:
        what = f"got an array of shape {labels.shape} instead: expected one label for each row"
        raise ValueError(f"y should be a 1d array, {what}")
    return labels


def _missing(labels: np.ndarray, missing_label: int | float | str | None) -> np.ndarray:
    missing = missing_cells(labels)
    text = isinstance(missing_label, str)
    if missing_label is None or (labels.dtype != object and text != (labels.dtype.kind == "U")):
        return missing
    marked = [bool(label == missing_label) for label in labels[~missing]]
    missing[~missing] = marked
    return missing


def _tidy(labels: np.ndarray) -> np.ndarray:
    """Labels without missing ones in the type that they have in truth."""
    if labels.dtype.kind in "biufU":
        return labels
    for types, to in _TYPES:
        if all(isinstance(label, types) for label in labels):
            return labels.astype(to)
    found = sorted({type(label).__name__ for label in labels})
    found = found if labels.dtype == object else [str(labels.dtype)]
    expected = "expected whole numbers, truth values or text, and only one of the three"
    raise ValueError(f"Unknown label type: y holds {' and '.join(found)}; {expected}")
