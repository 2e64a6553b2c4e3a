"""No measure depends on the origin or the unit of the data: rows are centred in double precision.

A column of seconds since 1970 is near 1.7e9 and varies by 1; single precision resolves 128 there.
"""

from __future__ import annotations

import numpy as np
import pytest

from equilibria.data import GaussianMixture
from equilibria.evaluation import (
    Coverage,
    cluster_coverage,
    frechet,
    kernel,
    memorisation,
    modes,
    network_features,
    parzen,
    prdc,
    two_sample,
)
from equilibria.evaluation.statistics import gaussian, kernel_estimate

OFFSET = np.array([1.7e9, -3e4])  # columns far apart
RNG = np.random.default_rng(0)
REAL, SAME, OTHER = RNG.normal(size=(200, 2)), RNG.normal(size=(200, 2)), RNG.normal(size=(200, 2))
FAR = OTHER + 8
TWO = np.concatenate([REAL, FAR])
LABELS = np.repeat([0, 1], 200)


def mixture(offset: float | np.ndarray) -> GaussianMixture:
    return GaussianMixture(np.array([[0.0, 0.0], [8.0, 8.0]]) + offset, 1.0)


MEASURES = {
    "frechet": lambda o: frechet(REAL + o, FAR + o),
    "kernel": lambda o: kernel(REAL + o, FAR + o),
    "prdc": lambda o: prdc(REAL + o, SAME + o),
    "two_sample": lambda o: two_sample(REAL + o, FAR + o),
    "memorisation": lambda o: memorisation(SAME + o, REAL + o, OTHER + o),
    "modes": lambda o: modes(TWO + o, mixture(o)),
    "width": lambda o: modes(TWO + o, mixture(o))["sampled width over true width"],
    "parzen": lambda o: parzen(REAL + o, SAME + o, OTHER + o, [0.1, 0.5, 2.0]),
    "coverage": lambda o: Coverage.fit(TWO + o, LABELS).measure(REAL + o),
    "clusters": lambda o: cluster_coverage(TWO + o, clusters=2).measure(TWO + o),
}


def test_the_origin_does_not_matter() -> None:
    for measure in MEASURES.values():
        near, far = measure(0.0), measure(OFFSET)
        for one, two in zip((near, *near.parts), (far, *far.parts), strict=True):
            # a double at 1.7e9 is right to 2e-7
            assert two.value == pytest.approx(one.value, rel=1e-5, abs=1e-6), one.name


def test_what_the_measures_say_far_from_the_origin() -> None:
    assert two_sample(REAL + OFFSET, FAR + OFFSET).value == 1.0
    copies = memorisation(SAME + OFFSET, REAL + OFFSET, OTHER + OFFSET)
    assert copies["samples that are a training row"].value == 0.0
    assert memorisation(REAL + OFFSET, REAL + OFFSET, OTHER + OFFSET).warning
    found = modes(TWO + OFFSET, mixture(OFFSET))
    assert (found.value, found["share of high-quality samples"].value > 0.97) == (2.0, True)
    assert frechet(REAL + OFFSET, FAR + OFFSET).value == pytest.approx(128, rel=0.1)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_does_not_matter(scale: float) -> None:
    for measure in (frechet, lambda a, b: Coverage.fit(TWO * scale, LABELS).measure(a)):
        assert measure(REAL * scale, FAR * scale).value > 0
    assert frechet(REAL * scale, FAR * scale).value / scale**2 == pytest.approx(128, rel=0.1)
    assert Coverage.fit(TWO * scale, LABELS).accuracy.value == 1.0
    one = kernel_estimate(REAL, FAR, gaussian(REAL))
    two = kernel_estimate(REAL * scale, FAR * scale, gaussian(REAL * scale))
    assert two == pytest.approx(one, rel=1e-9)


def test_network_features_are_of_centred_rows() -> None:
    near, far = (
        network_features(TWO + o, LABELS, TWO + o, LABELS, steps=20)(TWO + o) for o in (0.0, OFFSET)
    )
    assert far == pytest.approx(near, abs=1e-3)
    assert np.ptp(far, axis=0).max() > 0.1


def test_squares_beyond_double_precision_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="real: holds numbers beyond 1e150"):
        frechet(REAL * 1e200, FAR * 1e200)
