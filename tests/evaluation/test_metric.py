"""A metric says everything that is needed to read it, and survives JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from equilibria.evaluation import Metric


def test_the_sentence_holds_every_part() -> None:
    metric = Metric("KL", 0.25, 2500, floor=0.0014, best=0.0, features="pixels", note="Read it so.")
    expected = "KL = 0.25 (2500 samples; chance alone gives 0.0014; a perfect sampler scores 0; seen through pixels). Read it so."
    assert str(metric) == expected


def test_the_sentence_leaves_out_what_is_not_known() -> None:
    assert str(Metric("share", 0.5, 1)) == "share = 0.5 (1 sample)"


def test_an_interval_is_told_and_survives_json() -> None:
    metric = Metric("share", 0.5, 10, low=0.25, high=math.inf)
    assert str(metric) == "share = 0.5 (95 % interval 0.25 to inf; 10 samples)"
    assert Metric.from_json(json.loads(json.dumps(metric.to_json(), allow_nan=False))) == metric
    old = {name: value for name, value in Metric("share", 0.5, 10).to_json().items() if name not in ("low", "high")}
    assert Metric.from_json(old) == Metric("share", 0.5, 10)  # written before there were intervals


@pytest.mark.parametrize("value", [0.5, math.inf, -math.inf])
@pytest.mark.parametrize("floor", [None, 0.1, math.inf])
def test_json_gives_the_metric_back(value: float, floor: float | None) -> None:
    metric = Metric("share", value, 7, floor, None, "pixels", "A note.")
    assert Metric.from_json(json.loads(json.dumps(metric.to_json(), allow_nan=False))) == metric


def test_a_missing_measurement_survives_json() -> None:
    text = json.dumps(Metric("width", math.nan, 3).to_json(), allow_nan=False)
    assert math.isnan(Metric.from_json(json.loads(text)).value)


def test_a_metric_is_a_number_and_does_not_change() -> None:
    metric = Metric("share", 0.5, 1)
    assert float(metric) == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.value = 1.0  # type: ignore[misc]
