"""A clamp is checked once, and comes out in one form."""

from __future__ import annotations

import math

import pytest
import torch

from equilibria.inference.clamp import Held, parse, take
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.units import Bernoulli, Categorical, Gaussian

MACHINE = BoltzmannMachine(
    {
        "visible": Bernoulli(3),
        "hidden": Bernoulli(2),
        "label": Categorical([2, 2]),
        "real": Gaussian(2),
    },
    [("visible", "hidden"), ("hidden", "label"), ("hidden", "real")],
)


def test_no_clamp_holds_nothing() -> None:
    assert parse(MACHINE, None) == parse(MACHINE, {}) == {}


def test_a_whole_layer() -> None:
    held = parse(MACHINE, {"visible": [[1, 0, 1]]}, rows=3)["visible"]
    assert held.mask is None
    assert held.values.tolist() == [[1, 0, 1]] * 3
    assert held.fill(torch.zeros(3, 3)).tolist() == [[1, 0, 1]] * 3


def test_a_mask_within_a_layer() -> None:
    values = torch.tensor([[1.0, math.nan, 0.0], [0.0, 1.0, 1.0]])
    mask = torch.tensor([[True, False, True], [False, True, False]])
    held = parse(MACHINE, {"visible": (values, mask)})["visible"]
    assert held.values.tolist() == [[1, 0, 0], [0, 1, 0]], (
        "what is missing may be NaN, and counts as zero"
    )
    assert held.fill(torch.full((2, 3), 7.0)).tolist() == [[1, 7, 0], [7, 1, 7]]
    assert values[0, 1].isnan(), "the caller's array is left alone"


def test_a_full_mask_is_a_whole_layer() -> None:
    assert parse(MACHINE, {"visible": (torch.ones(1, 3), torch.ones(1, 3))})["visible"].mask is None


def test_masks_over_categorical_variables() -> None:
    values = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    held = parse(MACHINE, {"label": (values, torch.tensor([[True, True, False, False]]))}, rows=2)[
        "label"
    ]
    assert held.variables is not None
    assert held.variables.tolist() == [[True, False]] * 2


def test_one_row_serves_all_and_take_picks_rows() -> None:
    held = parse(
        MACHINE,
        {"visible": (torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, False, False]]))},
        rows=4,
    )
    some = take(held, torch.tensor([0, 2]))["visible"]
    assert some.values.shape == (2, 3)
    assert some.mask is not None
    assert some.mask.shape == (2, 3)
    assert take({"visible": Held(torch.arange(4.0)[:, None])}, slice(1, 3))[
        "visible"
    ].values.tolist() == [[1], [2]]


PART = torch.tensor([[True, False, False]])


@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        (
            {"hiden": torch.ones(1, 2)},
            r"unknown layer 'hiden'; the layers are \['visible', 'hidden', 'label', 'real'\]",
        ),
        (
            {"visible": torch.ones(3)},
            r"clamp\['visible'\]: expected one or more rows, shape \(rows, 3\), found",
        ),
        ({"visible": torch.ones(2, 4)}, r"found \(2, 4\)"),
        ({"visible": torch.ones(0, 3)}, r"found \(0, 3\)"),
        (
            {"visible": (torch.ones(2, 3), PART)},
            r"the mask has shape \(1, 3\), the values \(2, 3\)",
        ),
        (
            {"visible": torch.full((1, 3), 2.0)},
            r"clamp\['visible'\]: Bernoulli units take values in \[0, 1\]",
        ),
        ({"visible": torch.full((1, 3), math.nan)}, "expected finite numbers"),
        (
            {"visible": (torch.full((1, 3), 2.0), PART)},
            r"clamp\['visible'\]: Bernoulli units take values in \[0, 1\]",
        ),
        ({"visible": (torch.full((1, 3), math.nan), PART)}, "an observed cell is NaN or infinite"),
        ({"label": torch.tensor([[1.0, 1.0, 0.0, 1.0]])}, r"clamp\['label'\]: each group"),
        (
            {
                "label": (
                    torch.tensor([[1.0, 1.0, 0.0, 0.0]]),
                    torch.tensor([[True, True, False, False]]),
                )
            },
            r"clamp\['label'\]: each group",
        ),
        (
            {
                "label": (
                    torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
                    torch.tensor([[True, False, False, False]]),
                )
            },
            "observed whole or not at all",
        ),
        (
            {"visible": torch.ones(2, 3), "hidden": torch.ones(3, 2)},
            r"same number of rows, found \{'visible': 2, 'hidden': 3\}",
        ),
    ],
)
def test_refusals(clamp: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(MACHINE, clamp)


def test_a_wrong_number_of_rows_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"needs 5 rows \(or one for all\), found \{'visible': 2\}"
    ):
        parse(MACHINE, {"visible": torch.ones(2, 3)}, rows=5)
