"""Many processes: the same trainer under :func:`launch` or ``torchrun``, on torch.distributed.

Every process holds the whole model and an equal share of the batch's rows and of the chains. Random
numbers are keyed by global row, so the shares together are what one process would have drawn;
gradients are averaged once per update.

What that promises: the same draws, and sums that are equal but for rounding. In float64 a training
is the same for any number of processes; in float32 weights part by 5e-7 to 1e-3 in some hundreds of
updates, since a sum depends on the order of its terms, and a game between networks amplifies it. A
run may be stopped in two processes and resumed in one; its health says so.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from equilibria.games.game import Game

__all__ = ["Processes", "launch", "processes"]


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process's place among the processes of a run: its number ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes the run folder."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> None:
        """Average tensors over processes in place: one all-reduce, whatever their number."""
        if self.world == 1 or not tensors:
            return
        # Entry by entry, row-major: another process may hold the same tensor in another layout.
        flat = torch.cat([x.reshape(-1) for x in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.world).split([x.numel() for x in tensors])
        for x, part in zip(tensors, parts, strict=True):
            x.copy_(part.view(x.shape))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Each number's average over processes, the same on all of them."""
        if self.world == 1 or not values:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=_transport())
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in some process: a signal to one stops all at the same step."""
        return self.mean({"flag": float(flag)})["flag"] > 0

    def agree(self, number: int) -> int:
        """The first process's number, below 2⁶³, on every process: a fresh seed, for instance."""
        if self.world == 1:
            return number
        tensor = torch.tensor(number, dtype=torch.int64, device=_transport())
        dist.broadcast(tensor, 0)
        return int(tensor)

    def check(self, game: Game) -> None:
        """Refuse a game that many processes cannot play together."""
        if self.world > 1 and game.across_rows:
            raise ValueError(
                f"game: {type(game).__name__} has a network that looks across the rows of a batch "
                f"(batch norm, minibatch deviation), and each of {self.world} processes would show "
                "it its own share alone; take it out (normalisation='neither'), or use one process"
            )

    def share(self, game: Game) -> None:
        """Keep this process's rows of the game's sharded buffers (persistent chains)."""
        self.check(game)
        for name in self._sharded(game):
            rows = getattr(game, name)
            if len(rows) % self.world:
                raise ValueError(
                    f"chains: {len(rows)} cannot be shared equally among {self.world} processes; "
                    f"choose a multiple of {self.world}"
                )
            setattr(game, name, rows.chunk(self.world)[self.rank].clone())

    def gathered(self, game: Game) -> dict[str, Any]:
        """The game's state, its sharded buffers whole again: the same on every process."""
        state = dict(game.state_dict())
        for name in self._sharded(game):
            parts = [torch.empty_like(state[name]) for _ in range(self.world)]
            dist.all_gather(parts, state[name].contiguous())
            state[name] = torch.cat(parts)
        return state

    def collect(self, game: Game) -> None:
        """Make the game's sharded buffers whole again on every process: the end of sharing."""
        state = self.gathered(game)
        for name in self._sharded(game):
            setattr(game, name, state[name])

    def restore(self, game: Game, state: dict[str, Any]) -> None:
        """Load a gathered state: each process takes its share of the sharded buffers."""
        for name in game.sharded:
            setattr(game, name, state[name].to(getattr(game, name)))
        game.load_state_dict(state)
        self.share(game)

    def _sharded(self, game: Game) -> tuple[str, ...]:
        return tuple(game.sharded) if self.world > 1 else ()


def processes(device: torch.device | str = "cpu") -> Processes:
    """Join the processes that ``torchrun`` started, on NCCL for a GPU and gloo else, or be alone.

    >>> processes().world
    1
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or "RANK" not in os.environ:
        return Processes()
    if not dist.is_initialized():
        on_gpu = torch.device(device).type == "cuda"
        if on_gpu:  # else all of a machine's processes would share its first GPU
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size())


def launch(words: Sequence[str], processes: int) -> int:
    """Run ``equilibria`` with these words in so many processes of this machine; the exit code.

    As ``torchrun --nproc-per-node`` does, but what ends a process is said by that process alone,
    and the exit code is its own: 128 + signal where a signal ended them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    here: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    config = LaunchConfig(1, 1, processes, run_id=uuid.uuid4().hex, max_restarts=0, **here)
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # or each process takes all cores
    former = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what its own processes say is enough
    try:
        elastic_launch(config, sys.executable)("-m", "equilibria", *words)
    except ChildFailedError as error:
        code = min(error.failures.values(), key=lambda one: one.timestamp).exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + int(error.sigval)
    finally:
        logging.disable(former)
    return 0


def _transport() -> str:
    """Where a tensor must be for the processes to exchange it."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
