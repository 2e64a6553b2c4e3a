"""equilibria: draws by numpy, by the extra [fast], and with chains in bfloat16; each through the
library's own game, solver and sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common import (
    BATCH,
    CHAINS,
    DBM,
    RBM,
    ROWS,
    Work,
    measure,
    synthetic,
    torch_epoch_floor,
    torch_floor,
    torch_setup,
    version_of,
)

torch_setup()

import torch  # noqa: E402

from equilibria import fast  # noqa: E402
from equilibria.data import Batches  # noqa: E402
from equilibria.games.contrastive import ContrastiveGame  # noqa: E402
from equilibria.inference import gibbs  # noqa: E402
from equilibria.models.boltzmann import BoltzmannMachine  # noqa: E402
from equilibria.random import Stream  # noqa: E402
from equilibria.solvers import Simultaneous  # noqa: E402
from equilibria.solvers.optimiser import Optimiser  # noqa: E402
from equilibria.units import Bernoulli  # noqa: E402

COMPILED = fast._kernels() if fast.available() else {}
DATA = torch.from_numpy(synthetic())


def with_kernels(compiled: bool, work: Callable[[], object]) -> Work:
    """The work, by the compiled draw or by numpy's."""

    def chosen() -> None:
        fast._compiled = COMPILED if compiled else {}
        work()

    return chosen


def machine_of(sizes: Sequence[int]) -> BoltzmannMachine:
    return BoltzmannMachine.stack(*map(Bernoulli, sizes)).initialise(0)


def sweeps(sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> Work:
    """One sweep of the chains, which go on from call to call."""
    machine = machine_of(sizes)
    state = {name: x.to(dtype) for name, x in gibbs.start(machine, CHAINS).items()}
    machine, count = machine.to(dtype), 0

    @torch.no_grad()
    def sweep() -> None:
        nonlocal state, count
        state, _ = gibbs.sweep(machine, state, Stream(0).child(count))
        count += 1

    return sweep


def epoch(
    batch: int = BATCH, sizes: tuple[int, int] = RBM, rows: int = ROWS, precision: str = "float32"
) -> Work:
    """An epoch of PCD-1 with the estimators' own choices: centred, momentum, weight decay."""
    game = ContrastiveGame(machine_of(sizes), chains=batch, precision=precision)
    solver = Simultaneous(Optimiser("sgd", rate=0.05, momentum=0.5, weight_decay=1e-4))
    batches, count = Batches(DATA[:rows, : sizes[0]].contiguous(), batch, Stream(0)), 0

    def play() -> None:
        nonlocal count
        for _ in range(rows // batch):
            solver.step(game, batches, Stream(1).child(count), measure=False)
            count += 1

    return play


def both(work: Callable[[], Work], name: str, suffix: str = "") -> dict[str, Work]:
    """Draws by numpy, and the compiled draw where it is there."""
    kinds = {f"numpy{suffix}": False, **({f"[fast]{suffix}": True} if COMPILED else {})}
    return {
        f"{name} · equilibria, {kind}": with_kernels(compiled, work())
        for kind, compiled in kinds.items()
    }


version_of("torch", "numpy", *(["numba"] if COMPILED else []))
for label, sizes in (("RBM sweep", RBM), ("DBM sweep", DBM)):
    measure(
        {
            f"{label} · floor": torch_floor(sizes),
            **both(lambda sizes=sizes: sweeps(sizes), label),
            f"{label} · floor, bfloat16": torch_floor(sizes, "bfloat16"),
            **both(lambda sizes=sizes: sweeps(sizes, torch.bfloat16), label, ", bfloat16 chains"),
        },
        repeats=25,
    )
rounded = both(lambda: epoch(precision="bfloat16"), "epoch", ", bfloat16 chains")
measure({"epoch · floor": torch_epoch_floor(), **both(epoch, "epoch"), **rounded})
measure(both(lambda: epoch(10, (64, 100), 2000), "200 updates of ten, 64-100"))
