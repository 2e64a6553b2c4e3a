"""What a trained critic and generator can be asked beside samples: the ratio of the densities, and better samples by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from equilibria.estimate import Estimate
from equilibria.estimators.codes import Codes
from equilibria.estimators.parameters import choice, number, whole
from equilibria.games.payoffs import find_payoff
from equilibria.inference.density_ratio import HOW, LinearRatio, fit_ratio, jensen_shannon
from equilibria.inference.langevin import langevin
from equilibria.inference.refinement import Refined, metropolis_hastings, reject, sir
from equilibria.models.generator import evaluating
from equilibria.random import RandomState

__all__ = ["REFINEMENTS", "Implicit"]

REFINEMENTS: Mapping[str, Callable[..., Refined]] = {"reject": reject, "mh": metropolis_hastings, "sir": sir, "langevin": langevin}
"""Name → how draws of the noise are refined by the ratio."""

_PART = 4096  # rows at a time


class Implicit(Codes):
    """Methods of an estimator with a ``generator_`` and a ``critic_``, above :class:`~equilibria.estimators.base.GenerativeEstimator`.

    Where the generator has a condition, a subclass overrides ``_condition`` (what the user gave) and ``_condition_of`` (codes of labels).
    """

    critic_: nn.Module
    ratio_: LinearRatio | None = None
    payoff: str
    validation_fraction: float
    _kept: tuple[np.ndarray, np.ndarray | None] | None = None

    def sample(self, n: int = 1, y: Any = None, given: Any = None, refine: str | None = None, random_state: RandomState = None) -> Any:
        """Draw rows from the generator, in the data's own scale and type.

        Parameters
        ----------
        n : int
            Number of rows.
        y, given : optional
            Labels, or rows, that a conditional model is given.
        refine : {None, "reject", "mh", "sir", "langevin"}
            Whether the critic's ratio refines them, and how; see :meth:`refined`, which also says how it went.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        whole("n", n, 1)
        if refine is not None:
            return self.refined(n, refine, y, given, random_state=random_state)[0]
        condition = self._condition(n, y, given)
        return self._framed(self.schema_.decode(self.generator_.sample(n, self._draws(random_state, "sample"), condition)))

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
        rows : ndarray of shape (n, d)
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
        condition, noise = self._condition(n, y, given), self.generator_.noise
        reading = self._reading()

        def log_weight(z: Tensor, rows: Tensor) -> Tensor:
            parts = self._parts(z, None if condition is None else condition[rows])
            return torch.cat([reading(self._phi(reading, self.generator_(*part), part[1])) for part in parts])

        if method == "langevin":
            options = {"continuous": self.generator_.continuous, "uniform": self.generator_.prior == "uniform", **options}
        with self._frozen():
            report = REFINEMENTS[method](noise, log_weight, n, self._draws(random_state, "refine").child(method), **options)
            with torch.no_grad():
                values = torch.cat([self.generator_(*part) for part in self._parts(report.noise, condition)])
        return self._framed(self.schema_.decode(values)), report

    # ---------------------------------------------------------------- the ratio

    def log_ratio(self, X: Any, y: Any = None, given: Any = None) -> np.ndarray:
        """log p_data(x)/p_g(x) of each row in nats, as the critic sees it: above 0 the data have more such rows than the samples.

        It is read off the critic by the payoff's formula, by the formula and a fitted constant, or by a logistic head on the critic's
        features, according to what the payoff's best critic knows; the fitted ones need rows that were not trained on
        (``validation_fraction``, or :meth:`fit_ratio`).

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
        training rows alone, gives a ratio that is off; :meth:`calibration` shows it on held-out rows.
        """
        check_is_fitted(self)
        values = self._encode(self._table(X, reset=False)).to(self.device)
        return self._log_ratio(values, self._condition(len(values), y, given))

    def fit_ratio(self, X: Any, y: Any = None, given: Any = None, how: str = "auto") -> Any:
        """Fit what stands between the critic's answer and the ratio, on rows that it was not trained on and as many samples.

        Parameters
        ----------
        X, y, given
            Held-out rows, and what they are conditioned on.
        how : {"auto", "formula", "constant", "scale", "head"}
            The payoff's formula as it is; with a fitted constant; with a fitted constant and factor; a logistic head on the critic's
            features. Auto takes the first of formula, constant and head that is right for the payoff's best critic.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        choice("how", how, ("auto", *HOW))
        values = self._encode(self._table(X, reset=False)).to(self.device)
        self._fit_ratio(values, self._condition(len(values), y, given), how)
        return self

    def jsd(self, X: Any, y: Any = None, given: Any = None, random_state: RandomState = None) -> Estimate:
        """A lower bound on the Jensen–Shannon divergence of data and samples, in nats (at most log 2), from held-out rows ``X``.

        As many samples are drawn. Rows that the critic or the ratio was trained on make it too large.
        """
        check_is_fitted(self)
        values = self._encode(self._table(X, reset=False)).to(self.device)
        condition = self._condition(len(values), y, given)
        samples = self.generator_.sample(len(values), self._draws(random_state, "jsd"), condition)
        return jensen_shannon(self._log_ratio(values, condition), self._log_ratio(samples, condition))

    @property
    def score_samples(self) -> Any:
        """Not there: an implicit model has no density."""
        name = type(self).__name__
        raise AttributeError(
            f"a {name} has no density, and so no score_samples; log_ratio(X) says how much more common a row is among the data"
        )

    def _log_ratio(self, values: Tensor, condition: Tensor | None) -> np.ndarray:
        reading = self._reading()
        with torch.no_grad(), self._frozen():
            return torch.cat([reading(self._phi(reading, *part)) for part in self._parts(values, condition)]).cpu().numpy()

    def _reading(self) -> LinearRatio:
        """How the ratio is read; the payoff's formula where that needs no rows."""
        if self.ratio_ is not None:
            return self.ratio_
        if self._how() == "formula":
            return fit_ratio(np.empty((0, 1)), np.empty((0, 1)), "formula")
        raise ValueError(
            f"payoff={self.payoff!r}: this critic gives no ratio as it is (nor under penalties, packing or instance noise); fit one on "
            "held-out rows: fit_ratio(X_held_out), or validation_fraction=0.1 before fit"
        )

    def _how(self) -> str:
        """The reading that is right for the best critic of this game."""
        payoff = find_payoff(self.payoff)
        altered = getattr(self, "penalties", None) or getattr(self, "packing", 1) > 1 or getattr(self, "instance_noise", 0.0)
        if payoff.log_ratio is None or altered:
            return "head"
        return "constant" if payoff.constant else "formula"

    def _phi(self, reading: LinearRatio, x: Tensor, condition: Tensor | None) -> Tensor:
        """What a reading is linear in, ``(n, k)``."""
        critic: Any = self.critic_
        if reading.on_features:
            features: Tensor = critic.features(x, condition)
            return features
        formula = find_payoff(self.payoff).log_ratio
        if formula is None:
            raise ValueError(f"payoff={self.payoff!r} has no formula for the ratio; use how='head'")
        answer = getattr(critic, "of_one", critic)(x, condition).reshape(len(x), -1)
        return formula(answer.logsumexp(1))[:, None]  # of one logit itself; of a semi-supervised critic's classes the logit for "real"

    def _fit_ratio(self, values: Tensor, condition: Tensor | None, how: str) -> None:
        how = self._how() if how == "auto" else how
        samples = self.generator_.sample(len(values), self._draws(None, "ratio"), condition)
        blank = LinearRatio(how, torch.empty(0))
        with torch.no_grad(), self._frozen():
            phi = [torch.cat([self._phi(blank, *part) for part in self._parts(x, condition)]).cpu().numpy() for x in (values, samples)]
        self.ratio_ = fit_ratio(phi[0], phi[1], how)

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
            self._fit_ratio(self._encode(rows).to(self.device), self._condition_of(codes), "auto")
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

    def _condition(self, rows: int, y: Any, given: Any) -> Tensor | None:
        """What generator and critic are conditioned on, a row for each; this model takes nothing."""
        for name, value in (("y", y), ("given", given)):
            if value is not None:
                raise ValueError(f"{name}={value!r}: this {type(self).__name__} is not conditional; leave {name} out")
        return None

    def _condition_of(self, codes: np.ndarray | None) -> Tensor | None:
        """The condition of rows with these label codes."""
        return None

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
