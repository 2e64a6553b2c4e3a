"""Class labels as whole numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from equilibria.data.columns import Column, is_missing, listed, missing_cells

__all__ = ["LabelCoding"]


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
    """

    classes: np.ndarray
    missing_label: int | float | str | None = None

    @classmethod
    def infer(cls, y: Any, missing_label: Any = None) -> LabelCoding:
        """The classes among labels (n,): whole numbers, truth values or text.

        None, NaN and pandas' NA are missing, and what ``missing_label`` says, e.g. −1 or ``"?"``.
        """
        mark = missing_label.item() if isinstance(missing_label, np.generic) else missing_label
        mark = None if is_missing(mark) else mark
        present, _ = _read(y, mark)
        if present.dtype.kind == "f":
            odd = present[~np.isfinite(present) | (present != np.rint(present))]
            if odd.size:  # the first words are those that scikit-learn's tools look for
                what = f"y holds {odd[0].item()!r}: expected classes, which are whole numbers,"
                raise ValueError(f"Unknown label type: continuous. {what} truth values or text")
        classes = np.unique(present)
        if len(classes) < 2:
            one = f"only one class, {classes[0].item()!r}" if len(classes) else ""
            found = one or "no label that is not missing"
            raise ValueError(f"y has {found}; expected at least two classes")
        return cls(classes, mark)

    def encode(self, y: Any) -> np.ndarray:
        """The codes of labels, int64 (n,): 0 … classes − 1, and −1 where missing."""
        present, missing = _read(y, self.missing_label)
        place = {label: code for code, label in enumerate(self.classes.tolist())}
        codes = np.full(len(missing), -1, dtype=np.int64)
        codes[~missing] = [place.get(label, -1) for label in present.tolist()]
        unknown = (codes < 0) & ~missing
        if unknown.any():
            row = int(unknown.argmax())
            label = present[codes[~missing] < 0].tolist()[0]
            known = listed(map(repr, place))
            raise ValueError(f"y[{row}] is {label!r}, which is not among the classes {known}")
        return codes

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


def _read(y: Any, mark: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are not missing, in the type that they have in truth; and which are, (n,)."""
    # numpy would spell None out beside text, and make numbers beside text of them
    labels = np.asarray(y) if hasattr(y, "__array__") else np.array(y, dtype=object)
    labels = column_or_1d(labels, warn=True)
    missing = missing_cells(labels)
    if mark is not None:
        missing[~missing] = [bool(label == mark) for label in labels[~missing].tolist()]
    present = labels[~missing]
    if present.dtype.kind not in "biufU":
        try:
            holds = Column.of_objects(present.astype(object), "y").holds
        except ValueError as error:
            raise ValueError(f"Unknown label type: {error}") from None
        to = {"truth": bool, "text": str}.get(holds, np.float64)
        exact = holds == "whole" and all(abs(int(label)) < 2**63 for label in present)
        present = (
            present if holds == "whole" and not exact else present.astype(np.int64 if exact else to)
        )
    return present, missing
