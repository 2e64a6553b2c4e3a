"""What a trained critic can be asked: the ratio of the densities, and better samples by it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.check import choice
from equilibria.estimators.estimator import settled
from equilibria.evaluation.calibration import Calibration, calibration, jensen_shannon
from equilibria.games.payoffs import find_payoff
from equilibria.inference.langevin import langevin
from equilibria.inference.ratio import HOW, LinearRatio, fit_ratio
from equilibria.inference.refine import Refined, metropolis_hastings, reject, sir
from equilibria.models.adversarial import Adversarial
from equilibria.models.generator import evaluating
from equilibria.networks.normalisation import batch_norms
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream
from equilibria.solvers.solver import frozen

__all__ = ["REFINEMENTS", "Critic", "parts", "still"]

REFINEMENTS: Mapping[str, Callable[..., Refined]] = {
    "reject": reject,
    "mh": metropolis_hastings,
    "sir": sir,
    "langevin": langevin,
}
"""Name → how draws of the noise are refined by the ratio."""
ANNEALED = 1e-3  # a penalty's weight at the end of training that leaves the critic its best answer
_PART = 4096  # rows at a time

Judged = tuple[Tensor, Tensor | None]


class Critic:
    """The critic of a fitted GAN: log p_data/p_g of rows in the data's own scale.

    The ratio is read off the critic by the loss's formula, by the formula and a fitted constant, or
    by a logistic head on the critic's features, according to what the loss's best critic knows. The
    fitted ones need rows that were not trained on (``validation_fraction``, or :meth:`fit_ratio`);
    they are fitted to samples as they are, of the averaged generator, while the formula alone is
    the ratio of the raw one. A critic that was not trained to its best, or is sure of its training
    rows alone, gives a ratio that is off; held-out rows show it.

    ``how`` are all parameters of the training, presets filled in; ``judged`` is (X, y) → encoded
    rows as the critic sees them, and their conditions; ``stream`` is the model's seed.
    """

    def __init__(self, model: Adversarial, how: Any, judged: Callable[..., Judged], stream: Stream):
        self.model, self.how, self.judged, self.stream = model, how, judged, stream

    @property
    def network(self) -> nn.Module:
        """The critic itself."""
        return self.model.critic

    @property
    def ratio(self) -> LinearRatio | None:
        """How log p_data/p_g is read off the critic, where that was fitted."""
        kept: Any = self.model.ratio
        if not len(kept.how):
            return None
        return LinearRatio(HOW[int(kept.how)], kept.weights[:-1].cpu(), float(kept.weights[-1]))

    @settled()
    def log_ratio(self, X: Any, y: Any = None) -> np.ndarray:
        """log p_data(x)/p_g(x) of each row in nats, (n,): above 0 the data have more such rows.

        With ``y``, the labels, of a model whose critic is given them, it is the ratio of rows with
        that label, and with a ``condition`` that of the other columns given these.
        """
        return self._log_ratio(self.judged(X, y))

    @settled()
    def fit_ratio(self, X: Any, y: Any = None, how: str = "auto") -> Critic:
        """Fit what stands between the critic's answer and the ratio, on rows it was not trained on.

        As many samples are drawn. ``how`` is {"auto", "formula", "constant", "scale", "head"}: the
        loss's formula as it is; with a fitted constant; with a constant and a factor; a logistic
        head on the critic's features. Auto takes the first of formula, constant and head that is
        right for the loss's best critic.
        """
        how = choice("auto", *HOW)("how", how)
        rows = self.judged(X, y)
        blank = LinearRatio(self.best_reading if how == "auto" else how, torch.empty(0))
        samples = self._as_many(rows, self.stream.child("ratio"))
        real, fake = (self._phi_of(blank, part).cpu().numpy() for part in (rows, samples))
        found, kept = fit_ratio(real, fake, blank.how), self.model.ratio
        numbers = torch.cat([found.weights, torch.tensor([found.bias], dtype=torch.float64)])
        kept.how = torch.tensor([HOW.index(found.how)], device=self.model.device)
        kept.weights = numbers.to(self.model.device)
        return self

    @settled()
    def jsd(self, X: Any, y: Any = None, random_state: RandomState = None) -> Measure:
        """A lower bound on the Jensen–Shannon divergence of data and samples, in nats (≤ log 2).

        ``X`` are held-out rows, and as many samples are drawn. Rows that the critic or the ratio
        was trained on make it too large.
        """
        return jensen_shannon(*self._both(X, y, self._draws(random_state, "jsd")))

    @settled()
    def calibration(self, X: Any, y: Any = None, random_state: RandomState = None) -> Calibration:
        """Whether D = σ(log ratio) is the share of real rows, and E_g[ratio] is 1.

        As the ratio is, and after what ``fit_ratio(X, how="scale")`` would do. ``X`` are 40 or more
        held-out rows, and as many samples are drawn. Rows that the critic or the ratio was trained
        on make it look better.
        """
        ratios = self._both(X, y, self._draws(random_state, "calibration"))
        return calibration(*ratios, random_state=self._draws(random_state, "halves"))

    @settled()
    def features(self, X: Any, y: Any = None) -> np.ndarray:
        """What the critic's last layer sees of each row, (n, width)."""
        return self._phi_of(LinearRatio("head", torch.empty(0)), self.judged(X, y)).cpu().numpy()

    @settled()
    def refined(
        self, n: int, method: str, given: Tensor | None, stream: Stream, **options: Any
    ) -> tuple[Tensor, Refined]:
        """Encoded rows that the ratio has refined, and how it went; ``given`` as the model's."""
        reading, generator = self._reading(), self.model.generator
        condition, held = self.model.condition(n, given, stream)

        def log_weight(z: Tensor, rows: Tensor) -> Tensor:
            some = parts(z, None if condition is None else condition[rows])
            phi = (self._phi(self.network, reading, generator(*one), one[1]) for one in some)
            return torch.cat([reading(one) for one in phi])

        if method == "langevin":
            uniform = generator.prior == "uniform"
            options = {"continuous": generator.continuous, "uniform": uniform, **options}
        stream = stream.child(method)
        with still(generator, self.network):
            report = REFINEMENTS[method](generator.noise, log_weight, n, stream, **options)
            with torch.no_grad():
                drawn = torch.cat([generator(*one) for one in parts(report.noise, condition)])
        return self.model.given.joined(drawn, held), report

    # ------------------------------------------------------------ how the ratio is read

    @property
    def best_reading(self) -> str:
        """The reading that is right for the best critic of this game."""
        payoff, how = find_payoff(self.how.loss), self.how
        left = how.annealing * max(how.penalties.values(), default=0.0)
        biased = left > ANNEALED or how.packing > 1 or how.instance_noise
        # with batch norm it judged a row by those beside it; runs of 0.1.0 did not mind
        biased = biased or (how.dense is not None and bool(batch_norms(self.network)))
        if payoff.log_ratio is None or biased:
            return "head"
        return "constant" if payoff.constant else "formula"

    def _reading(self) -> LinearRatio:
        """What was fitted; the loss's formula where that needs no rows."""
        if self.ratio is not None:
            return self.ratio
        if self.best_reading == "formula":
            return fit_ratio(np.empty((0, 1)), np.empty((0, 1)), "formula")
        raise ValueError(
            f"loss={self.how.loss!r}: this critic gives no ratio as it is (nor under penalties, "
            "packing, batch norm or instance noise); fit one on held-out rows: "
            "critic_.fit_ratio(X_held_out), or validation_fraction=0.1 before fit"
        )

    def _phi(
        self, critic: Any, reading: LinearRatio, x: Tensor, condition: Tensor | None
    ) -> Tensor:
        """What a reading is linear in, ``(n, k)``."""
        if reading.on_features:
            return critic.features(x, condition)
        formula = find_payoff(self.how.loss).log_ratio
        if formula is None:
            raise ValueError(f"loss={self.how.loss!r} has no formula for the ratio; use how='head'")
        answer = getattr(critic, "of_one", critic)(x, condition).reshape(len(x), -1)
        # of one logit itself; of a semi-supervised critic's classes the logit for "real"
        return formula(answer.logsumexp(1))[:, None]

    @torch.no_grad()
    def _phi_of(self, reading: LinearRatio, rows: Judged) -> Tensor:
        """The same of any number of rows, in float64: a row's does not depend on those beside
        it."""
        critic = copy.deepcopy(self.network).double().eval()
        some = parts(rows[0].double(), None if rows[1] is None else rows[1].double())
        return torch.cat([self._phi(critic, reading, *part) for part in some])

    def _log_ratio(self, rows: Judged) -> np.ndarray:
        reading = self._reading()
        return reading(self._phi_of(reading, rows)).cpu().numpy()

    def _as_many(self, rows: Judged, stream: Stream) -> Judged:
        return self.model.generator.sample(len(rows[0]), stream, rows[1]), rows[1]

    def _both(self, X: Any, y: Any, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """Log-ratios of held-out rows, and of as many samples with their conditions."""
        rows = self.judged(X, y)
        return self._log_ratio(rows), self._log_ratio(self._as_many(rows, stream))

    def _draws(self, random_state: RandomState, name: str) -> Stream:
        return (self.stream if random_state is None else as_stream(random_state)).child(name)


def parts(x: Tensor, condition: Tensor | None) -> Iterator[Judged]:
    """Rows with their conditions, some at a time."""
    given = [None] * -(-len(x) // _PART) if condition is None else condition.split(_PART)
    yield from zip(x.split(_PART), given, strict=True)


@contextmanager
def still(*modules: nn.Module) -> Iterator[None]:
    """Within it these are in evaluation mode and their parameters need no gradient."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    with frozen(trained), evaluating(nn.ModuleList(modules)):
        yield
