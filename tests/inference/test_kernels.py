"""Every sampler's kernel against its enumerated transition matrix: see ``kernels.py`` for what each
check holds it to."""

from __future__ import annotations

import pytest

from kernels import CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_the_enumerated_kernel(name: str) -> None:
    CHECKS[name]()
