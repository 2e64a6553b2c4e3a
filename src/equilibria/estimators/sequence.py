"""Next-state prediction: a Boltzmann machine with a past layer and a future layer, or a GAN of the future given the past."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from equilibria.data import Schema, windows
from equilibria.data.columns import is_frame
from equilibria.estimators.adversarial import GAN
from equilibria.estimators.boltzmann import DBM, RBM
from equilibria.estimators.parameters import choice, pair, whole
from equilibria.estimators.queries import IMPUTE
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.inference.completion import class_log_prob
from equilibria.random import RandomState, as_stream
from equilibria.training.run import Run

__all__ = ["NextState"]

PAST, FUTURE = "past", "future"


def _one_category(estimator: Any) -> bool:
    """Whether a state is one categorical column, so that its probabilities are a list."""
    future = estimator.machine_.schema_.layers[-1]
    if future.kind != "categorical" or future.variables != 1:
        raise AttributeError("predict_proba is for states that are one categorical column; use predict_next with how='mean', or draws")
    return True


class NextState(BaseEstimator):
    """Predicts the next row of a sequence from the rows before it, by an :class:`~equilibria.RBM`, a DBM or a :class:`~equilibria.GAN`.

    A Boltzmann machine has two visible layers, ``past`` (``lag`` rows side by side, the oldest first) and ``future`` (the row after them),
    both joined to its first hidden layer. It is trained on all windows of lag + 1 rows; to predict is to clamp the past and to draw the
    future, p(x_{t+1} | x_t, …, x_{t−lag+1}). A GAN draws the future in one step, conditional on the past; where a state is a picture
    (``picture_shape`` of one frame), the past is so many pictures beside it.

    Parameters
    ----------
    machine : RBM, DBM or GAN, optional
        Says how to train; a copy is trained. By default ``RBM(random_state=0)``. Its ``units`` are the kind of a state's columns,
        which with ``"auto"`` is inferred (whole numbers with few values, and text, are categories) and must be one kind. To a GAN all
        columns are real numbers, or grey values of known range.
    lag : int
        How many rows of the past a prediction looks at.

    Attributes
    ----------
    machine_ : RBM, DBM or GAN
        The trained estimator, of windows; all that it can be asked holds for them.
    schema_ : Schema
        Of one row.

    References
    ----------
    Taylor, Hinton & Roweis 2007, "Modeling human motion using binary latent variables", whose past drives biases; here it is a layer.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import RBM, NextState
    >>> cycle = np.arange(300)[:, None] % 3  # 0, 1, 2, 0, …
    >>> model = NextState(RBM(n_components=8, n_iter=60, learning_rate=0.2, momentum=0.5, random_state=0)).fit(cycle)
    >>> model.predict_next([[1]], how="mode"), model.forecast([[1]], 3).ravel()
    (array([[2]]), array([2, 0, 1]))
    """

    machine_: Any
    schema_: Schema
    n_features_in_: int

    def __init__(self, machine: Any = None, lag: int = 1):
        self.machine = machine
        self.lag = lag

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> NextState:
        """Train on the windows of a sequence.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows in the order of time; NaN is a missing value.
        y : None
            Present for scikit-learn's conventions.
        groups : sequence of shape (n,), optional
            Which sequence each row belongs to: no window crosses from one into the next.

        Raises
        ------
        ValueError
            For unusable data or parameters, before any work.
        """
        machine = self._checked_machine()
        whole("lag", self.lag, 1)
        table = self._table(X, reset=True)
        rows = windows(table, int(self.lag), groups)
        schema = self._row_schema(X if is_frame(X) else table, machine)
        machine._known_schema = _schema_of_windows(schema, int(self.lag))
        machine._next_state = {"lag": int(self.lag)}
        if isinstance(machine, GAN):
            machine.set_params(condition=range(int(self.lag) * schema.width))
        else:
            machine.set_params(units="mixed", kinds=None, value_range=None)
        self.machine_, self.schema_ = machine.fit(rows), schema
        return self

    def predict_next(self, X: Any, n: int = 1, how: str = "draw", random_state: RandomState = None, sweeps: int = 200) -> Any:
        """The row after the last one of a sequence.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            The past, at least ``lag`` rows; the last ``lag`` of them are looked at.
        n : int
            How many next rows to draw.
        how : {"draw", "mode", "mean"}
            Draws from p(next row | past); each cell's most probable value (not of a GAN); or its conditional mean. The last two need
            ``n=1``.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        sweeps : int
            Gibbs sweeps of each draw of a Boltzmann machine.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
        """
        check_is_fitted(self)
        whole("n", n, 1)
        choice("how", how, IMPUTE)
        drawn = self._next(self._past(X), n, how, random_state, sweeps)
        return self._framed(drawn.reshape(n, self.n_features_in_), typed=how != "mean")

    def forecast(self, X: Any, steps: int, n: int = 1, random_state: RandomState = None, sweeps: int = 200) -> Any:
        """Futures of several steps: each row is drawn given the ``lag`` rows before it, drawn ones among them.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            The past, as for :meth:`predict_next`.
        steps : int
            Rows of each future.
        n : int
            How many futures to draw, each by itself: what they differ in is the model's uncertainty.
        random_state, sweeps
            As for :meth:`predict_next`.

        Returns
        -------
        ndarray of shape (steps, d), or DataFrame where ``fit`` had one; with ``n`` > 1 an ndarray of shape (n, steps, d)
        """
        check_is_fitted(self)
        whole("steps", steps, 1)
        whole("n", n, 1)
        stream = as_stream(self.machine_.seed_ if random_state is None else random_state).child("forecast")
        past = self._past(X)
        paths = np.repeat(past[None], n, axis=0)
        for step in range(steps):
            flat = paths[:, -len(past) :].reshape(n, -1)
            drawn = self._next(flat, 1, "draw", stream.child(step), sweeps).reshape(n, 1, -1)
            paths = np.concatenate([paths.astype(np.result_type(paths, drawn), copy=False), drawn], axis=1)
        futures = paths[:, len(past) :].astype(drawn.dtype)
        return self._framed(futures[0]) if n == 1 else futures

    @available_if(_one_category)
    def predict_proba(self, X: Any) -> np.ndarray:
        """p(next state | past) after each run of ``lag`` rows of ``X``, shape (rows − lag + 1, states), where a state is one category.

        By the free energies of an RBM, which are exact, or the bounds of a DBM; where cells of the past are missing as
        :meth:`RBM.predict_proba <equilibria.RBM.predict_proba>` says. The states are in the order of ``classes_``.
        """
        check_is_fitted(self)
        table = self._table(X, reset=False)
        rows = table if self.lag == 1 else windows(self._long_enough(table), int(self.lag) - 1)
        clamp = self.machine_.clamp_of(self._with_blanks(rows))
        known = {name: value for name, value in clamp.items() if name != FUTURE}
        stream = self.machine_._stream().child("classes")
        return class_log_prob(self.machine_._precise(), FUTURE, known, random_state=stream).exp().cpu().numpy()

    @property
    def classes_(self) -> np.ndarray:
        """The states in sorted order, where a state is one categorical column."""
        _one_category(self)
        (part,) = self.schema_.parts or ()
        return np.array((part.categories or ((),))[0])

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the trained machine as a run folder, which :meth:`load` reads."""
        check_is_fitted(self)
        self.machine_.save(path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, device: str | None = None) -> NextState:
        """A fitted estimator from the run folder of its machine: what :meth:`save` wrote, or the machine's own ``out``."""
        run = Run.open(path)
        machine = _kind_of(run)._from_run(run, device)
        if isinstance(machine, GAN):
            return cls._around(machine, path)
        layers = [layer.name for layer in machine.schema_.layers]
        if layers != [PAST, FUTURE]:
            raise ValueError(
                f"path={str(path)!r}: its machine has the visible layers {layers}; expected those of NextState, past and future"
            )
        past, future = machine.schema_.parts
        return cls._of(machine, past.width // future.width)

    @staticmethod
    def made(run: Run) -> bool:
        """Whether a run is of a NextState's machine.

        A run of version 0.1.0 does not say so, but no other Boltzmann machine has these layers unasked; a GAN of that version is taken
        for what it also is, a GAN with a condition.
        """
        if "next_state" in run.config:
            return True
        parts = (run.config.get("schema") or {}).get("parts") or ()
        return [part.get("name") for part in parts] == [PAST, FUTURE] and (run.config.get("params") or {}).get("towers") is None

    @classmethod
    def resumed(cls, run: Run, X: Any) -> NextState:
        """Go on with a run that was stopped: ``X`` is the sequence, or (where there were groups) its windows."""
        kind, width = _kind_of(run), Schema.from_json(run.config["schema"]).width
        lag = int((run.config.get("next_state") or {"lag": 1})["lag"])
        table = cls(lag=lag)._table(X, reset=True)
        machine = kind._resumed(run, windows(table, lag) if table.shape[1] * (lag + 1) == width else table)
        return cls._of(machine, lag)

    @classmethod
    def _around(cls, machine: GAN, path: Any) -> NextState:
        """The same for a GAN, whose condition is the past."""
        width = machine.schema_.width
        past = len(machine.condition or ())
        if not past or tuple(machine.condition or ()) != tuple(range(past)) or past % (width - past):
            raise ValueError(f"path={str(path)!r}: its GAN is not one of NextState: it is not conditional on the rows before the last")
        return cls._of(machine, past // (width - past))

    @classmethod
    def _of(cls, machine: Any, lag: int) -> NextState:
        row = _schema_of_row(machine.schema_, lag)
        model = cls(clone(machine), lag)
        model.machine_, model.schema_, model.n_features_in_ = machine, row, row.width
        if row.columns is not None:
            model.feature_names_in_ = np.array(row.columns, dtype=object)
        return model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # ---------------------------------------------------------------- details

    def _checked_machine(self) -> Any:
        machine = RBM(random_state=0) if self.machine is None else self.machine
        adversarial = isinstance(machine, GAN)
        if not adversarial and not (isinstance(machine, UndirectedEstimator) and machine._takes_missing):
            raise ValueError(f"machine={machine!r}: expected an RBM, a DBM or a GAN, which can draw the future given the past")
        for name in ("labels", "condition") if adversarial else ("labels", "picture_shape", "towers"):
            if getattr(machine, name, None) not in (None, False):
                raise ValueError(
                    f"machine: {name}={getattr(machine, name)!r} speaks of single rows, and it is trained on windows; leave it out"
                )
        if machine.units == "mixed":
            raise ValueError("machine: units='mixed': a state's columns must be of one kind; say which as its units, or leave it at 'auto'")
        machine._validate()
        return clone(machine)

    def _row_schema(self, X: Any, machine: Any) -> Schema:
        if isinstance(machine, GAN):
            if hasattr(self, "feature_names_in_"):
                machine.feature_names_in_ = self.feature_names_in_
            return machine._infer(self._table(X, reset=False))
        low, high = (None, None) if machine.value_range is None else pair("value_range", machine.value_range)
        columns = getattr(self, "feature_names_in_", None)
        everything = {FUTURE: slice(None)}
        return Schema.infer(X, kind=machine.units, low=low, high=high, columns=columns, allow_missing=True, groups=everything)

    def _table(self, X: Any, reset: bool) -> np.ndarray:
        return validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1)

    def _long_enough(self, table: np.ndarray) -> np.ndarray:
        if len(table) < self.lag:
            raise ValueError(f"X has {len(table)} rows: a prediction looks at the last lag={self.lag}; give at least so many")
        return table

    def _past(self, X: Any) -> np.ndarray:
        """The last rows, shape (lag, d)."""
        return self._long_enough(self._table(X, reset=False))[-int(self.lag) :]

    def _with_blanks(self, rows: np.ndarray) -> np.ndarray:
        """Windows whose future is missing."""
        text = rows.dtype.kind in "OUS"
        blank = np.full((len(rows), self.n_features_in_), None if text else np.nan, dtype=object if text else float)
        return np.concatenate([rows.astype(blank.dtype), blank], axis=1)

    def _next(self, past: np.ndarray, n: int, how: str, random_state: RandomState, sweeps: int) -> np.ndarray:
        """Next rows of pasts of shape (rows, lag · d) (or of one, row by row), shape ([n,] rows, d)."""
        rows = self._with_blanks(past.reshape(-1, int(self.lag) * self.n_features_in_))
        sampling = {} if isinstance(self.machine_, GAN) else {"sweeps": sweeps}
        return self.machine_.impute(rows, n=n, how=how, random_state=random_state, **sampling)[..., -self.n_features_in_ :]

    def _framed(self, rows: np.ndarray, typed: bool = True) -> Any:
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return rows
        import pandas

        frame = pandas.DataFrame(rows, columns=names)
        types = dict(zip(names, self.schema_.dtypes or [self.schema_.dtype] * len(names), strict=True))
        return frame.astype(types) if typed else frame.infer_objects()


def _kind_of(run: Run) -> Any:
    return {cls.model_name: cls for cls in (RBM, DBM, GAN)}.get(str(run.config.get("model")), RBM)


def _schema_of_windows(row: Schema, lag: int) -> Schema:
    """Of lag + 1 rows side by side: categories, scales and ranges are the row's own in each, so that past and future mean the same."""
    if row.parts is None:  # of pictures a pile
        shape = None if row.shape is None else ((lag + 1) * row.shape[0], *row.shape[1:])
        return dataclasses.replace(row, **{**_repeated(row, lag + 1), "shape": shape, "columns": None})
    (part,) = row.parts
    width = row.width

    def side_by_side(name: str, count: int, first: int) -> Schema:
        return dataclasses.replace(part, **_repeated(part, count), name=name, source=tuple(range(first, first + count * width)))

    parts = (side_by_side(PAST, lag, 0), side_by_side(FUTURE, 1, lag * width))
    return dataclasses.replace(row, width=(lag + 1) * width, parts=parts, columns=None, dtypes=(row.dtypes or ()) * (lag + 1))


def _repeated(row: Schema, count: int) -> dict[str, Any]:
    """What changes where ``count`` of the same rows stand side by side."""
    fields = {field: getattr(row, field) for field in ("offset", "scale", "categories", "columns")}
    return {"width": count * row.width, **{field: None if value is None else value * count for field, value in fields.items()}}


def _schema_of_row(whole_windows: Schema, lag: int) -> Schema:
    """The way back from :func:`_schema_of_windows`."""
    if whole_windows.parts is None:
        width, shape = whole_windows.width // (lag + 1), whole_windows.shape
        one = None if shape is None else (shape[0] // (lag + 1), *shape[1:])
        offset, scale = (None if entries is None else entries[:width] for entries in (whole_windows.offset, whole_windows.scale))
        return dataclasses.replace(whole_windows, width=width, shape=one, offset=offset, scale=scale)
    _, future = whole_windows.parts
    part = dataclasses.replace(future, source=tuple(range(future.width)))
    types = (whole_windows.dtypes or ())[: future.width]
    return dataclasses.replace(whole_windows, width=future.width, parts=(part,), columns=future.columns, dtypes=types)
