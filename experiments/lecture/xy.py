"""The xy game under every solver: min over x, max over y of x·y, from one start with steps of one
size.

    python experiments/lecture/xy.py

The flow circles the equilibrium (0, 0); steps turn the circle into a spiral, outward or inward, by
a factor a round that has a formula (rates.py compares it with the solvers' own updates to
rounding). The picture shows sixty rounds of each; the numbers are the growth of the distance a
round, measured over the last 2,000 of 4,000 rounds, beside the formula. Alternating play runs on an
ellipse, so its distance breathes: the 2,000th root of that is what is left of the difference.
"""

from __future__ import annotations

import math
import sys
from itertools import repeat
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

from rates import GAMES, SOLVERS, H, K
from record import RESULTS, record

from equilibria.games.toy import XYGame
from equilibria.random import Stream
from equilibria.solvers import Optimiser

ROUNDS, START = 60, (1.0, 0.0)


def path(solver: str, rounds: int) -> list[tuple[float, float]]:
    """Where the players are, the start included."""
    game, player = XYGame(*START), SOLVERS[solver].make(Optimiser("sgd", H))
    places = [START]
    for i in range(rounds):
        player.step(game, repeat(None), Stream(0).child(i), measure=False)
        places.append((game.x.item(), game.y.item()))
    return places


def growth(places: list[tuple[float, float]]) -> float:
    """The factor by which the distance grows a round, from the second half of the path, which
    lookahead's period divides."""
    half = (len(places) - 1) // 2
    assert half % K == 0
    return (math.hypot(*places[-1]) / math.hypot(*places[-1 - half])) ** (1 / half)


def main() -> None:
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
    rows = []
    for axis, (name, played) in zip(axes.flat, SOLVERS.items(), strict=True):
        places = path(name, ROUNDS)
        formula = max(abs(mu) for mu in played.formula(GAMES["xy"][1])) ** (1 / played.rounds)
        measured = growth(path(name, 4000))
        rows.append({"solver": name, "formula": formula, "measured": measured})
        print(f"{name:14} {formula:.6f} {measured:.6f}")
        circle = plt.Circle((0, 0), 1, fill=False, linestyle=":", color="0.6")
        axis.add_patch(circle)
        axis.plot(*zip(*places, strict=True), "-", color="C0", linewidth=0.8)
        axis.scatter(
            *zip(*places, strict=True), c=range(len(places)), cmap="viridis", s=9, zorder=3
        )
        axis.plot(0, 0, "+", color="k")
        farthest = 1.1 * max(1.0, *(abs(part) for place in places for part in place))
        axis.set(
            xlim=(-farthest, farthest),
            ylim=(-farthest, farthest),
            aspect="equal",
            title=f"{name}: × {formula:.3f} a round",
        )
        axis.tick_params(labelsize=7)
    figure.suptitle(
        f"min over x, max over y of xy: {ROUNDS} rounds from (1, 0), step {H} (dotted: the "
        "flow; dark to light: time)"
    )
    folder = RESULTS / "lecture"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "xy.png", dpi=110)
    record("lecture/xy", settings={"h": H, "start": START, "rounds": ROUNDS}, rows=rows)


if __name__ == "__main__":
    main()
