"""Each planted bug is noticed by the check that it names, which is one that the sampler's own tests
run."""

from __future__ import annotations

import pytest

from kernels import CHECKS as KERNELS
from mutants.catalogue import MUTANTS, Mutant
from wiring import WIRING

CHECKS = {**KERNELS, **WIRING}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_noticed(mutant: Mutant) -> None:
    with mutant.planted(), pytest.raises(AssertionError):
        CHECKS[mutant.check]()


def test_a_bug_is_gone_when_its_test_is_over() -> None:
    for mutant in MUTANTS:
        with mutant.planted():
            pass
    CHECKS["swap_draws(temperatures, rbm)"]()
    CHECKS["gibbs_draws(rbm, 1.0, masked)"]()


def test_every_bug_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
