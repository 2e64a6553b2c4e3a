"""A Laplacian pyramid of adversarial networks with scikit-learn's face."""

from __future__ import annotations

from typing import Any

from torch import nn

from equilibria.check import optional, whole
from equilibria.data.table import Table
from equilibria.estimators.adversarial import Adversarial
from equilibria.estimators.estimator import Plan
from equilibria.estimators.params import estimator, param
from equilibria.models.pyramid import LaplacianPyramid, Pyramid, PyramidGenerator
from equilibria.random import Stream
from equilibria.recipes.adversarial import play, presets
from equilibria.recipes.pyramid import choose_levels, pyramid

__all__ = ["LAPGAN"]


@estimator
class LAPGAN(Adversarial):
    """Laplacian pyramid of adversarial networks (Denton et al. 2015).

    The coarsest level is a GAN of small pictures. Each finer level is a conditional GAN of the
    details that the doubled picture lacks, given that picture: convolutions of the coarser picture
    and of planes of noise, where ``network`` is one of pictures, whose critic it then names. Levels
    are trained one by one, on data, and sampled coarse to fine.

    Attributes
    ----------
    model_ : Pyramid
        The trained model; ``generator_`` is its sampler, ``critics_`` are those of each level, the
        coarsest first, ``pyramid_`` has the sizes of the levels.
    networks_ : list of str
        What the players of each level are made of, the finest first; ``presets_`` are their
        presets, of the version that trained them.

    References
    ----------
    Denton, Chintala, Szlam & Fergus 2015, "Deep generative image models using a Laplacian pyramid
    of adversarial networks".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import LAPGAN
    >>> X = np.random.RandomState(0).uniform(size=(50, 64))
    >>> sizes = {"channels": 4, "picture_shape": (8, 8), "latent_dim": 4, "steps": 3}
    >>> model = LAPGAN((16,), **sizes, random_state=0).fit(X)
    >>> sorted({row["stage"] for row in model.history_}), model.sample(5).shape
    (['4x4', '8x8'], (5, 64))
    """

    name = "lapgan"
    model = Pyramid
    takes = frozenset({"picture"})
    kept = ("networks_", "presets_")

    levels: int | None = param(
        None,
        "How often pictures are halved: by default as long as both sides are even and the "
        "shorter one is above 16, but at least once.",
        optional(whole(1)),
    )

    def column_kinds(self) -> Any:
        return "picture" if isinstance(self.kinds, str) and self.kinds == "auto" else self.kinds

    def build(self, table: Table, stream: Stream) -> Plan:
        if table.shape is None:  # a folder of pictures brings its shape with it
            expected = "(height, width), or (height, width, 3) for colours"
            raise ValueError(f"picture_shape=None: a pyramid is of pictures; give {expected}")
        known = vars(self)
        networks = known.get("networks_") or choose_levels(self.network, table.shape, self.levels)
        self.networks_ = list(networks)
        rows = presets(self.networks_, table.shape, self.device, pyramid=True)
        self.presets_ = {**rows, **known.get("presets_", {})}
        model, pairs = pyramid(self, self.networks_, self.presets_, table, stream)
        return Plan(model, play(model, pairs))

    @property
    def generator_(self) -> PyramidGenerator:
        """The sampler."""
        return self.model_.generator

    @property
    def critics_(self) -> nn.ModuleList:
        """Of each level, the coarsest first."""
        return self.model_.critics

    @property
    def pyramid_(self) -> LaplacianPyramid:
        """The sizes of the levels."""
        return self.generator_.pyramid
