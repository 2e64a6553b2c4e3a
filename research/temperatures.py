"""Inverse temperatures at which the neighbours of a ladder swap equally often."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from equilibria.inference.ladder import run, start, temperatures
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, as_stream

__all__ = ["choose_betas"]

_FIRST, _MOST = 16, 200  # replicas


def choose_betas(
    machine: BoltzmannMachine,
    replicas: int | None = None,
    *,
    acceptance: float = 0.5,
    chains: int = 100,
    steps: int = 200,
    rounds: int = 6,
    random_state: RandomState = 0,
) -> list[float]:
    """Inverse temperatures at which all pairs of neighbours swap about equally often.

    The rejection rates add up along the ladder to a barrier Λ(β) that hardly depends on where the
    replicas stand, so equal steps of Λ are refused equally often (Syed et al. 2022). Λ is measured
    by running a ladder, the temperatures are moved, and so on, ``rounds`` times. Modes that no
    chain has met do not count.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model; its base rates are the first replica.
    replicas : int, optional
        Number of temperatures; by default as many as ``acceptance`` takes, at most 200.
    acceptance : float
        Mean probability of a swap to aim at where ``replicas`` is not given. At ½ a ladder carries
        most states for its cost.
    chains, steps, rounds : int
        Ladders side by side, moves in each round (its first half is not counted), and rounds.
    random_state : int, Stream or numpy generator
        The same value gives the same temperatures.

    Returns
    -------
    list of float
        From 0.0 to 1.0, rising.

    Examples
    --------
    >>> machine = BoltzmannMachine.from_arrays(
    ...     [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> betas = choose_betas(machine, replicas=6, steps=40, rounds=4)
    >>> _, info = run(temperatures(machine, betas), steps=100)
    >>> bool(info.acceptance.max() - info.acceptance.min() < 0.1)
    True
    """
    half, stream = (steps + 1) // 2, as_stream(random_state)
    betas = torch.linspace(0, 1, replicas or _FIRST, dtype=torch.float64).tolist()
    states = start(temperatures(machine, betas), chains, stream.child("start"))
    for count in range(rounds):
        key, here = stream.child("round", count), temperatures(machine, betas)
        states, _ = run(here, half, states=states, random_state=key.child("settle"))
        states, info = run(here, half, states=states, random_state=key.child("count"))
        before = np.array(betas)
        # a barrier that rises everywhere can be inverted
        refused = np.clip(1.0 - info.acceptance.cpu().numpy(), 1e-6, None)
        barrier = np.concatenate([[0.0], np.cumsum(refused)])
        wanted = max(math.ceil(barrier[-1] / (1 - acceptance)), 1) + 1
        places = np.linspace(0.0, barrier[-1], replicas or min(wanted, _MOST))
        betas = [0.0, *PchipInterpolator(barrier, before)(places)[1:-1].tolist(), 1.0]
        states = [states[int(np.abs(before - beta).argmin())] for beta in betas]
    return betas
