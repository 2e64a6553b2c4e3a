"""The checks of ``wiring.py`` on the library as it is."""

from __future__ import annotations

import pytest

from wiring import WIRING


@pytest.mark.parametrize("name", WIRING)
def test_an_estimator_does_what_it_was_asked_for(name: str) -> None:
    WIRING[name]()
