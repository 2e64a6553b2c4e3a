"""Any estimator that fills cells, as a step of scikit-learn's pipelines."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from equilibria.check import choice, seed
from equilibria.estimators.trees import LatentTree

__all__ = ["Imputer"]


class Imputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills missing cells by a model of the rows that are there, in a pipeline.

    Parameters
    ----------
    estimator : estimator, optional
        What learns the rows and fills their cells; by default ``LatentTree()``. It is cloned.
    how : {"best", "mean", "mode", "draw"}
        As in the estimator's ``impute``: with "draw" the filled table spreads as the rows do, with
        "best" each cell is as near as it can be.
    random_state : int, numpy generator or None
        Seed of the fit and of what is drawn; None leaves the estimator's own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone: ``impute_interval`` and ``impute_proba`` are asked of it.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import Imputer, Mixture
    >>> X = np.repeat([[0.0, 10.0], [1.0, 20.0]], 50, axis=0)
    >>> filled = Imputer(Mixture(2), random_state=0).fit(X).transform([[np.nan, 20.0]])
    >>> filled.round(1)
    array([[ 1., 20.]])
    """

    def __init__(self, estimator: Any = None, how: str = "best", random_state: Any = None):
        self.estimator, self.how, self.random_state = estimator, how, random_state

    def fit(self, X: Any, y: Any = None) -> Imputer:
        """Learn the rows; cells may be missing where the estimator takes such rows."""
        choice("best", "mean", "mode", "draw")("how", self.how)
        model = LatentTree() if self.estimator is None else clone(self.estimator)
        if "complete" not in getattr(model, "capabilities_", ()):
            why = model.cannot("complete") if hasattr(model, "cannot") else "is no model of rows"
            raise ValueError(f"estimator={model!r}: a {type(model).__name__} {why}")
        state = seed()("random_state", self.random_state)
        if state is not None:
            model.set_params(random_state=state)
        self.estimator_ = model.fit(X)
        self.n_features_in_ = model.n_features_in_
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_ = model.feature_names_in_
        return self

    def transform(self, X: Any) -> Any:
        """The rows with their missing cells filled, an array or a frame as they came."""
        check_is_fitted(self)
        return self.estimator_.impute(X, how=self.how, random_state=self.random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
