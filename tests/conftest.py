"""What all tests share: one thread per worker, and the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # for the processes that tests start, too: the workers share few cores
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, from ``EQUILIBRIA_DATA``."""
    folder = os.environ.get("EQUILIBRIA_DATA")
    if not folder:
        pytest.skip(
            "EQUILIBRIA_DATA is not set: it names the folder of real data (mnist, fashion-mnist, …)"
        )
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"EQUILIBRIA_DATA={folder!r} is not a folder: correct it or unset it")
    return path


@pytest.fixture(autouse=True)
def same_draws_in_any_order(request: pytest.FixtureRequest) -> None:
    """A module's ``RNG`` starts anew in each test: workers take tests in no fixed order."""
    generator = getattr(request.module, "RNG", None)
    if generator is not None:
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
