"""Two processes that `torchrun` starts leave the model that one process leaves, its chains whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import equilibria
from equilibria import RBM
from equilibria.training.origin import attach, collect


def test_a_run_of_two_processes_is_saved_whole(tmp_path: Path) -> None:
    """A version that saved the first process's share had 5 of the 10 chains, and other samples."""
    options = ["--chains", "10", "--batch-size", "10", "--n-iter", "5", "--n-components", "4"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "equilibria"]
    ran = subprocess.run(
        [*command, "train", "rbm", "bars", "--out", str(tmp_path / "two"), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    two, one = equilibria.load(tmp_path / "two"), RBM(4, chains=10, batch_size=10, n_iter=5, random_state=0)
    loaded = collect("bars")
    attach(one, loaded)
    one.fit(loaded.train.values)
    assert {name: len(rows) for name, rows in two.chains_.items()} == {"visible": 10, "hidden1": 10}
    assert all(bool((two.chains_[name] == rows).all()) for name, rows in one.chains_.items())
    assert np.allclose(two.components_, one.components_, atol=1e-5)
