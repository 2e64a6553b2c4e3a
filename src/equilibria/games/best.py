"""The best machine that a training passed through, by rows that it does not see.

Everything is kept in buffers of the game, so that a checkpoint holds it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["FEW_STATES", "SURE", "Best"]

FEW_STATES = 2**14
"""Up to so many states of the smaller all-discrete colour log Z is enumerated at every look: a
quarter of a second's work."""

SURE = 2.0
"""By how many standard errors an earlier machine must be better than the last one to be taken for
it."""


class Best(nn.Module):
    """The parameters that held-out rows fitted best, of the looks at a machine in training.

    log p of a row is minus its free energy minus log Z, and log Z moves with every update: free
    energies alone cannot compare two machines. It is therefore for machines whose log Z can be
    enumerated: see :meth:`fits`.

    Parameters
    ----------
    machine : BoltzmannMachine
        The one that is trained; it is not held on to.
    rows : int
        Number of held-out rows, two or more.

    Attributes
    ----------
    best : nn.Module
        A machine with the best look's parameters.
    scores, scores_best : Tensor
        log p of the held-out rows at the last look and at the best one, (rows,), in nats.
    looks : Tensor
        How many there were, 0-d int64.

    Examples
    --------
    >>> arrays = [torch.zeros(3, 2)], [torch.zeros(3), torch.zeros(2)]
    >>> machine = BoltzmannMachine.from_arrays(*arrays)
    >>> best, rows = Best(machine, rows=2), {"visible": torch.eye(3).double()[:2]}
    >>> best.consider(machine, lambda m: m.log_marginal(0, rows))
    {'held_out_log_likelihood': -2.079..., 'held_out_loss': 0.0}
    """

    scores: Tensor
    scores_best: Tensor
    looks: Tensor

    def __init__(self, machine: BoltzmannMachine, rows: int):
        super().__init__()
        self.best = copy.deepcopy(machine).requires_grad_(False)
        for name in ("scores", "scores_best"):
            self.register_buffer(name, torch.zeros(rows, dtype=torch.float64))
        self.register_buffer("looks", torch.zeros((), dtype=torch.int64))

    @staticmethod
    def fits(machine: BoltzmannMachine) -> bool:
        """Whether log Z of the machine is enumerated quickly enough for every check."""
        return exact.enumerable(machine, max_states=FEW_STATES)

    @torch.no_grad()
    def consider(
        self, machine: BoltzmannMachine, score: Callable[[BoltzmannMachine], Tensor]
    ) -> dict[str, float]:
        """Look at the machine as it is now; returns numbers for a log: the rows' mean log p, and
        :attr:`loss`.

        ``score`` gives log Σ exp(−E) over what each held-out row leaves free, or a bound on it,
        (rows,). Of equals the last is kept.
        """
        precise = copy.deepcopy(machine).double()
        self.scores.copy_(score(precise) - exact.log_partition(precise, max_states=FEW_STATES))
        if not int(self.looks) or float(self.scores.mean()) >= float(self.scores_best.mean()):
            self.scores_best.copy_(self.scores)
            self.best.load_state_dict(machine.state_dict())
        self.looks += 1
        return {"held_out_log_likelihood": float(self.scores.mean()), "held_out_loss": self.loss}

    @property
    def loss(self) -> float:
        """How much better the best look is than the last one, in nats a row; 0 where the rows' own
        spread explains it."""
        worse = self.scores_best - self.scores
        return (
            float(worse.mean())
            if float(worse.mean()) > SURE * math.sqrt(float(worse.var()) / len(worse))
            else 0.0
        )

    def recall(self, machine: BoltzmannMachine) -> None:
        """Give the machine the best parameters, where the last are worse than chance explains."""
        if self.loss:
            machine.load_state_dict(self.best.state_dict())
