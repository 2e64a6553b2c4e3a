"""What a fitted Boltzmann machine can be asked: samples, completions, labels, features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data.columns import missing_cells
from equilibria.data.labels import LabelCoding
from equilibria.data.schema import Schema
from equilibria.estimators.layout import joined, split
from equilibria.estimators.parameters import asked_for, choice, whole
from equilibria.estimators.stack import LABEL
from equilibria.inference import gibbs, mean_field
from equilibria.inference.clamp import parse, take
from equilibria.inference.completion import class_log_prob, conditional_means
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream

__all__ = ["COOLING", "Queries"]

IMPUTE = ("draw", "mode", "mean")
COOLING = 5  # temperatures of a fresh chain for each of its sweeps afterwards: 1,000 by default, as annealing has for log Z


def _labelled(estimator: Any) -> bool:
    if not estimator.labels or (hasattr(estimator, "machine_") and estimator.label_coding_ is None):
        raise AttributeError(
            f"this {type(estimator).__name__} has no label layer: construct it with labels=True, and give fit the labels as y"
        )
    return True


def _fills_in(estimator: Any) -> bool:
    if not estimator._takes_missing:
        raise AttributeError(f"a {type(estimator).__name__} cannot fill cells in given others: use DBM or RBM")
    return True


class Queries(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Methods of an estimator with a ``machine_``, a ``schema_`` and training ``chains_``."""

    machine_: BoltzmannMachine
    chains_: dict[str, Tensor]
    schema_: Schema
    label_coding_: LabelCoding | None
    grey_layers_: tuple[str, ...]
    n_features_in_: int
    device: str

    def sample(self, n: int = 1, y: Any = None, given: Any = None, random_state: RandomState = None, sweeps: int = 200) -> Any:
        """Draw rows from the model by block Gibbs sampling.

        The first rows go on from the training's own persistent chains, each from one of its own, ``sweeps`` sweeps each. Rows beyond these
        chains begin at the base rates and are cooled to the model's own temperature over five times as many sweeps before, by
        :func:`~equilibria.inference.gibbs.anneal`; without persistent chains all rows begin at the base rates. Given the model, rows are
        independent.

        Parameters
        ----------
        n : int
            Number of rows.
        y : label, or array of shape (n,), optional
            Of which class the rows are to be, where the model has a label layer.
        given : array of shape (d,) or (n, d), optional
            Cells to hold fixed, NaN (or None) where the model is to fill in.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.
        sweeps : int
            Gibbs sweeps of each chain.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
            In the data's own scale, type and column names. Where the data were grey (probabilities of binary units) the last
            sweep's visible means are given, else draws. Cells that were given come back untouched.
        """
        check_is_fitted(self)
        asked_for(n, self.n_features_in_)
        whole("sweeps", sweeps, 1)
        stream = self._draws(random_state, "sample")
        clamp = {**self._given(given, n), **self._class(y, n)}
        first = self._first_state(n, stream.child("first"), COOLING * sweeps, clamp)
        state = gibbs.run(self.machine_, first, sweeps, stream.child("sweeps"), clamp)
        rows = self.schema_.decode(self._shown(state))
        return self._framed(rows if given is None else _put_back(rows, given))

    @available_if(_fills_in)
    def impute(self, X: Any, n: int = 1, how: str = "draw", random_state: RandomState = None, sweeps: int = 200) -> Any:
        """Fill in the missing cells (NaN, None) of rows; those that are there are held fixed.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            Missing cells are NaN, or None among text.
        n : int
            How many completions of each row to draw: the model's uncertainty is in their spread, which one average would hide.
        how : {"draw", "mode", "mean"}
            Draws from p(missing | observed); or one completion with each cell's most probable value; or with its conditional mean
            (a probability, of binary columns), by Rao–Blackwellised averages over the chains. The last two need ``n=1``.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        sweeps : int
            Gibbs sweeps, from the base rates on.

        Returns
        -------
        ndarray or DataFrame like ``X``; with ``n`` > 1 an ndarray of shape (n, rows, d), for means one of float64

        Examples
        --------
        >>> import numpy as np
        >>> from equilibria import RBM
        >>> X = np.tile([[0.0, 1.0], [1.0, 0.0]], (100, 1))  # the second column is the first one's opposite
        >>> model = RBM(n_components=4, n_iter=40, random_state=0).fit(X)
        >>> model.impute([[0.0, np.nan], [np.nan, 0.0]], how="mode")
        array([[0., 1.],
               [1., 0.]])
        """
        check_is_fitted(self)
        whole("n", n, 1)
        whole("sweeps", sweeps, 2)
        choice("how", how, IMPUTE)
        if how != "draw" and n > 1:
            raise ValueError(f"n={n!r}: with how={how!r} there is one completion; leave n at 1, or draw several")
        table, stream = self._table(X, reset=False), self._draws(random_state, "impute")
        if how == "draw":
            clamp, rows = self._evidence(np.tile(table, (n, 1))), n * len(table)
            state = gibbs.run(self.machine_, gibbs.start(self.machine_, rows, stream, clamp), sweeps, stream.child("sweeps"), clamp)
            filled = _put_back(self.schema_.decode(joined(self.schema_.layers, state)), np.tile(table, (n, 1)))
            return self._framed(filled) if n == 1 else filled.reshape(n, *table.shape)
        means = conditional_means(self.machine_, self._evidence(table), sweeps=sweeps, chains=10, random_state=stream)
        values = joined(self.schema_.layers, means)
        if how == "mean":
            return self._framed(_put_back(self._decoded_means(values, table), table), typed=False)
        return self._framed(_put_back(self.schema_.decode(_modes(self.schema_, values)), table))

    @available_if(_labelled)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(class | row), shape (rows, classes), in the order of ``classes_``: see :meth:`predict_proba`."""
        clamp, stream = self.clamp_of(X), self._stream().child("classes")
        return class_log_prob(self._precise(), LABEL, clamp, random_state=stream).cpu().numpy()

    @available_if(_labelled)
    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | row), shape (rows, classes): by the free energy with each class clamped, which is exact in an RBM, or a DBM's bounds.

        Only where the model has a label layer. Cells of ``X`` may be missing: in such rows the missing cells are summed over where the
        machine has few enough states, and else drawn by clamped Gibbs chains of a fixed seed, of which the label's means are given. A row
        has the same answer each time and in any company.
        """
        return np.exp(self.predict_log_proba(X))

    @available_if(_labelled)
    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, in the labels' own type."""
        assert self.label_coding_ is not None
        return self.label_coding_.decode(self.predict_log_proba(X).argmax(1))

    @property
    def classes_(self) -> np.ndarray:
        """The classes in sorted order, where the model has a label layer."""
        if getattr(self, "label_coding_", None) is None:
            raise AttributeError(f"this {type(self).__name__} has no label layer, and so no classes_: construct it with labels=True")
        assert self.label_coding_ is not None
        return self.label_coding_.classes

    def transform(self, X: Any) -> np.ndarray:
        """Means of all hidden units given each row, shape (n_samples, n_hidden), layer after layer."""
        check_is_fitted(self)
        X = self._table(X, reset=False)
        values, parts = self._encode(X, torch.float64, allow_missing=self._takes_missing), []
        for rows in values.split(2000):
            means = mean_field(self._precise(), split(self.schema_.layers, rows.to(self.device)), tolerance=1e-9).means
            parts.append(torch.cat([means[name] for name in self._hidden_names()], 1))
        return torch.cat(parts).cpu().numpy().astype(np.float32 if X.dtype == np.float32 else np.float64)

    def _shown(self, state: dict[str, Tensor]) -> Tensor:
        """The visible layers of a state; of those whose data were grey, their means."""
        with torch.no_grad():
            means = {name: self.machine_.units(name).mean(self.machine_.field(name, state)) for name in self.grey_layers_}
        return joined(self.schema_.layers, {**state, **means})

    def _first_state(self, n: int, stream: Stream, cooling: int, clamp: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """The training's chains, and beyond them fresh ones: a chain that began two rows would make twins of them."""
        if not self.chains_:
            return gibbs.start(self.machine_, n, stream)
        chains = {name: values[:n] for name, values in self.chains_.items()}
        count = len(next(iter(chains.values())))
        if n == count:
            return chains
        held = take(parse(self.machine_, clamp, n), slice(count, n))
        fresh = gibbs.anneal(self.machine_, n - count, cooling, stream.child("fresh"), held)
        return {name: torch.cat([values, fresh[name].to(values)]) for name, values in chains.items()}

    def _evidence(self, table: np.ndarray, name: str = "X") -> dict[str, Any]:
        """Rows as a clamp, greys as they are; NaN is free."""
        return split(self.schema_.layers, self._encode(table, name=name, allow_missing=True).to(self.device))

    def _given(self, given: Any, n: int) -> dict[str, Any]:
        if given is None:
            return {}
        try:
            table = np.asarray(given, dtype=object if self.schema_.kind in ("categorical", "mixed") else float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"given: {error}; expected numbers, NaN where the model is to fill in") from error
        if table.ndim == 1:
            table = np.broadcast_to(table, (n, len(table)))
        if table.shape != (n, self.n_features_in_):
            raise ValueError(f"given: expected shape ({self.n_features_in_},) or ({n}, {self.n_features_in_}), found {np.shape(given)}")
        return self._evidence(np.ascontiguousarray(table), name="given")

    def _class(self, y: Any, n: int) -> dict[str, Any]:
        """The label layer clamped to the classes that were asked for; a missing one is left free."""
        if y is None:
            return {}
        if self.label_coding_ is None:
            raise ValueError(f"y={y!r}: {type(self).__name__} has no label layer to condition on; leave y out, or fit with labels=True")
        codes = self._asked(y, n)
        units, known = self.machine_.units(LABEL), torch.from_numpy(codes >= 0).unsqueeze(1).expand(-1, len(self.classes_))
        return {LABEL: (units.state_at(torch.from_numpy(codes).clamp(min=0)).to(self.device), known.to(self.device))}

    def _decoded_means(self, values: Tensor, table: np.ndarray) -> np.ndarray:
        """Means in the data's own scale; of categories, which have none, only those that are observed may be there."""
        for place in (place for layer in self.schema_.layers if layer.kind == "categorical" for place in layer.source):
            if missing_cells(table[:, place]).any():
                raise ValueError(
                    f"how='mean': categories have no mean, and column {place} has a missing one; "
                    "use how='mode' for the most probable one, or draw several completions"
                )
        if self.schema_.kind == "categorical":  # and no cell is missing
            return self.schema_.decode(values)
        means = self.schema_.decode_means(values)
        text = any(isinstance(cell, str) for cell in table[0]) if len(table) else False
        return means.astype(object) if text else means

    if TYPE_CHECKING:  # of the estimator that this is mixed into

        @property
        def _takes_missing(self) -> bool: ...
        def _draws(self, random_state: RandomState, name: str) -> Stream: ...
        def _framed(self, rows: np.ndarray, typed: bool = True) -> Any: ...
        def _table(self, X: Any, reset: bool) -> np.ndarray: ...
        def _encode(self, X: np.ndarray, dtype: torch.dtype = ..., *, name: str = ..., allow_missing: bool = ...) -> Tensor: ...
        def _binary(self, X: np.ndarray) -> Tensor: ...
        def clamp_of(self, X: Any) -> dict[str, Any]: ...
        def _precise(self) -> BoltzmannMachine: ...
        def _asked(self, y: Any, n: int) -> np.ndarray: ...
        def _stream(self) -> Stream: ...
        def _hidden_names(self) -> list[str]: ...


def _modes(schema: Schema, means: Tensor) -> Tensor:
    """Each cell's most probable value given its mean; of a real one, the mean."""
    values = means.clone()
    for layer in schema.layers:
        if layer.kind == "bernoulli":
            values[:, layer.columns] = (means[:, layer.columns] > 0.5).to(means.dtype)
        elif layer.kind == "spin":
            values[:, layer.columns] = torch.where(means[:, layer.columns] > 0, 1.0, -1.0).to(means.dtype)
    return values


def _put_back(rows: np.ndarray, given: Any) -> np.ndarray:
    """Rows with the cells that were given as they came, to the last bit."""
    table = np.asarray(given, dtype=object if rows.dtype.kind in "OUS" else None)
    table = np.broadcast_to(table if table.dtype.kind != "O" or rows.dtype.kind in "OUS" else table.astype(float), rows.shape)
    known = ~missing_cells(table.reshape(-1)).reshape(table.shape)
    if rows.dtype.kind in "iub" and table.dtype.kind == "f" and (table[known] % 1 != 0).any():
        rows = rows.astype(table.dtype)  # whole numbers drawn beside given ones that are not whole
    rows = rows.copy()
    rows[known] = table[known]
    return rows
