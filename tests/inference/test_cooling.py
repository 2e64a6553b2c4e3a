"""Fresh chains by annealing: the enumerated law under clamps, and the shares of modes that plain
chains miss.
"""

from __future__ import annotations

import pytest

from exact import DISCRETE
from kernels import cooled_law, cooled_shares


@pytest.mark.parametrize("shape", DISCRETE)
@pytest.mark.parametrize("clamp", [None, "masked"])
def test_cooled_chains_have_the_enumerated_law(shape: str, clamp: str | None) -> None:
    cooled_law(shape, clamp)


def test_cooled_chains_find_both_modes_in_their_shares() -> None:
    cooled_shares()
