"""``python -m equilibria`` is the command ``equilibria``."""

from __future__ import annotations

import sys

from equilibria.cli.app import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
