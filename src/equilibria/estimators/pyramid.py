"""A Laplacian pyramid of adversarial networks with scikit-learn's face: `LAPGAN`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from equilibria.data import Batch, Schema
from equilibria.estimators.families import SMALLEST, Family, Players
from equilibria.estimators.parameters import asked_for, whole
from equilibria.estimators.players import PORTRAITS, AdversarialEstimator, View
from equilibria.models.generator import Generator
from equilibria.models.pyramid import DetailCritic, DetailNetwork, LaplacianPyramid, PyramidGenerator
from equilibria.networks.pictures import halvings
from equilibria.random import RandomState, Stream
from equilibria.training.stage import Stage

__all__ = ["LAPGAN"]

LEVELS = {"dcgan": Family(1e-3, "relativistic", {"r1": 1.0, "r2": 1.0}, schedule="linear")}
"""Rows in place of those of FAMILIES: a critic of details that is slower than its generator stops telling them apart."""


class LAPGAN(AdversarialEstimator):
    """Laplacian pyramid of adversarial networks (Denton et al. 2015): a small picture, then what each doubling lacks.

    The coarsest level is a GAN of small pictures. Each finer level is a conditional GAN of the details that the doubled picture
    lacks, given that picture; levels are trained one by one, on data, and sampled coarse to fine.

    Parameters
    ----------
    hidden : sequence of int, optional
        Widths of the hidden layers of multilayer perceptrons, by default those of a :class:`~equilibria.GAN` of the whole pictures.
    levels : int, optional
        How often pictures are halved: by default as long as both sides are even and the shorter one is above 8, but at least once.
    network : {"auto", "mlp", "dcgan", "residual"}
        What the players of each level are made of. Auto takes deep convolutional networks for levels of at least 16 pixels a side, which
        can be halved, else perceptrons.
    steps : int, optional
        Rounds of each level.
    channels, normalisation, payoff, penalties, fade, bandwidth, packing, instance_noise, missing_label
        As in :class:`~equilibria.GAN`.
    learning_rate : float, optional
        Adam's rate of the generators; by default .0002 for residual networks, else .001.
    critic_rate : float, optional
        The critics' rate; by default ``learning_rate``, three times it where ``bandwidth`` gives a critic waves.
    schedule : {None, "constant", "linear", "cosine"}
        How both rates fall to zero; by default not at all for residual networks, else linearly.
    latent_dim, prior, solver, k, betas, batch_size, average, precision
        As in :class:`~equilibria.GAN`.
    labels : bool
        Whether y is learnt too: every level's generator draws pictures of a given class, and its critic knows the class.
    value_range : (low, high), optional
        Range of the data's values, for instance (0, 255); by default that of the data.
    picture_shape : tuple of int, optional
        (height, width), or (height, width, 3) for colours; both even. Needed, since rows are flattened pictures.
    verbose, random_state, device, out, overwrite
        As in :class:`~equilibria.RBM`.

    Attributes
    ----------
    generator_ : PyramidGenerator
        The sampler.
    critics_ : nn.ModuleList
        Of each level, the coarsest first.
    pyramid_ : LaplacianPyramid
    classes_ : ndarray
        With ``labels``, the classes in sorted order.
    schema_, history_, health_
        As in :class:`~equilibria.RBM`.

    References
    ----------
    Denton, Chintala, Szlam & Fergus 2015, "Deep generative image models using a Laplacian pyramid of adversarial networks".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import LAPGAN
    >>> X = np.random.RandomState(0).uniform(size=(50, 64))
    >>> model = LAPGAN((16,), channels=4, picture_shape=(8, 8), latent_dim=4, steps=3, random_state=0).fit(X)
    >>> sorted({row["stage"] for row in model.history_}), model.sample(5).shape
    (['4x4', '8x8'], (5, 64))
    """

    model_name = "lapgan"

    generator_: PyramidGenerator
    critics_: nn.ModuleList
    pyramid_: LaplacianPyramid
    networks_: list[str]

    units = "picture"
    semi_supervised = False

    def __init__(
        self,
        hidden: Sequence[int] | None = None,
        *,
        levels: int | None = None,
        network: str = "auto",
        channels: int = 64,
        normalisation: str | None = "generator",
        payoff: str | None = None,
        penalties: Mapping[str, float] | None = None,
        packing: int = 1,
        instance_noise: float = 0.0,
        labels: bool = False,
        missing_label: int | float | str | None = None,
        fade: float | None = None,
        bandwidth: float | None = None,
        latent_dim: int | None = None,
        prior: str | None = None,
        solver: str = "alternating",
        k: int = 1,
        learning_rate: float | None = None,
        critic_rate: float | None = None,
        schedule: str | None = None,
        betas: tuple[float, float] | None = None,
        batch_size: int | None = None,
        steps: int | None = None,
        average: float | None = None,
        precision: str = "float32",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.hidden = hidden
        self.levels = levels
        self.network = network
        self.channels = channels
        self.normalisation = normalisation
        self.payoff = payoff
        self.penalties = penalties
        self.packing = packing
        self.instance_noise = instance_noise
        self.labels = labels
        self.missing_label = missing_label
        self.fade = fade
        self.bandwidth = bandwidth
        self.latent_dim = latent_dim
        self.prior = prior
        self.solver = solver
        self.k = k
        self.learning_rate = learning_rate
        self.critic_rate = critic_rate
        self.schedule = schedule
        self.betas = betas
        self.batch_size = batch_size
        self.steps = steps
        self.average = average
        self.precision = precision
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.verbose = verbose
        self.random_state = random_state
        self.device = device
        self.out = out
        self.overwrite = overwrite

    def sample(self, n: int = 1, y: Any = None, random_state: RandomState = None) -> Any:
        """Draw pictures, coarse to fine, in the data's own scale and type.

        Parameters
        ----------
        n : int
            Number of rows.
        y : label, or array of shape (n,), optional
            Of which class the pictures are to be, of a model with ``labels=True``; by default (and where it is missing) classes are
            drawn by their shares in the training rows.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one
        """
        check_is_fitted(self)
        asked_for(n, self.n_features_in_)
        stream = self._draws(random_state, "sample")
        drawn = self.generator_.sample(n, stream, self._class_condition(n, y, stream))
        return self._framed(self.schema_.decode(drawn.cpu()))

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        super()._validate()
        if self.levels is not None:
            whole("levels", self.levels, 1)

    def _infer(self, X: np.ndarray) -> Schema:
        if self.picture_shape is None:  # asked here and not of the parameters alone: a folder of pictures brings its shape with it
            raise ValueError("picture_shape=None: a pyramid is of pictures; give (height, width), or (height, width, 3) for colours")
        return super()._infer(X)

    def _family(self, network: str) -> Family:
        own = LEVELS.get(network)
        return super()._family(network) if own is None or network in self._families else own

    def _players(self, level: int) -> Players:
        shape = self.pyramid_.shapes[level]
        top = level == self.pyramid_.levels
        return Players(self.networks_[level], math.prod(shape), shape, self._label_columns, 0 if top else 1, "tanh")

    def _level_networks(self) -> list[str]:
        """What each level is made of, the finest first."""
        self._network_for(self.schema_.shape)
        wanted, sides = ("dcgan", SMALLEST) if self.network == "auto" else (self.network, 1)
        return [wanted if halvings(*shape[:2]) and min(shape[:2]) >= sides else "mlp" for shape in self.pyramid_.shapes]

    def _level(self, level: int) -> tuple[Generator, nn.Module]:
        """The generator and the critic of one pack."""
        players = self._players(level)
        generator, critic = self._build(players, self._stream().child("weights", level))
        if players.planes:
            generator.network = DetailNetwork(generator.network, self.pyramid_, level)
            critic = DetailCritic(critic, players.size, players.condition)
        return generator, critic

    def _levels(self) -> list[tuple[Generator, nn.Module]]:
        """All levels, the coarsest first."""
        return [self._level(level) for level in range(self.pyramid_.levels, -1, -1)]

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        assert self.schema_.shape is not None
        self.pyramid_ = LaplacianPyramid(self.schema_.shape, self.levels)
        self.networks_ = self._level_networks()
        self._note_shares(codes)
        pairs = self._levels()
        self.generator_ = PyramidGenerator([generator for generator, _ in pairs], self.pyramid_)
        self.critics_ = nn.ModuleList(self._packed(critic) for _, critic in pairs)
        stages = []
        for level, pair in zip(range(self.pyramid_.levels, -1, -1), pairs, strict=True):
            name = f"{self.pyramid_.shapes[level][0]}x{self.pyramid_.shapes[level][1]}"
            batches = self._batches(X, codes, rank, world, self.networks_[level], name)
            view = self._view(level)
            seen = self._watched(X, codes, view)
            watched = None if seen is None else (seen, None)
            stages.append(self._stage(name, self.networks_[level], pair, batches, view, self._portraits(level), watched))
        return stages

    def _view(self, level: int) -> View:
        """A level's details, and what they are given: the doubled coarser picture, and the label's columns."""

        def view(batch: Batch, stream: Stream) -> Batch:
            values, coarse = self.pyramid_.at(batch.values, level)
            parts = [] if coarse is None else [coarse]
            if batch.label is not None:
                parts.append(self._one_hot(batch.label))
            return Batch(values, None, None, torch.cat(parts, 1) if parts else None)

        return view

    def _portraits(self, level: int) -> Callable[[Generator], np.ndarray]:
        """Pictures of this level's size from the levels so far; the same noise each time, classes in their order."""
        stream = self._stream().child("portraits")

        def draw(generator: Generator) -> np.ndarray:
            place = self.pyramid_.levels - level
            so_far = [*self.generator_.generators[:place], generator, *self.generator_.generators[place + 1 :]]
            condition = self._class_condition(PORTRAITS, self._one_of_each(PORTRAITS), stream)
            rows = PyramidGenerator(so_far, self.pyramid_).sample(PORTRAITS, stream, condition, level)
            return self._pictures(rows, self.pyramid_.shapes[level])

        return draw

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        self.critics_.eval()

    # ---------------------------------------------------------------- the model file

    def _kinds(self) -> list[str]:
        return sorted(set(self.networks_))

    def _named(self) -> dict[str, nn.Module]:
        return {"generator": self.generator_, "critics": self.critics_}

    def _metadata(self) -> dict[str, Any]:
        return {"networks": self.networks_, "class_shares": self.class_shares_}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        assert self.schema_.shape is not None
        self.networks_, self.class_shares_ = list(metadata["networks"]), metadata["class_shares"]
        self.pyramid_ = LaplacianPyramid(self.schema_.shape, len(self.networks_) - 1)
        pairs = self._levels()
        self.generator_ = PyramidGenerator([generator for generator, _ in pairs], self.pyramid_)
        self.critics_ = nn.ModuleList(self._packed(critic) for _, critic in pairs)
        self._take(tensors)
        self.critics_.eval()
