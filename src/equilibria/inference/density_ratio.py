r"""Reading log p_data/p_g off a critic: what stands between its answer and the ratio, fitted on rows that it was not trained on.

Every reading is linear, log r(x) = w · φ(x) + b, where φ is either the payoff's own formula of the logit or what the critic's last layer
sees:

========  =========================  ==================================================================
how       φ                          w and b
========  =========================  ==================================================================
formula   the formula of the logit   1 and 0: right for the best critic of a payoff that has a formula
constant  the same                   1 and fitted: for a payoff whose logit is right up to a constant
scale     the same                   both fitted (Platt 1999): for a critic that is over- or underconfident
head      the features               both fitted: for any critic
========  =========================  ==================================================================

All fits are logistic regressions of real against generated with as many rows of each, whose best log-odds are log p_data/p_g.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from equilibria.inference.ratio import pair_of

__all__ = ["HOW", "LinearRatio", "fit_ratio"]

HOW = ("formula", "constant", "scale", "head")

_WEAK = 1e6  # 1/λ of the penalty on two parameters: none but where real and generated rows are apart, and no finite ones are best


@dataclasses.dataclass(frozen=True, eq=False)
class LinearRatio:
    """log r = φ · weights + bias.

    Attributes
    ----------
    how : str
        A row of the table above.
    weights : Tensor, shape (k,), float64
    bias : float
    """

    how: str
    weights: Tensor
    bias: float = 0.0

    @property
    def on_features(self) -> bool:
        """Whether φ is what the last layer sees, rather than the formula of the logit."""
        return self.how == "head"

    def __call__(self, phi: Tensor) -> Tensor:
        """log r ``(n,)`` from φ ``(n, k)``, in float64 and differentiable in φ."""
        return phi.double() @ self.weights.to(phi.device) + self.bias


def fit_ratio(real: np.ndarray, fake: np.ndarray, how: str, strength: float = 1.0) -> LinearRatio:
    """A reading from φ of real rows and of as many samples.

    Parameters
    ----------
    real, fake : ndarray, shape (n, k)
        k = 1 but for ``"head"``.
    how : str
        ``"constant"``, ``"scale"`` or ``"head"``; ``"formula"`` needs no rows.
    strength : float
        Of ``"head"``: 1/λ of the penalty on the weights of the standardised features.

    Raises
    ------
    ValueError
        For another ``how``, unequal numbers of rows, fewer than 10 of each, or φ that is not finite.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(2, 4000, 1))
    >>> reading = fit_ratio(draws[0] + 1, draws[1], "scale")  # N(1, 1) against N(0, 1): log r = x − ½
    >>> [round(number, 1) for number in (*reading.weights.tolist(), reading.bias)]
    [1.0, -0.5]
    """
    if how not in HOW:
        raise ValueError(f"how={how!r}: expected one of {', '.join(HOW)}")
    if how == "formula":
        return LinearRatio(how, torch.ones(1, dtype=torch.float64))
    if len(real) != len(fake) or len(real) < 10:
        raise ValueError(f"real and fake have {len(real)} and {len(fake)} rows: expected as many of each, and 10 or more")
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise ValueError("the critic's answers are not finite; train it again with a penalty or a lower rate")
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    if how == "constant":
        return LinearRatio(how, torch.ones(1, dtype=torch.float64), -pair_of(fake.T, real.T).difference.value)
    weights, bias = _logistic(real, fake, strength if how == "head" else _WEAK)
    return LinearRatio(how, torch.from_numpy(weights), bias)


def _logistic(real: np.ndarray, fake: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic regression on standardised columns, in the columns' own units."""
    table = np.concatenate([real, fake])
    mean, std = table.mean(0), table.std(0)
    std[std < 1e-12] = 1.0
    model = LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
    model.fit((table - mean) / std, np.repeat([1, 0], len(real)))
    weights = model.coef_[0] / std
    return weights, float(model.intercept_[0] - mean @ weights)
