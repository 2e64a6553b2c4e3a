"""What the generator pays for a sample, and the slope of that, in the critic's logit: the lecture's
three games.

    python experiments/lecture/costs.py

Against a critic that is sure (logit −6, D = .0025), the minimax game tells the generator almost
nothing: its slope is −D. The non-saturating one has slope −(1 − D), the maximum-likelihood one
−exp(logit). To the right it is the other way round: nearly all of the maximum-likelihood game's
slope comes from the few samples that the critic likes best. Slopes in D itself are printed too:
minimax's is −1/(1 − D), which does not vanish.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import RESULTS, record

from equilibria.games.payoffs import PAYOFFS

NAMES = ("minimax", "non-saturating", "maximum-likelihood")
FORMULAS = {  # slope in the logit, with D = sigmoid(logit)
    "minimax": lambda logit: -torch.sigmoid(logit),
    "non-saturating": lambda logit: -torch.sigmoid(-logit),
    "maximum-likelihood": lambda logit: -logit.exp(),
}
PRINTED = (-6.0, -2.0, 0.0, 2.0)


def paid(name: str, logit: Tensor) -> Tensor:
    """The generator's cost of a sample, less what minimax pays on the data."""
    sure = torch.full_like(logit, 40.0)  # a real example that costs the critic nothing
    return PAYOFFS[name].costs(sure, logit)[1]


def slope(name: str, logit: Tensor) -> Tensor:
    logit = logit.clone().requires_grad_()
    return torch.autograd.grad(paid(name, logit).sum(), logit)[0]


def main() -> None:
    logits = torch.linspace(-6, 3, 400, dtype=torch.float64)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    rows, worst = [], {}
    for name in NAMES:
        found = slope(name, logits)
        worst[name] = (found - FORMULAS[name](logits)).abs().max().item()
        left.plot(logits, paid(name, logits), label=name)
        right.plot(logits, -found, label=name)
        for place in PRINTED:
            logit = torch.tensor([place], dtype=torch.float64)
            share = torch.sigmoid(logit)
            in_logit = slope(name, logit)
            row = {
                "game": name,
                "logit": place,
                "D": share.item(),
                "cost": paid(name, logit).item(),
            }
            rows.append(
                row
                | {
                    "slope in the logit": in_logit.item(),
                    "slope in D": (in_logit / (share * (1 - share))).item(),
                }
            )
            print(
                "  ".join(
                    f"{key} {value:.4f}" if isinstance(value, float) else f"{value:18}"
                    for key, value in rows[-1].items()
                )
            )
    left.set(xlabel="logit of a sample", ylabel="what G pays for it", ylim=(-8, 7), title="cost")
    right.set(
        xlabel="logit of a sample",
        ylabel="−slope in the logit",
        yscale="log",
        title="how hard it pulls",
    )
    left.legend(fontsize=8)
    left.axvline(0, color="0.8", zorder=0)
    right.axvline(0, color="0.8", zorder=0)
    folder = RESULTS / "lecture"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "costs.png", dpi=110)
    record("lecture/costs", rows=rows, largest_difference_from_the_formula=worst)


if __name__ == "__main__":
    main()
