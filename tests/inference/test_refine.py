"""Refinement on a generator with five atoms, where the law of every row is a sum that is written
out in ``refinements.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.inference.refine import (
    Candidates,
    acceptance,
    metropolis,
    metropolis_hastings,
    reject,
    sir,
)
from equilibria.random import Stream
from refinements import (
    ALARM,
    DATA,
    GENERATED,
    LOGS,
    RATIO,
    ROWS,
    STREAM,
    assert_law,
    chains,
    choice,
    kernel,
    noise,
    rejection,
    weight,
)

METHODS = {"reject": reject, "mh": metropolis_hastings, "sir": sir}


def test_what_rejection_takes_has_the_law_of_the_data() -> None:
    taken = GENERATED * acceptance(LOGS, float(LOGS.max())).numpy()
    assert np.abs(taken / taken.sum() - DATA).max() < 1e-12
    assert taken.sum() == pytest.approx(1 / RATIO.max(), abs=1e-12)


def test_rejection_in_time_is_exact() -> None:
    found = reject(noise, weight, ROWS, STREAM)
    assert_law(found.noise, DATA)
    assert not found.short.any()
    assert found.bound == pytest.approx(math.log(RATIO.max()) + 0.7)
    assert found.exceeded == 0
    z = (found.acceptance - 1 / RATIO.max()) / math.sqrt(
        1 / RATIO.max() * 0.75 / (ROWS * RATIO.max())
    )
    assert abs(z) < stats.norm.isf(ALARM / 2)


@pytest.mark.parametrize("tries", [1, 3])
def test_rows_out_of_tries_are_filled_in_by_weight(tries: int) -> None:
    rejection(tries)


def test_the_shift_takes_more_and_is_not_exact() -> None:
    """γ moves log a/(1 − a) by a constant; the law is then p_g a, and no longer the data's."""
    logs = torch.linspace(-6, -1e-9, 50, dtype=torch.float64)
    plain, shifted = (acceptance(logs, 0.0, shift) for shift in (0.0, -2.0))
    assert torch.allclose(
        torch.logit(shifted) - torch.logit(plain), torch.full_like(plain, 2.0), atol=1e-6
    )
    found = reject(noise, weight, ROWS, STREAM, quantile=0.5)
    q = RATIO / RATIO.max()
    odds = q[:3] / (
        1 - q[:3]
    )  # the middle one of the burn-in: atoms 0, 1, 2 below the bound, and 4 at 0
    median = np.sort(
        np.concatenate([np.repeat(odds, (GENERATED[:3] * 1000).astype(int)), np.zeros(50)])
    )[475]
    law = GENERATED * q / (q + (1 - q) * median)
    assert_law(found.noise, law)
    assert found.acceptance > 1.5 / RATIO.max()


def test_proposals_above_the_bound_are_counted() -> None:
    found = reject(noise, weight, 2000, STREAM, burn_in=1)
    assert found.bound < math.log(RATIO.max()) + 0.7
    assert 0.05 < found.exceeded < 0.6


def test_the_chains_kernel_keeps_the_law_of_the_data() -> None:
    transitions = kernel()
    assert np.abs(transitions.sum(1) - 1).max() < 1e-12
    assert np.abs(DATA @ transitions - DATA).max() < 1e-10


@pytest.mark.parametrize("steps", [12])
def test_chains_have_the_law_of_the_kernels_power(steps: int) -> None:
    chains(steps)


def test_a_move_is_taken_with_metropolis_probability() -> None:
    u = Stream(1).uniform((1000,), torch.float64)
    old, new = (
        torch.linspace(-2, 2, 1000, dtype=torch.float64),
        torch.full((1000,), 0.3, dtype=torch.float64),
    )
    assert torch.equal(metropolis(old, new, Stream(1)), u < (new - old).exp())
    nowhere = torch.full((4,), -math.inf, dtype=torch.float64)
    assert metropolis(nowhere, nowhere, Stream(0)).all()
    assert not metropolis(torch.zeros(4, dtype=torch.float64), nowhere, Stream(0)).any()


@pytest.mark.parametrize("candidates", [1, 4])
def test_a_choice_by_weight_has_its_enumerated_law(candidates: int) -> None:
    choice(candidates)


def test_many_candidates_are_as_good_as_the_data() -> None:
    """The law is off by about Var(r)/candidates ≈ .003 in total variation, which 4,000 rows do not
    show."""
    assert_law(sir(noise, weight, 4000, STREAM, candidates=400).noise, DATA)


def test_nothing_is_chosen_where_nothing_has_weight() -> None:
    never = lambda z, rows: torch.full((len(z),), -math.inf)  # noqa: E731
    found = sir(noise, never, 50, STREAM, candidates=3)
    assert found.short.all()
    assert found.ess == 0
    assert Candidates(torch.zeros(2, 1)).ess == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_the_others(method: str) -> None:
    few, many = (METHODS[method](noise, weight, n, STREAM).noise for n in (20, 60))
    assert torch.equal(few, many[:20])
    assert not torch.equal(few, METHODS[method](noise, weight, 20, STREAM.child("other")).noise)


@pytest.mark.parametrize("method", METHODS)
def test_rows_say_which_condition_a_proposal_is_for(method: str) -> None:
    def conditional(z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.where(z[:, 0].long() == rows % 2, 0.0, -math.inf)

    found = METHODS[method](noise, conditional, 200, STREAM).noise[:, 0].long()
    assert torch.equal(found, torch.arange(200) % 2)


def test_rejection_keeps_the_shape_of_the_rows() -> None:
    pictures = reject(
        lambda n, stream: stream.uniform((n, 2, 3, 3)),
        lambda z, rows: -z.flatten(1).mean(1),
        7,
        STREAM,
    )
    assert pictures.noise.shape == (7, 2, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reject(noise, weight, 5, STREAM, tries=0), "tries=0: expected"),
        (lambda: reject(noise, weight, 5, STREAM, quantile=1.0), "quantile=1.0: expected"),
        (lambda: metropolis_hastings(noise, weight, 5, STREAM, steps=0), "steps=0: expected"),
        (lambda: sir(noise, weight, 5, STREAM, candidates=0), "candidates=0: expected"),
        (lambda: sir(noise, lambda z, rows: z[:, 0] * math.nan, 5, STREAM), "log_weight gave NaN"),
        (
            lambda: reject(noise, lambda z, rows: z[:, 0] + math.inf, 5, STREAM),
            "log_weight gave NaN or \\+inf",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
