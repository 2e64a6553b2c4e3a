"""Parameters that the estimators of adversarial networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilibria.check import choice, number, optional, sequence, weights, whole, widths
from equilibria.estimators.estimator import Estimator, plain
from equilibria.estimators.params import estimator, param
from equilibria.games.payoffs import PAYOFFS
from equilibria.games.penalties import PENALTIES
from equilibria.models.generator import PRIORS
from equilibria.networks.mlp import PRECISIONS
from equilibria.recipes.adversarial import NETWORKS, NORMALISED
from equilibria.solvers import SOLVERS
from equilibria.solvers.optimiser import SCHEDULES

__all__ = ["Adversarial"]

_FORMER = {  # presets of a run of 0.1.0 by their present names
    "payoff": "loss",
    "fade": "annealing",
    "pace": "critic_pace",
    "bandwidth": "max_frequency",
}


@estimator
class Adversarial(Estimator):
    """Base of GAN and LAPGAN: what the players are, and how they play."""

    renamed: ClassVar[Mapping[str, str]] = {
        "units": "kinds",
        "payoff": "loss",
        "fade": "annealing",
        "bandwidth": "max_frequency",
        "k": "critic_steps",
        "critic_rate": "critic_learning_rate",
    }

    hidden: tuple[int, ...] | None = param(
        None,
        "Widths of the hidden layers of both networks, where they are MLPs; by default "
        "three of 512 for pictures of at least 16 pixels a side, else three of 128.",
        optional(widths()),
        positional=True,
    )
    network: str = param(
        "auto",
        "What the players are made of. Auto takes deep convolutional networks for grey pictures "
        "from 12 pixels a side whose sides, halved while even, come to 32 or less; else MLPs.",
        choice("auto", *NETWORKS),
    )
    channels: int | None = param(
        None,
        "Of the finest feature maps of a network of pictures; by default 16 on a CPU, 64 else.",
        optional(whole(1)),
    )
    dense: int | None = param(
        None,
        "Units of the dense layers of a network of pictures, the critic's last and the "
        "generator's first; 0 for none, by default 256.",
        optional(whole(0)),
    )
    normalisation: str = param(
        "auto",
        "Which networks of pictures have batch norm; auto takes both. A critic with it sees a "
        "batch rather than a row.",
        choice("auto", *NORMALISED),
    )
    loss: str | None = param(
        None,
        "What each player pays; by default non-saturating for networks of pictures, else "
        "relativistic.",
        optional(choice(*PAYOFFS)),
    )
    penalties: Any = param(
        None,
        "On the critic's slope, with their weights. By default R1 and R2 of weight 3 for MLPs, "
        "none for networks of pictures.",
        optional(weights(*PENALTIES)),
    )
    annealing: float | None = param(
        None,
        "The share of the penalties' weights and of the instance noise that is left at the end; "
        "they fall geometrically. By default .00003 where the critic sees Fourier features (see "
        "max_frequency), .01 for networks of pictures, else 1. A smooth critic gives modes their "
        "shares, a sharp one their widths.",
        optional(number(0, above=True)),
    )
    max_frequency: float | None = param(
        None,
        "The largest frequency, in radians per standard deviation, of the random Fourier "
        "features that a perceptron's critic sees beside the columns; 0 for none. By default 10 "
        "where rows are up to 8 real numbers: without them a narrow mode is learnt late.",
        optional(number(0)),
    )
    packing: int = param(1, "Rows that the critic sees side by side.", whole(1))
    instance_noise: float | None = param(
        None,
        "Standard deviation of the noise that is added to all that the critic sees, at first (see "
        "annealing); by default .2 for networks of pictures, whose values are in [−1, 1], else 0.",
        optional(number(0)),
    )
    latent_dim: int | None = param(
        None,
        "Columns of the noise z; by default 64 for networks of pictures and for pictures of at "
        "least 16 pixels a side, else 16.",
        optional(whole(1)),
    )
    prior: str | None = param(
        None,
        "Distribution of the noise; mixed is half normal, half Rademacher columns, so that "
        "separate modes need no bridge between them. By default mixed for MLPs of tables and small "
        "pictures, else normal.",
        optional(choice(*PRIORS)),
    )
    solver: str = param("alternating", "How the players move.", choice(*SOLVERS))
    critic_steps: int = param(
        1, "Critic updates for each of the generator's (alternating solver only).", whole(1)
    )
    learning_rate: float | None = param(
        None,
        "Adam's rate of the generator; by default .001.",
        optional(number(0, above=True)),
    )
    critic_learning_rate: float | None = param(
        None,
        "The critic's rate; by default learning_rate, three times it where the critic sees Fourier "
        "features and a fifth of it for networks of pictures.",
        optional(number(0, above=True)),
    )
    schedule: str | None = param(
        None,
        "How both rates fall to zero; by default linearly for MLPs, else not at all.",
        optional(choice(*SCHEDULES)),
    )
    betas: Any = param(
        None,
        "Adam's averaging rates; by default (.5, .999) for networks of pictures, else (0, .99).",
        optional(sequence(number(0, 1 - 1e-9), 2, "two numbers in [0, 1)", length=2)),
    )
    batch_size: int | None = param(
        None,
        "Rows in a batch (all rows, where there are fewer); by default 64 for networks of pictures "
        "and MLPs of pictures from 16 pixels a side, 256 for mixed tables, else 512.",
        optional(whole(1)),
    )
    steps: int | None = param(
        None,
        "Steps, of each level in a pyramid but the coarsest, which has twice as many; by default "
        "8,000 for MLPs of tables and small pictures, 3,000 for mixed tables, else 20,000.",
        optional(whole(1)),
    )
    average: float | None = param(
        None,
        "Decay of the generator's averaged weights, which samples come from; 0 turns averaging "
        "off. By default .999, but .99 for MLPs of tables and small pictures, whose "
        "widths a longer memory would narrow.",
        optional(number(0, 0.999999)),
    )
    precision: str = param(
        "float32",
        "Type of the matrix products and convolutions; parameters and their updates stay in "
        "float32.",
        choice(*PRECISIONS),
    )

    @classmethod
    def params_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        found = super().params_of(config)
        if "normalisation" in found:  # 0.1.0 wrote None for no normalisation
            found["normalisation"] = found["normalisation"] or "neither"
        return found

    @classmethod
    def kept_of(cls, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
        rows = {**config.get("families", {})}
        if "sharp" in config:
            rows["fourier"] = config["sharp"]
        known = {
            kind: {_FORMER.get(name, name): value for name, value in row.items()}
            for kind, row in rows.items()
        }
        kept = {"class_shares_": metadata.get("class_shares"), "presets_": plain(known)}
        if "networks" in metadata:
            return {**kept, "networks_": list(metadata["networks"])}
        return {**kept, "network_": metadata.get("network", "mlp")}

    def migrated_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        shares = torch.tensor(vars(self).get("class_shares_") or [], dtype=torch.float64)
        return {"class_shares": shares, **tensors}
