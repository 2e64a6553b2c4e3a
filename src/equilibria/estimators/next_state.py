"""Next-state prediction: a machine with a past and a future layer, or a GAN of the future."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.check import affordable, anything, choice, whole
from equilibria.data.table import Table
from equilibria.data.windows import window_table, windows
from equilibria.estimators import all_estimators
from equilibria.estimators.estimator import Plan, Trained, settled
from equilibria.estimators.migrate import renamed
from equilibria.estimators.params import estimator, param, parameters
from equilibria.estimators.rbm import RBM
from equilibria.estimators.reckoning import refuse_unaffordable
from equilibria.inference.boltzmann import Restricted
from equilibria.inference.completion import class_log_prob
from equilibria.random import RandomState, Stream, as_stream
from equilibria.training.run import Run

__all__ = ["NextState"]

PAST, FUTURE = "past", "future"


def _one_category(self: Any) -> bool:
    """Whether a state is one categorical column, so that its probabilities are a list."""
    if "table_" not in vars(self):
        raise AttributeError("predict_proba is for a fitted model whose states are categories")
    layer = self.table_.layers[-1]
    if layer.name != FUTURE or layer.kind != "categorical" or layer.variables != 1:
        raise AttributeError(
            "predict_proba is for states that are one categorical column; use predict_next with "
            "how='mean', or draws"
        )
    return True


@estimator
class NextState(Trained):
    """Predicts the next row of a sequence from the rows before it, by an RBM, a DBM or a GAN.

    A Boltzmann machine has two visible layers, ``past`` (``lag`` rows side by side, the oldest
    first) and ``future`` (the row after them), both joined to its first hidden layer. It is trained
    on all windows of lag + 1 rows; to predict is to clamp the past and to draw the future,
    p(x_{t+1} | x_t, …, x_{t−lag+1}). A GAN draws the future in one step, conditional on the past;
    where a state is a picture (``picture_shape`` of one frame), the past is so many pictures beside
    it.

    Attributes
    ----------
    model_ : Model
        The trained model, of windows.
    row_ : Table
        Of one row; ``table_`` is that of windows.

    References
    ----------
    Taylor, Hinton & Roweis 2007, "Modeling human motion using binary latent variables", whose past
    drives biases; here it is a layer.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import RBM, NextState
    >>> cycle = np.arange(300)[:, None] % 3  # 0, 1, 2, 0, …
    >>> machine = RBM(8, n_iter=60, learning_rate=0.2, momentum=0.5, kinds="categorical")
    >>> model = NextState(machine, random_state=0).fit(cycle)
    >>> model.predict_next([[1]], how="mode"), model.forecast([[1]], 3).ravel()
    (array([[2]]), array([2, 0, 1]))
    """

    name = "next-state"
    model = Restricted
    missing = True
    labelled = False
    kept = ("row_json_",)

    machine: Any = param(
        None,
        "RBM, DBM or GAN that says how to train, by default an RBM; it is not trained itself. Its "
        "kinds are those of a state's columns, which must be one kind; to a GAN all columns are "
        "real numbers, or grey values of known range.",
        anything("an RBM, a DBM or a GAN"),
        positional=True,
        option=False,
    )
    lag: int = param(
        1, "How many rows of the past a prediction looks at.", whole(1), positional=True
    )

    def checked(self) -> Any:
        """A copy whose machine is checked; what the machine says of the run holds, unless said
        here."""
        twin = super().checked()
        machine = RBM() if twin.machine is None else twin.machine
        if (
            not isinstance(machine, Trained)
            or not hasattr(machine, "kinds")
            or machine.name == "dbn"
        ):
            raise ValueError(
                f"machine={machine!r}: expected an RBM, a DBM or a GAN, which can draw the future "
                "given the past"
            )
        given = hasattr(machine, "condition")
        own = ("condition",) if given else ("picture_shape", "modalities")
        for name in ("labels", "minutes", *own):
            if getattr(machine, name, None) not in (None, False):
                found = f"{name}={getattr(machine, name)!r} is for a model of single rows"
                raise ValueError(
                    f"machine: {found} trained by itself, and this one learns windows; leave it out"
                )
        if machine.kinds == "mixed":
            raise ValueError(
                "machine: kinds='mixed': a state's columns must be of one kind; say which"
            )
        twin.machine = clone(machine).checked()
        for field in parameters(Trained):  # device, verbose, validation_fraction, overwrite
            if getattr(twin, field.name) == field.default:
                setattr(twin, field.name, getattr(twin.machine, field.name))
        twin.machine.set_params(random_state=None, out=None, overwrite=False)
        twin.binarise = twin.machine.binarise
        return twin

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        """Train on the windows of a sequence.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows in the order of time; NaN is a missing value.
        y : None
            Present for scikit-learn's conventions.
        groups : sequence of shape (n,), optional
            Which sequence each row belongs to: no window crosses from one into the next.

        Returns
        -------
        self
        """
        return self.adopt(self.checked().learn(X, groups))

    def learn(self, X: Any, groups: Any = None) -> Any:
        """Train this very estimator on the windows of a sequence."""
        self.machine.informed(X)
        X = self.validated(self.opened(X, None)[0], reset=True)
        rows = windows(X, self.lag, groups)
        machine = self.machine
        if hasattr(machine, "condition"):
            row, names = machine.tabulate(X, None), None
            machine.condition = tuple(range(self.lag * row.width))
        else:
            how = {"kinds": machine.kinds, "value_range": machine.value_range}
            row, names = Table.fit(X, modalities={FUTURE: slice(None)}, **how), (PAST, FUTURE)
        self.row_json_ = json.dumps(row.to_json())
        table = window_table(row, self.lag, names)
        refuse_unaffordable(machine, table)
        return self.train(table, rows)

    def proceed(self, run: Run, X: Any, y: Any) -> Any:
        """Go on with a training; ``X`` is the sequence, or its windows if it had groups."""
        if np.shape(X)[1] != self.table_.width:
            X = windows(X, self.lag)
        self.n_features_in_ = self.table_.width
        found = super().proceed(run, X, None)
        self.n_features_in_ = self.row_.width
        return found

    def build(self, table: Table, stream: Stream) -> Plan:
        return self.machine.build(table, stream)

    @classmethod
    def params_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Version 0.1.0 saved the machine alone, as a run of its own."""
        own = renamed(all_estimators()[config["model"]], config["params"])
        past, future = config["schema"]["parts"]
        own = {**own, "random_state": None, "kinds": future["kind"], "out": None}
        machine = {"estimator": config["model"], "params": own}
        return {"machine": machine, "lag": past["width"] // future["width"]}

    @classmethod
    def kept_of(cls, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
        future = config["schema"]["parts"][1]
        width, types = future["width"], config["schema"].get("dtypes") or []
        row = {**config["schema"], "width": width, "dtypes": types[:width] or None}
        row |= {"columns": future.get("columns"), "parts": [{**future, "source": [*range(width)]}]}
        return {"row_json_": json.dumps(Table.from_json(row).to_json())}

    def attach(self, run: Run) -> None:
        """Rows, not windows, are what the estimator is given; greys become binary as the machine
        says."""
        self.binarise = self.machine.binarise
        self.n_features_in_ = self.row_.width
        if self.row_.names is not None:
            self.feature_names_in_ = np.array(self.row_.names, dtype=object)

    # ------------------------------------------------------------ what a fitted model is asked

    @property
    def capabilities_(self) -> frozenset[str]:
        """Of a sequence: what is said of single rows does not apply."""
        if "model_" not in vars(self) or not hasattr(self, "predict_log_proba"):
            return frozenset({"forecast"})
        return frozenset({"forecast", "classify"})

    @property
    def columns(self) -> Table:
        """Of a row, not of a window."""
        return self.row_

    @property
    def row_(self) -> Table:
        """What the columns of one row are."""
        return Table.from_json(json.loads(self.row_json_))

    @settled()
    def predict_next(
        self,
        X: Any,
        n: int = 1,
        how: str = "draw",
        *,
        random_state: RandomState = None,
        **options: Any,
    ) -> Any:
        """The row after the last one of a sequence.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            The past, at least ``lag`` rows; the last ``lag`` of them are looked at.
        n : int
            How many next rows to draw.
        how : {"draw", "mode", "mean"}
            Draws from p(next row | past); each cell's most probable value; or its conditional mean.
            The last two need ``n=1``.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        **options
            Of the model's ``complete``: ``sweeps`` of a Boltzmann machine.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
        """
        check_is_fitted(self)
        n = whole(1)("n", n)
        affordable("n", n, float(n) * self.table_.size)
        choice("draw", "mode", "mean")("how", how)
        if how != "draw" and n > 1:
            raise ValueError(f"n={n!r}: with how={how!r} there is one next row; leave n at 1")
        stream, row = self.draws(random_state, "next"), self.row_
        values = self._window(self._past(X)[None])
        if how == "draw":
            drawn = self._drawn(values, n, stream, options)[:, 0]
            return row.decode(drawn, share=row.shares(n, stream))
        means = self.model_.means(values, ~values.isnan(), stream, **options)[:, -row.size :].cpu()
        return row.decode_modes(means) if how == "mode" else row.decode_means(means)

    @settled()
    def forecast(
        self,
        X: Any,
        horizon: int,
        n: int = 1,
        *,
        random_state: RandomState = None,
        **options: Any,
    ) -> Any:
        """Futures of several rows: each is drawn given the ``lag`` rows before it, drawn ones too.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            The past, as for :meth:`predict_next`.
        horizon : int
            Rows of each future.
        n : int
            How many futures to draw: what they differ in is the model's uncertainty.
        random_state, **options
            As for :meth:`predict_next`.

        Returns
        -------
        ndarray of shape (horizon, d), or DataFrame where ``fit`` had one; with ``n`` > 1 an ndarray
        of shape (n, horizon, d), or a list of frames
        """
        check_is_fitted(self)
        horizon, n = whole(1)("horizon", horizon), whole(1)("n", n)
        name, most = ("n", n) if n > horizon else ("horizon", horizon)
        affordable(name, most, float(n) * (horizon + self.settings_.lag) * self.row_.size)
        seed = self.seed_ if random_state is None else random_state
        stream, row = as_stream(seed).child("forecast"), self.row_
        paths = self._past(X)[None].expand(n, -1, -1)
        for step in range(horizon):
            values = self._window(paths[:, -self.settings_.lag :])
            drawn = self._drawn(values, 1, stream.child(step), options)[0]
            paths = torch.cat([paths, drawn[:, None].to(paths)], 1)
        futures = [
            row.decode(path, share=row.shares(horizon, stream.child("future", i)))
            for i, path in enumerate(paths[:, self.settings_.lag :])
        ]
        if n == 1 or not isinstance(futures[0], np.ndarray):
            return futures[0] if n == 1 else futures
        return np.stack(futures)

    @available_if(_one_category)
    @settled()
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(next state | past) after each run of ``lag`` rows of ``X``, (rows − lag + 1,
        states).

        By the free energies of an RBM, which are exact, or the bounds of a DBM. The states are in
        the order of ``classes_``.
        """
        check_is_fitted(self)
        rows = self.row_.encode(self.validated(X), torch.float64)
        runs = self._long_enough(rows).unfold(0, self.settings_.lag, 1).transpose(1, 2)
        stream = self.draws(None, "classes")

        def ask(model: Any, values: Tensor) -> Tensor:
            past = model.clamp(values)[PAST]
            return class_log_prob(model.machine, FUTURE, {PAST: past}, random_state=stream)

        return self.in_chunks(self._window(runs), ask).numpy()

    @property
    def classes_(self) -> np.ndarray:
        """The states in sorted order, where a state is one categorical column."""
        _one_category(self)
        categories = self.table_.layers[-1].categories
        assert categories is not None
        return np.array(categories[0])

    # ------------------------------------------------------------ details

    def _long_enough(self, rows: Tensor) -> Tensor:
        lag = self.settings_.lag
        if len(rows) < lag:
            raise ValueError(
                f"X has {len(rows)} rows: a prediction looks at the last lag={lag}; give at least "
                "so many"
            )
        return rows

    def _past(self, X: Any) -> Tensor:
        """The last rows, encoded, (lag, size)."""
        X = self.validated(X)
        return self._long_enough(self.row_.encode(X))[-self.settings_.lag :]

    def _window(self, past: Tensor) -> Tensor:
        """Encoded pasts, (n, lag, size), as encoded windows whose future is missing."""
        blank = torch.full((len(past), past.shape[2]), torch.nan, dtype=past.dtype)
        return torch.cat([past.flatten(1), blank], 1).to(self.settings_.device)

    def _drawn(self, values: Tensor, n: int, stream: Stream, options: dict[str, Any]) -> Tensor:
        """Encoded futures, (n, rows, size)."""
        with torch.no_grad():
            drawn = self.model_.complete(values, ~values.isnan(), stream, n, **options)
        return drawn[:, :, -self.row_.size :].cpu()
