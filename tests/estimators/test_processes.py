"""Two processes leave the model that one process leaves, its chains whole, whatever the estimator.

One pair of gloo processes fits all of them (this file, run as a script); the tests compare what the
processes leave in run folders.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

import equilibria
from equilibria import Mixture
from small import BITS, ESTIMATORS, LABELS, NAMES, fitted, small, state_of

CHOOSING = np.tile(BITS, (7, 1))[:270]  # less a tenth of them an odd number


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name in NAMES:
        model = small(ESTIMATORS[name], out=folder / name).fit(BITS, LABELS)
        state = {key: value.contiguous() for key, value in state_of(model).items()}
        save_file(state, folder / f"{name}-{dist.get_rank()}.safetensors")
    Mixture(steps=5, random_state=0, out=folder / "chosen").fit(CHOOSING)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two")
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(path)],
            env={**os.environ, **shared, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return path


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_leave_the_model_of_one(name: str, folder: Path) -> None:
    """Parameters to the rounding of sums, chains whole, and both processes alike to the bit.

    Adam makes a step of a gradient that is nothing but rounding: a few biases of a critic may
    differ.
    """
    one, two = fitted(name), equilibria.load(folder / name)
    ranks = [load_file(folder / f"{name}-{rank}.safetensors") for rank in range(2)]
    apart = []
    for key, value in state_of(one).items():
        assert torch.equal(ranks[0][key], ranks[1][key])
        assert torch.equal(ranks[0][key], state_of(two)[key])
        assert value.shape == state_of(two)[key].shape
        apart.append((value.double() - state_of(two)[key].double()).abs().reshape(-1))
    differences = torch.cat(apart)
    assert float((differences > 1e-4).double().mean()) < 0.01
    assert float(differences.max()) < 0.02
    assert (two.n_steps_, two.seed_) == (one.n_steps_, one.seed_)
    if hasattr(one, "sample"):
        assert np.allclose(one.sample(5), two.sample(5), atol=0.02)


if __name__ == "__main__":
    work(Path(sys.argv[1]))


def test_two_processes_choose_the_components_of_one(folder: Path) -> None:
    one, two = Mixture(steps=5, random_state=0).fit(CHOOSING), equilibria.load(folder / "chosen")
    assert two.settings_.n_components == one.settings_.n_components
    np.testing.assert_allclose(two.score_samples(BITS), one.score_samples(BITS), atol=1e-3)
