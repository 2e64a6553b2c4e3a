"""Whether a game turns about its equilibrium: the eigenvalues of its gradient field's Jacobian, on games small enough to have them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

from equilibria.games.flow import flow_jacobian
from equilibria.games.game import Game

__all__ = ["MOST", "Rotation", "jacobian_eigenvalues", "rotation"]

MOST = 2000
"""Parameters of all players together, beyond which the Jacobian is not worked out."""

_TURNS = 4.0  # radians a unit of shrinking, from which on a game is said to circle


@dataclasses.dataclass(frozen=True, eq=False)
class Rotation:
    """How the flow θ′ = −v(θ) moves near the present parameters, with v every player's gradient of its own cost.

    Attributes
    ----------
    eigenvalues : ndarray of complex
        Of the flow's Jacobian −∂v/∂θ, the least stable first: a real part below 0 shrinks, an imaginary part turns.
    """

    eigenvalues: np.ndarray

    @property
    def stable(self) -> bool:
        """Whether every direction shrinks under infinitely small simultaneous steps."""
        return bool(self.eigenvalues.real.max() < 0)

    @property
    def turning(self) -> complex:
        """The eigenvalue that turns most for each unit that it shrinks, among those that do not merely stand still."""
        values = self.eigenvalues[np.abs(self.eigenvalues) > self._noise]
        return complex(values[_turns(values).argmax()]) if len(values) else 0j

    @property
    def circles(self) -> bool:
        """Whether some direction turns far more than it shrinks."""
        value = self.turning
        return abs(value.imag) > self._noise and bool(_turns(np.array([value]))[0] > _TURNS)

    @property
    def largest_rate(self) -> float:
        r"""The rate below which simultaneous gradient steps shrink in every direction, min −2 Re λ / |λ|²; 0 where none does.

        A step of size h multiplies a direction by 1 + hλ.
        """
        values = self.eigenvalues
        return float((-2 * values.real / np.square(np.abs(values))).min()) if self.stable else 0.0

    @property
    def _noise(self) -> float:
        return 1e-9 * max(1.0, float(np.abs(self.eigenvalues).max()))

    def __str__(self) -> str:
        value = self.turning
        about = f"an eigenvalue of the flow is {value.real:.3g} ± {abs(value.imag):.3g}i"
        if not self.circles:
            growth = self.eigenvalues.real.max()
            if growth > self._noise:
                return (
                    f"The players do not circle, but a direction grows (eigenvalue {growth:.3g}): they are not near a stable equilibrium."
                )
            return f"The players do not circle: where the game turns most, {about}."
        rate = (
            f"simultaneous steps shrink below a rate of {self.largest_rate:.2g} only" if self.stable else "simultaneous steps do not shrink"
        )
        return f"The players circle ({about}: {rate}): take an extragradient or optimistic solver, or a penalty such as R1."


def rotation(game: Game, drawn: Any = None) -> Rotation:
    """How a small game turns at its present parameters; ``print`` it for a sentence.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> print(rotation(XYGame()))
    The players circle (an eigenvalue of the flow is 0 ± 1i: simultaneous steps do not shrink): take an extragradient or ...
    """
    values = jacobian_eigenvalues(game, drawn)
    return Rotation(values[np.argsort(-values.real, kind="stable")])


def jacobian_eigenvalues(game: Game, drawn: Any = None) -> np.ndarray:
    """The eigenvalues ``(p,)``, complex, of :func:`~equilibria.games.flow.flow_jacobian`, worked out in float64.

    Parameters
    ----------
    game : Game
        Left as it is: a copy in float64 is differentiated twice, by its ``cost``.
    drawn : object
        What ``game.draw`` gave, held fixed: the randomness of a round. Its floating-point tensors are taken in float64.

    Raises
    ------
    ValueError
        For a game with more than ``MOST`` parameters.

    Examples
    --------
    >>> from equilibria.games.toy import XYGame
    >>> sorted(jacobian_eigenvalues(XYGame()).imag.tolist())
    [-1.0, 1.0]
    """
    size = sum(p.numel() for player in game.players for p in game.parameters_of(player))
    if size > MOST:
        raise ValueError(f"game: {size:,} parameters; the Jacobian is worked out for {MOST:,} at most: watch the critic's margin instead")
    field = flow_jacobian(copy.deepcopy(game).double(), _double(drawn))
    return np.linalg.eigvals(field.detach().cpu().numpy()).astype(complex) + 0.0  # which makes 0 of −0


def _double(drawn: Any) -> Any:
    """The same draw with its floating-point tensors in float64."""
    if isinstance(drawn, Tensor):
        return drawn.double() if drawn.is_floating_point() else drawn
    if isinstance(drawn, tuple):
        parts = [_double(part) for part in drawn]
        return type(drawn)(*parts) if hasattr(drawn, "_fields") else tuple(parts)
    if isinstance(drawn, dict):
        return {name: _double(part) for name, part in drawn.items()}
    return [_double(part) for part in drawn] if isinstance(drawn, list) else drawn


def _turns(values: np.ndarray) -> np.ndarray:
    """Radians turned for each e-fold of shrinking; infinite where nothing shrinks or it grows."""
    shrinking = np.maximum(-values.real, 1e-12 * np.abs(values))
    return np.abs(values.imag) / shrinking
