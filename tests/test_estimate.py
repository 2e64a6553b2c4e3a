"""An estimate prints itself as a sentence, shifts, and survives a run folder."""

from __future__ import annotations

import json
import math

import pytest

from equilibria.estimate import Estimate

ANNEALED = Estimate(1.25, 1.0, 1.5, method="AIS, 100 chains", name="log Z", ess=80.4, samples=100, caveat="It may be low.")


def test_the_sentence() -> None:
    assert str(ANNEALED) == (
        "log Z = 1.250 (95 % interval 1.000 to 1.500; AIS, 100 chains; effective sample size 80 of 100). It may be low."
    )
    assert str(Estimate(2.0, 2.0, 2.0, method="enumeration")) == "estimate = 2.000 (enumeration)"
    assert "99.9 % interval" in str(Estimate(0.0, -1.0, 1.0, method="m", level=0.999))


def test_it_is_a_number() -> None:
    assert float(ANNEALED) == 1.25
    assert not ANNEALED.exact
    assert Estimate(2.0, 2.0, 2.0, method="m").exact


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_shifted_keeps_the_interval_in_order(sign: float) -> None:
    moved = ANNEALED.shifted(-90.0, sign=sign, name="log-likelihood", caveat="")
    assert moved.value == -90.0 + sign * 1.25
    assert moved.low < moved.value < moved.high
    assert moved.high - moved.low == pytest.approx(0.5)
    assert (moved.name, moved.caveat, moved.ess) == ("log-likelihood", "", 80.4)
    assert ANNEALED.shifted(1.0).name == "log Z"
    assert ANNEALED.shifted(1.0).caveat == "It may be low."


@pytest.mark.parametrize(
    "estimate",
    [ANNEALED, Estimate(0.5, -math.inf, math.inf, method="one chain", ess=math.inf), Estimate(1.0, 1.0, 1.0, method="exact")],
)
def test_round_trip_through_strict_json(estimate: Estimate) -> None:
    text = json.dumps(estimate.to_json(), allow_nan=False)
    assert Estimate.from_json(json.loads(text)) == estimate


def test_nan_survives_too() -> None:
    back = Estimate.from_json(json.loads(json.dumps(Estimate(0.0, 0.0, 1.0, method="m", ess=math.nan).to_json(), allow_nan=False)))
    assert back.ess is not None
    assert math.isnan(back.ess)
