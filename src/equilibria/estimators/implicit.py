"""What a trained critic and generator can be asked beside samples: the ratio of the densities, and better samples by it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from equilibria.estimators.codes import Codes
from equilibria.estimators.parameters import asked_for, choice, number, whole
from equilibria.evaluation.calibration import Calibration, calibration, jensen_shannon
from equilibria.games.payoffs import find_payoff
from equilibria.inference.density_ratio import HOW, LinearRatio, fit_ratio
from equilibria.inference.langevin import langevin
from equilibria.inference.refinement import Refined, metropolis_hastings, reject, sir
from equilibria.models.generator import evaluating
from equilibria.numbers import Measure
from equilibria.random import RandomState

__all__ = ["REFINEMENTS", "Implicit"]

REFINEMENTS: Mapping[str, Callable[..., Refined]] = {"reject": reject, "mh": metropolis_hastings, "sir": sir, "langevin": langevin}
"""Name → how draws of the noise are refined by the ratio."""

FADED = 1e-3  # a penalty's weight at the end of training that leaves the critic its best answer
_PART = 4096  # rows at a time


class Implicit(Codes):
    """Methods of an estimator with a ``generator_`` and a ``critic_``, above ``AdversarialEstimator``."""

    critic_: nn.Module
    network_: str
    ratio_: LinearRatio | None = None
    packing: int
    instance_noise: float
    validation_fraction: float
    _kept: tuple[np.ndarray, np.ndarray | None] | None = None

    def sample(self, n: int = 1, y: Any = None, given: Any = None, refine: str | None = None, random_state: RandomState = None) -> Any:
        """Draw rows from the generator, in the data's own scale and type.

        Parameters
        ----------
        n : int
            Number of rows.
        y : label, or array of shape (n,), optional
            Of which class the rows are to be, of a model with ``labels=True``; by default (and where it is missing) classes are drawn by
            their shares in the training rows.
        given : array of shape (d,) or (n, d), optional
            Rows whose columns ``condition`` are held fixed, NaN elsewhere; by default these are taken from training rows (of which some
            2,000 conditions are kept with the model), of a model with ``labels=True`` from rows of the class that is drawn.
        refine : {None, "reject", "mh", "sir", "langevin"}
            Whether the critic's ratio refines the samples, and how; see :meth:`refined`, which also says how it went.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
        """
        check_is_fitted(self)
        asked_for(n, self.schema_.width)
        if refine is not None:
            return self.refined(n, refine, y, given, random_state=random_state)[0]
        stream = self._draws(random_state, "sample")
        condition, held = self._condition(n, y, given, stream)
        return self._decoded(self.generator_.sample(n, stream, condition), held, given)

    def refined(
        self, n: int, method: str = "mh", y: Any = None, given: Any = None, *, random_state: RandomState = None, **options: Any
    ) -> tuple[Any, Refined]:
        """Samples that the critic's ratio has refined, and how it went.

        Parameters
        ----------
        n, y, given, random_state
            As in :meth:`sample`.
        method : {"reject", "mh", "sir", "langevin"}
            Rejection (exact while the ratio's bound holds), independence chains, a choice among candidates, or Langevin moves in the noise.
        **options
            Of the function of that name in :mod:`equilibria.inference.refinement` or :mod:`equilibria.inference.langevin`.

        Returns
        -------
        rows : ndarray of shape (n, d), or DataFrame where ``fit`` had one
        report : Refined
            Acceptance, tries, effective sample size, and which rows fell short.

        Raises
        ------
        ValueError
            For another method, or where the payoff's critic does not know the ratio and none was fitted.
        """
        check_is_fitted(self)
        whole("n", n, 1)
        choice("refine", method, tuple(REFINEMENTS))
        stream, reading = self._draws(random_state, "sample"), self._reading()
        condition, held = self._condition(n, y, given, stream)

        def log_weight(z: Tensor, rows: Tensor) -> Tensor:
            parts = self._parts(z, None if condition is None else condition[rows])
            return torch.cat([reading(self._phi(self.critic_, reading, self.generator_(*part), part[1])) for part in parts])

        if method == "langevin":
            options = {"continuous": self.generator_.continuous, "uniform": self.generator_.prior == "uniform", **options}
        with self._frozen():
            report = REFINEMENTS[method](self.generator_.noise, log_weight, n, stream.child(method), **options)
            with torch.no_grad():
                values = torch.cat([self.generator_(*part) for part in self._parts(report.noise, condition)])
        return self._decoded(values, held, given), report

    # ---------------------------------------------------------------- the ratio

    def log_ratio(self, X: Any, y: Any = None) -> np.ndarray:
        """log p_data(x)/p_g(x) of each row in nats, as the critic sees it: above 0 the data have more such rows than the samples.

        It is read off the critic by the payoff's formula, by the formula and a fitted constant, or by a logistic head on the critic's
        features, according to what the payoff's best critic knows; the fitted ones need rows that were not trained on
        (``validation_fraction``, or :meth:`fit_ratio`).

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,), optional
            The labels, of a model whose critic is given them. The ratio is then that of rows with that label, and with a ``condition``
            that of the other columns given these.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            Where the ratio has to be fitted and was not.

        Notes
        -----
        The critic was trained against the generator's raw weights, and samples come from the averaged ones: the formula alone is the
        ratio of the former. What is fitted is fitted to samples as they are. A critic that was not trained to its best, or is sure of its
        training rows alone, gives a ratio that is off; held-out rows show it.
        """
        return self._log_ratio(*self._asked_about(X, y))

    def fit_ratio(self, X: Any, y: Any = None, how: str = "auto") -> Any:
        """Fit what stands between the critic's answer and the ratio, on rows that it was not trained on and as many samples.

        Parameters
        ----------
        X, y
            Held-out rows, and their labels where the critic is given them.
        how : {"auto", "formula", "constant", "scale", "head"}
            The payoff's formula as it is; with a fitted constant; with a fitted constant and factor; a logistic head on the critic's
            features. Auto takes the first of formula, constant and head that is right for the payoff's best critic.

        Returns
        -------
        self
        """
        choice("how", how, ("auto", *HOW))
        self._fit_ratio(*self._asked_about(X, y), how)
        return self

    def jsd(self, X: Any, y: Any = None, random_state: RandomState = None) -> Measure:
        """A lower bound on the Jensen–Shannon divergence of data and samples, in nats (at most log 2), from held-out rows ``X``.

        As many samples are drawn. Rows that the critic or the ratio was trained on make it too large.
        """
        return jensen_shannon(*self._both_ratios(X, y, random_state, "jsd"))

    def calibration(self, X: Any, y: Any = None, random_state: RandomState = None) -> Calibration:
        """Whether the ratio can be taken at its word: D = σ(log ratio) against what share is real, and E_g[ratio] against 1.

        Parameters
        ----------
        X, y
            Held-out rows, 40 or more, and their labels where the critic is given them; as many samples are drawn. Rows that the critic or
            the ratio was trained on make it look better than it is.

        Returns
        -------
        Calibration
            Calibration error beside its floor, Brier score and E_g[ratio] with its effective sample size, as the ratio is and after a
            factor and a constant were fitted on half of the rows: what ``fit_ratio(X, how="scale")`` would do.
        """
        return calibration(*self._both_ratios(X, y, random_state, "calibration"), random_state=self._draws(random_state, "halves"))

    @property
    def score_samples(self) -> Any:
        """Not there: an implicit model has no density."""
        raise AttributeError(
            "a GAN has no density, and so no score_samples; log_ratio(X) says how much more common a row is among the data"
        )

    def _asked_about(self, X: Any, y: Any) -> tuple[Tensor, Tensor | None]:
        """Rows as the critic sees them, with their conditions."""
        check_is_fitted(self)
        rows = self._encode(self._table(X, reset=False)).to(self.device)
        if not self._label_columns:
            self._refuse_labels(y)
        return self._judged(rows, None if y is None else self._asked(y, len(rows)))

    def _both_ratios(self, X: Any, y: Any, random_state: RandomState, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Log-ratios of held-out rows, and of as many samples with their conditions."""
        values, condition = self._asked_about(X, y)
        samples = self.generator_.sample(len(values), self._draws(random_state, name), condition)
        return self._log_ratio(values, condition), self._log_ratio(samples, condition)

    def _log_ratio(self, values: Tensor, condition: Tensor | None) -> np.ndarray:
        reading = self._reading()
        return reading(self._all_phi(reading, values, condition)).cpu().numpy()

    def _reading(self) -> LinearRatio:
        """How the ratio is read; the payoff's formula where that needs no rows."""
        if self.ratio_ is not None:
            return self.ratio_
        if self._how() == "formula":
            return fit_ratio(np.empty((0, 1)), np.empty((0, 1)), "formula")
        raise ValueError(
            f"payoff={self._payoff!r}: this critic gives no ratio as it is (nor under penalties, packing or instance noise); fit one on "
            "held-out rows: fit_ratio(X_held_out), or validation_fraction=0.1 before fit"
        )

    @property
    def _payoff(self) -> str:
        return str(self._set("payoff", self.network_))

    def _how(self) -> str:
        """The reading that is right for the best critic of this game."""
        payoff = find_payoff(self._payoff)
        left = self._fading(self.network_, self.critic_) * max(self._set("penalties", self.network_).values(), default=0.0)
        if payoff.log_ratio is None or left > FADED or self.packing > 1 or self.instance_noise:
            return "head"
        return "constant" if payoff.constant else "formula"

    def _phi(self, critic: Any, reading: LinearRatio, x: Tensor, condition: Tensor | None) -> Tensor:
        """What a reading is linear in, ``(n, k)``."""
        if reading.on_features:
            features: Tensor = critic.features(x, condition)
            return features
        formula = find_payoff(self._payoff).log_ratio
        if formula is None:
            raise ValueError(f"payoff={self._payoff!r} has no formula for the ratio; use how='head'")
        answer = getattr(critic, "of_one", critic)(x, condition).reshape(len(x), -1)
        return formula(answer.logsumexp(1))[:, None]  # of one logit itself; of a semi-supervised critic's classes the logit for "real"

    @torch.no_grad()
    def _all_phi(self, reading: LinearRatio, values: Tensor, condition: Tensor | None) -> Tensor:
        """The same of any number of rows, in float64, so that a row's does not depend on the rows beside it."""
        critic = copy.deepcopy(self.critic_).double().eval()
        parts = self._parts(values.double(), None if condition is None else condition.double())
        return torch.cat([self._phi(critic, reading, *part) for part in parts])

    def _fit_ratio(self, values: Tensor, condition: Tensor | None, how: str) -> None:
        how = self._how() if how == "auto" else how
        samples = self.generator_.sample(len(values), self._draws(None, "ratio"), condition)
        blank = LinearRatio(how, torch.empty(0))
        real, fake = (self._all_phi(blank, x, condition).cpu().numpy() for x in (values, samples))
        self.ratio_ = fit_ratio(real, fake, how)

    # ---------------------------------------------------------------- rows kept apart from training

    def _apart(self, X: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows to train on; those of ``validation_fraction`` are kept for the ratio."""
        self._kept, self.ratio_ = None, None
        number("validation_fraction", self.validation_fraction, 0, 0.9)
        if not self.validation_fraction:
            return X, codes
        count = round(self.validation_fraction * len(X))
        if not 10 <= count < len(X) - 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} keeps back {count} of {len(X)} rows; expected 10 or more, and some left"
            )
        order = self._draws(None, "held-out").permutation(len(X)).numpy()
        kept, rest = np.sort(order[:count]), np.sort(order[count:])
        self._kept = X[kept], None if codes is None else codes[kept]
        return X[rest], None if codes is None else codes[rest]

    def _read_ratio(self) -> None:
        """Fit the ratio on the rows that were kept; they are not needed any more."""
        if self._kept is not None:
            rows, codes = self._kept
            self._fit_ratio(*self._judged(self._encode(rows).to(self.device), codes), "auto")
            self._kept = None

    def _ratio_tensors(self) -> dict[str, Tensor]:
        """For the model file."""
        if self.ratio_ is None:
            return {}
        numbers = torch.cat([self.ratio_.weights, torch.tensor([self.ratio_.bias], dtype=torch.float64)])
        return {"ratio.how": torch.tensor([HOW.index(self.ratio_.how)]), "ratio.weights": numbers}

    def _restore_ratio(self, tensors: dict[str, Tensor]) -> None:
        self.ratio_ = None
        if "ratio.how" in tensors:
            weights = tensors["ratio.weights"]
            self.ratio_ = LinearRatio(HOW[int(tensors["ratio.how"])], weights[:-1].cpu(), float(weights[-1]))

    # ---------------------------------------------------------------- small things

    @staticmethod
    def _parts(x: Tensor, condition: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows with their conditions, some at a time."""
        given = [None] * -(-len(x) // _PART) if condition is None else condition.split(_PART)
        yield from zip(x.split(_PART), given, strict=True)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Within it generator and critic are in evaluation mode and their parameters need no gradient."""
        parameters = [p for module in (self.generator_, self.critic_) for p in module.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            with evaluating(self.generator_), evaluating(self.critic_):
                yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    if TYPE_CHECKING:  # of the estimator that this is mixed into

        @property
        def _label_columns(self) -> int: ...
        def _set(self, name: str, network: str) -> Any: ...
        def _fading(self, network: str, critic: nn.Module) -> float: ...
        def _asked(self, y: Any, n: int) -> np.ndarray: ...
        def _refuse_labels(self, y: Any) -> None: ...
