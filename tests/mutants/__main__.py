"""``make mutants``: plant every bug, run the check that must notice it, print a table; the exit
code is 1 if one got through."""

from __future__ import annotations

import sys

import torch

from kernels import CHECKS as KERNELS
from mutants.catalogue import MUTANTS, Mutant
from wiring import WIRING

CHECKS = {**KERNELS, **WIRING}


def caught(mutant: Mutant) -> str:
    """What the check said, or nothing."""
    with mutant.planted():
        try:
            CHECKS[mutant.check]()
        except AssertionError as error:
            return (str(error).splitlines() or ["the numbers are not the enumerated ones"])[
                0
            ] or "the numbers are not the enumerated ones"
    return ""


def main() -> int:
    torch.set_num_threads(1)
    for check in dict.fromkeys(mutant.check for mutant in MUTANTS):
        CHECKS[check]()  # every check passes on the library as it is
    width = max(len(mutant.name) for mutant in MUTANTS)
    survivors = 0
    for mutant in MUTANTS:
        found = bool(caught(mutant))
        survivors += not found
        print(f"{mutant.name:<{width}}  {'caught by' if found else 'GOT THROUGH'} {mutant.check}")
    print(f"{len(MUTANTS)} planted, {len(MUTANTS) - survivors} caught")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
