"""Adversarial networks with scikit-learn's face: `GAN`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from equilibria.data import Batches
from equilibria.estimators.base import GenerativeEstimator
from equilibria.estimators.parameters import choice, number, pair, usable_device, whole, widths, writable_name
from equilibria.games.adversarial import AdversarialGame
from equilibria.games.payoffs import PAYOFFS
from equilibria.models.generator import PRIORS, Generator
from equilibria.networks.mlp import MLP
from equilibria.random import RandomState, Stream
from equilibria.solvers import SOLVERS, Alternating, Rule, Solver
from equilibria.training.stages import Average, Stage

__all__ = ["GAN"]

UNITS = ("auto", "picture", "real")


class GAN(GenerativeEstimator):
    """Generative adversarial network: a generator against a critic, by Algorithm 1 of Goodfellow et al. (2014).

    The critic learns to tell data from samples, the generator to be mistaken for data; with enough capacity the equilibrium is
    p_g = p_data (*Deep Learning*, section 20.10.4).

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers of both networks.
    payoff : {"non-saturating", "minimax", "maximum-likelihood"}
        What each player pays.
    latent_dim : int
        Columns of the noise z.
    prior : {"normal", "uniform", "mixed"}
        Law of the noise; ``"mixed"`` is half normal columns and half fair coins, so that separate modes need no bridge between them.
    solver : {"alternating", "simultaneous"}
        How the players move.
    k : int
        Critic updates for each of the generator's (alternating solver only).
    learning_rate : float
        Adam's rate, of both players.
    critic_rate : float, optional
        The critic's own rate; ``learning_rate`` by default.
    betas : pair of float
        Adam's averaging rates.
    batch_size : int
        Rows in a batch (all rows, where there are fewer).
    steps : int
        Rounds.
    average : float
        Decay of the generator's averaged weights, which samples come from; 0 turns averaging off.
    units : {"auto", "picture", "real"}
        Pictures have a known range, mapped to [−1, 1] behind a tanh; real numbers are standardised. Auto takes pictures where
        ``value_range`` or ``picture_shape`` is given.
    value_range, picture_shape, verbose, random_state, device, out, overwrite
        As in :class:`~equilibria.RBM`.

    Attributes
    ----------
    generator_ : Generator
        The sampler, averaged where averaging is on.
    critic_ : nn.Module
        Its logit estimates log p_data/p_g.
    schema_, history_, health_
        As in :class:`~equilibria.RBM`.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import GAN
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> GAN(hidden=(16,), latent_dim=2, steps=20, random_state=0).fit(X).sample(5).shape
    (5, 2)
    """

    model_name = "gan"

    generator_: Generator
    critic_: nn.Module

    def __init__(
        self,
        hidden: Sequence[int] = (256, 256),
        *,
        payoff: str = "non-saturating",
        latent_dim: int = 32,
        prior: str = "normal",
        solver: str = "alternating",
        k: int = 1,
        learning_rate: float = 1e-3,
        critic_rate: float | None = None,
        betas: tuple[float, float] = (0.5, 0.999),
        batch_size: int = 100,
        steps: int = 20000,
        average: float = 0.999,
        units: str = "auto",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.hidden = hidden
        self.payoff = payoff
        self.latent_dim = latent_dim
        self.prior = prior
        self.solver = solver
        self.k = k
        self.learning_rate = learning_rate
        self.critic_rate = critic_rate
        self.betas = betas
        self.batch_size = batch_size
        self.steps = steps
        self.average = average
        self.units = units
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.verbose = verbose
        self.random_state = random_state
        self.device = device
        self.out = out
        self.overwrite = overwrite

    def sample(self, n: int = 1, y: Any = None, random_state: RandomState = None) -> np.ndarray:
        """Draw rows from the generator, in the data's own scale and type.

        Parameters
        ----------
        n : int
            Number of rows.
        y : None
            Labels to condition on; this model takes none.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        whole("n", n, 1)
        if y is not None:
            raise ValueError(f"y={y!r}: this GAN is not conditional; leave y out")
        return self._framed(self.schema_.decode(self.generator_.sample(n, self._draws(random_state, "sample"))))

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        widths("hidden", self.hidden, "the widths of the hidden layers, such as (256, 256)")
        for name in ("latent_dim", "k", "batch_size", "steps"):
            whole(name, getattr(self, name), 1)
        number("learning_rate", self.learning_rate, 0, open_low=True)
        if self.critic_rate is not None:
            number("critic_rate", self.critic_rate, 0, open_low=True)
        number("average", self.average, 0, 0.999999)
        choice("payoff", self.payoff, tuple(PAYOFFS))
        choice("prior", self.prior, PRIORS)
        choice("solver", self.solver, tuple(SOLVERS))
        choice("units", self.units, UNITS)
        usable_device(self.device)
        writable_name("out", self.out)
        self._rules()

    def _schema_kind(self) -> str:
        if self.units != "auto":
            return self.units
        return "picture" if self.value_range is not None or self.picture_shape is not None else "real"

    def _rules(self) -> dict[str, Rule]:
        betas = pair("betas", self.betas)
        critic = self.learning_rate if self.critic_rate is None else self.critic_rate
        return {"critic": Rule("adam", critic, betas=betas), "generator": Rule("adam", self.learning_rate, betas=betas)}

    def _solver(self) -> Solver:
        return Alternating(self._rules(), k=self.k) if self.solver == "alternating" else SOLVERS[self.solver](self._rules())

    def _networks(self) -> tuple[Generator, nn.Module]:
        size, widths, stream = self.schema_.size, [int(h) for h in self.hidden], self._stream().child("weights")
        output = "tanh" if self.schema_.kind == "picture" else None
        network = MLP([self.latent_dim, *widths, size], output=output, stream=stream.child("generator"))
        critic = MLP([size, *reversed(widths), 1], activation="leaky_relu", stream=stream.child("critic"))
        return Generator(network, self.latent_dim, self.prior).to(self.device), critic.to(self.device)

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        self.generator_, self.critic_ = self._networks()
        game = AdversarialGame(self.generator_, self.critic_, self.payoff)
        size = min(self.batch_size, len(X))
        batches = Batches(X, size, self._stream().child("data"), encode=self.schema_.encode, shard=(rank, world), device=self.device)
        average = Average(self.generator_, self.average) if self.average else None
        return [Stage("play", game, self._solver(), batches, self.steps, pictures=self._portraits(average), average=average)]

    def _portraits(self, average: Average | None) -> Callable[[Stream], np.ndarray] | None:
        """Sample pictures, or nothing where rows are no pictures; the same noise each time, so that the eye can follow."""
        if self.schema_.shape is None:
            return None
        noise = self.generator_.noise(64, self._stream().child("portraits"))

        def pictures(stream: Stream) -> np.ndarray:
            with torch.no_grad():
                parameters: dict[str, Tensor] = dict(self.generator_.named_parameters()) if average is None else average.values
                return self._pictures(torch.func.functional_call(self.generator_, parameters, (noise,)))

        return pictures

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        """Nothing is left to work out."""

    # ---------------------------------------------------------------- the model file

    def _tensors(self) -> dict[str, Tensor]:
        players = {"generator": self.generator_, "critic": self.critic_}
        return {f"{player}.{name}": value for player, module in players.items() for name, value in module.state_dict().items()}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.generator_, self.critic_ = self._networks()
        for player, module in (("generator", self.generator_), ("critic", self.critic_)):
            module.load_state_dict({k.removeprefix(f"{player}."): v for k, v in tensors.items() if k.startswith(f"{player}.")})
