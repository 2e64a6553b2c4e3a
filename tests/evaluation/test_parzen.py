"""Parzen windows against scikit-learn's and scipy's densities."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import KernelDensity

from equilibria.evaluation.parzen import SIGMAS, parzen, parzen_scores
from equilibria.random import Stream


def noise(n: int, d: int, seed: int) -> np.ndarray:
    return Stream(seed).uniform((n, d)).double().numpy()


@pytest.mark.parametrize("sigma", [0.1, 0.4, 2.0])
def test_scores_are_those_of_scikit_learn_whatever_the_blocks(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, samples = noise(40, 6, 0), noise(50, 6, 1)
    expected = KernelDensity(bandwidth=sigma).fit(samples).score_samples(rows)
    assert np.abs(parzen_scores(rows, samples, sigma) - expected).max() < 1e-10
    monkeypatch.setattr(import_module("equilibria.evaluation.parzen"), "_BLOCK", 7)
    assert np.abs(parzen_scores(rows, samples, sigma) - expected).max() < 1e-10


def test_pictures_of_784_pixels_keep_their_digits() -> None:
    rows, samples = noise(5, 784, 0), noise(6, 784, 1)
    law = [[stats.norm.logpdf(x, s, 0.1).sum() for s in samples] for x in rows]
    expected = np.logaddexp.reduce(law, axis=1) - math.log(6)
    assert parzen_scores(rows, samples, 0.1) == pytest.approx(expected, rel=1e-10)


def test_the_width_is_chosen_on_validation_rows_and_the_interval_is_over_test_rows() -> None:
    rows, samples, validation = noise(200, 3, 0), noise(300, 3, 1), noise(100, 3, 2)
    best = max(SIGMAS, key=lambda s: parzen_scores(validation, samples, s).mean())
    scores = parzen_scores(rows, samples, best)
    estimate = parzen(rows, samples, validation)
    assert f"width {best:.3g}" in estimate.method
    assert estimate.value == pytest.approx(scores.mean(), rel=1e-12)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(
        1.96 * scores.std(ddof=1) / math.sqrt(200), rel=1e-9
    )
    assert estimate.n == 200
    assert "243" in estimate.note
    assert "313" in estimate.note


def test_a_width_at_the_end_of_the_grid_is_said() -> None:
    rows, samples, validation = noise(50, 1, 0), noise(2000, 1, 1), noise(50, 1, 2)
    assert parzen(rows, samples, validation, [3.0, 5.0]).warning.startswith(
        "The chosen width 3 is at the end"
    )
    assert parzen(rows, samples, validation, [1e-4, 0.05, 3.0]).warning == ""


def test_the_published_grid() -> None:
    assert len(SIGMAS) == 10
    assert (SIGMAS[0], SIGMAS[-1]) == (0.1, 1.0)


def test_bad_input_is_refused() -> None:
    for change, words in [
        ({"samples": np.full((5, 2), np.nan)}, "samples: Input contains NaN"),
        ({"rows": np.zeros((5, 3))}, r"rows: expected shape \(rows, 2\)"),
        ({"rows": np.zeros((1, 2))}, "rows: .*a minimum of 2 is required"),
        ({"validation": np.zeros((5, 1))}, r"validation: expected shape \(rows, 2\)"),
        ({"sigmas": [0.1, 0.0]}, "sigmas="),
        ({"sigmas": []}, "sigmas="),
    ]:
        rows = np.zeros((5, 2))
        with pytest.raises(ValueError, match=words):
            parzen(**{"rows": rows, "samples": rows, "validation": rows, **change})
