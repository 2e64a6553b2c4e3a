r"""The density ratio p_data/p_g from a critic's answers, calibrated on rows that it was not trained
on.

Every reading is linear, log r(x) = w · φ(x) + b, where φ is either the payoff's own formula of the
logit or the features before the critic's last layer:

========  ======================  ==================================================================
how       φ                       w and b
========  ======================  ==================================================================
formula   the formula             1 and 0: right for the best critic of a payoff that has a formula
constant  the formula             1 and fitted: for a payoff whose logit is right up to a constant
scale     the formula             both fitted (Platt 1999): for an over- or underconfident critic
head      the features            both fitted: for any critic
========  ======================  ==================================================================

All fits are logistic regressions of real against generated rows, as many of each: the best log-odds
are log p_data/p_g.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy import optimize, special
from torch import Tensor

from equilibria.check import choice

__all__ = ["HOW", "LinearRatio", "fit_ratio"]

HOW = ("formula", "constant", "scale", "head")


@dataclasses.dataclass(frozen=True, eq=False)
class LinearRatio:
    """log r = φ · weights + bias; ``how`` is a row of the table, ``weights`` (k,) float64."""

    how: str
    weights: Tensor
    bias: float = 0.0

    @property
    def on_features(self) -> bool:
        """Whether φ are the features, rather than the formula of the logit."""
        return self.how == "head"

    def __call__(self, phi: Tensor) -> Tensor:
        """log r ``(n,)`` from φ ``(n, k)``, in float64 and differentiable in φ."""
        return phi.double() @ self.weights.to(phi.device) + self.bias


def fit_ratio(real: np.ndarray, fake: np.ndarray, how: str) -> LinearRatio:
    """A reading from φ of real rows and of as many samples, ten or more of each, (n, k).

    k is 1 but for "head", whose weights of standardised features have a unit penalty.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(2, 4000, 1))
    >>> reading = fit_ratio(draws[0] + 1, draws[1], "scale")  # N(1, 1), N(0, 1): log r = x − ½
    >>> [round(number, 1) for number in (*reading.weights.tolist(), reading.bias)]
    [1.0, -0.5]
    """
    choice(*HOW)("how", how)
    one = torch.ones(1, dtype=torch.float64)
    if how == "formula":
        return LinearRatio(how, one)
    if len(real) != len(fake) or len(real) < 10:
        counts = f"{len(real)} and {len(fake)} rows"
        raise ValueError(f"real and fake have {counts}: expected as many of each, and 10 or more")
    table = np.concatenate([real, fake]).astype(np.float64)
    if not np.isfinite(table).all():
        cure = "train it again with a penalty or a lower rate"
        raise ValueError(f"the critic's answers are not finite; {cure}")
    if how == "constant":
        up, down = table[: len(real)], table[len(real) :]
        ends = table.min() - 40.0, table.max() + 40.0

        def excess(b: float) -> float:  # of samples taken for rows over rows taken for samples
            return float(special.expit(down - b).sum() - special.expit(b - up).sum())

        root = optimize.brentq(excess, *ends, xtol=1e-12, rtol=1e-14)
        return LinearRatio(how, one, -float(root))
    mean, std = table.mean(0), table.std(0)
    std[std < 1e-12] = 1.0
    strength = 1.0 if how == "head" else 1e6  # it decides only where real and generated are apart
    # without a seed numpy's own generator would be asked
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=2000, tol=1e-8, random_state=0)
    model.fit((table - mean) / std, np.repeat([1, 0], len(real)))
    weights = model.coef_[0] / std
    return LinearRatio(how, torch.from_numpy(weights), float(model.intercept_[0] - mean @ weights))
