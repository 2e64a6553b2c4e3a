"""Labels of rows in an estimator: coded in fit, kept in the run folder, decoded in answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from equilibria.data.labels import LabelCoding
from equilibria.estimators.base import GenerativeEstimator
from equilibria.training.run import Run

__all__ = ["LabelledEstimator"]


class LabelledEstimator(GenerativeEstimator):
    """An estimator whose parameter ``labels`` says whether it has a use for y, and ``missing_label`` what is none."""

    label_coding_: LabelCoding | None = None

    def _codes(self, y: Any, rows: int, reset: bool) -> np.ndarray | None:
        if reset:
            self.label_coding_ = None
        if not self.labels:
            return None
        if y is None:
            raise ValueError("y=None: labels=True needs the labels of the rows as y; a label that is not known may be None or NaN")
        if reset:
            self.label_coding_ = LabelCoding.infer(y, self.missing_label)
        assert self.label_coding_ is not None
        codes = self.label_coding_.encode(y)
        if len(codes) != rows:
            raise ValueError(f"y has {len(codes)} labels for {rows} rows of X; expected one each")
        return codes

    def _asked(self, y: Any, n: int) -> np.ndarray:
        """Codes of the classes that ``n`` rows are to be of, from one label or n of them."""
        assert self.label_coding_ is not None
        codes = self.label_coding_.encode(np.full(n, y) if np.ndim(y) == 0 else y)
        if len(codes) != n:
            raise ValueError(f"y: expected one label, or {n} of them, found {len(codes)}")
        return codes

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "labels": None if self.label_coding_ is None else self.label_coding_.to_json()}

    @classmethod
    def _configured(cls, run: Run) -> Any:
        estimator, labels = super()._configured(run), run.config.get("labels")  # none in runs of 0.1.0
        estimator.label_coding_ = None if labels is None else LabelCoding.from_json(labels)
        return estimator
