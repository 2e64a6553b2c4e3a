"""The supervised game against a network and a gradient written by hand, and its masks against their
law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equilibria.data import Batch
from equilibria.games.supervised import SupervisedGame
from equilibria.models.unrolled import UnrolledNetwork
from equilibria.networks.mlp import MLP
from equilibria.random import Stream

LABEL = torch.tensor([0, 2, -1, 1, 1, -1, 0])


def game(dropout: tuple[float, float] = (0.0, 0.0), **settings: object) -> SupervisedGame:
    """Two hidden layers, 6-5-4, and three classes, with large random weights in float64."""
    network = UnrolledNetwork((6, 5, 4), classes=3).double()
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(Stream(0).child(i).normal(parameter.shape, torch.float64))
    return SupervisedGame(network, dropout, **settings)  # type: ignore[arg-type]


def batch() -> Batch:
    return Batch(Stream(1).normal((7, 10), torch.float64), label=LABEL)


def by_hand(
    played: SupervisedGame, x: Tensor, masks: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor]]:
    """Cost and gradient by the chain rule, in the order of the network's parameters."""
    W, b, V, c, U, d = played.network.parameters()
    m0, m1, m2 = masks if masks else (torch.ones(()),) * 3
    x = x * m0
    s1 = 1 / (1 + torch.exp(-(x @ W.T + b)))
    h1 = s1 * m1
    s2 = 1 / (1 + torch.exp(-(h1 @ V.T + c)))
    h2 = s2 * m2
    logits = h2 @ U.T + d
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    rows = [i for i, label in enumerate(LABEL.tolist()) if label >= 0]
    cost = -sum(torch.log(p[i, LABEL[i]]) for i in rows) / len(rows)
    error = torch.zeros_like(p)  # dJ / dlogits
    for i in rows:
        error[i] = p[i] / len(rows)
        error[i, LABEL[i]] -= 1 / len(rows)
    e2 = (error @ U) * m2 * s2 * (1 - s2)
    e1 = (e2 @ V) * m1 * s1 * (1 - s1)
    return cost, [e1.T @ x, e1.sum(0), e2.T @ h1, e2.sum(0), error.T @ h2, error.sum(0)]


@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.3, 0.5), (0.0, 0.5)])
def test_cost_and_gradient_are_those_written_by_hand(dropout: tuple[float, float]) -> None:
    played = game(dropout)
    drawn = played.draw(batch(), Stream(2))
    assert bool(drawn.masks) == any(dropout)
    with torch.no_grad():
        cost, expected = by_hand(played, drawn.values, drawn.masks)
    assert abs(played.cost("network", drawn).item() - cost.item()) < 1e-12
    for found, wanted in zip(played.gradient("network", drawn), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-10)
        assert found.abs().max() > 1e-4


def test_cost_is_a_pure_function_of_what_was_drawn() -> None:
    played = game((0.3, 0.5))
    one, same, other = (played.draw(batch(), Stream(seed)) for seed in (3, 3, 4))
    assert torch.equal(played.cost("network", one), played.cost("network", one))
    assert torch.equal(played.cost("network", one), played.cost("network", same))
    assert not torch.equal(played.cost("network", one), played.cost("network", other))


def test_a_missing_label_takes_no_part() -> None:
    played, full = game(), batch()
    known = full.label >= 0
    part = played.draw(Batch(full.values[known], label=full.label[known]), Stream(0))
    whole = played.draw(full, Stream(0))
    for found, wanted in zip(
        played.gradient("network", whole), played.gradient("network", part), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    nothing = played.draw(Batch(full.values, label=torch.full((7,), -1)), Stream(0))
    assert played.cost("network", nothing).item() == 0
    assert all(not gradient.any() for gradient in played.gradient("network", nothing))
    assert played.measure(nothing)["error"].item() == 0


def test_measure_counts_the_labelled_rows_that_are_wrong() -> None:
    played = game()
    drawn = played.draw(batch(), Stream(0))
    answers = played.network(drawn.values).argmax(1)
    wrong = sum(int(answers[i] != LABEL[i]) for i in range(7) if LABEL[i] >= 0)
    measured = played.measure(drawn)
    assert measured["error"].item() == pytest.approx(wrong / 5)
    assert measured["cost"].item() == pytest.approx(played.cost("network", drawn).item())


def test_masks_keep_the_mean_and_the_shares() -> None:
    """20,000 rows: a share is off by 5 standard errors with a chance of 6e-7, and a rate wrong by
    .01 is 9 of them or more."""
    played = SupervisedGame(UnrolledNetwork((1, 1, 1), classes=2), (0.2, 0.5))
    x = torch.ones(20_000, 2)
    masks = played.draw(Batch(x, label=torch.zeros(20_000)), Stream(5)).masks
    for mask, rate in zip(masks, (0.2, 0.5, 0.5), strict=True):
        assert set(mask.unique().tolist()) == {0.0, 1 / (1 - rate)}
        kept = (mask > 0).double().mean().item()
        assert abs(kept - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / mask.numel())
    first, second, third = (mask[:, 0] > 0 for mask in masks)
    for one, other in ((first, second), (second, third), (first, third)):
        assert abs(torch.corrcoef(torch.stack([one, other]).double())[0, 1].item()) < 5 / math.sqrt(
            20_000
        )


def test_two_shares_of_a_batch_draw_what_one_process_would() -> None:
    played, rows = game((0.3, 0.5)), Stream(1).normal((8, 10), torch.float64)
    label = torch.zeros(8)
    whole = played.draw(Batch(rows, label=label), Stream(6)).masks
    halves = [
        played.draw(
            Batch(rows[4 * rank : 4 * rank + 4], label=label[:4]), Stream(6).shard(rank)
        ).masks
        for rank in (0, 1)
    ]
    for mask, one, other in zip(whole, *halves, strict=True):
        assert torch.equal(mask, torch.cat([one, other]))


def test_bfloat16_products_leave_parameters_and_gradients_in_float32() -> None:
    exact, rough = game().float(), game(precision="bfloat16").float()
    rows = Batch(batch().values.float(), label=LABEL)
    wanted, found = (
        played.gradient("network", played.draw(rows, Stream(0))) for played in (exact, rough)
    )
    for one, other in zip(wanted, found, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert (
            one - other
        ).norm() < 0.05 * one.norm()  # bfloat16 has 8 bits: 0.4 % a rounding, some of which add up


def test_a_batch_without_labels_is_refused() -> None:
    played = SupervisedGame(MLP((2, 3), stream=Stream(0)))
    with pytest.raises(ValueError, match=r"batch: .* labels"):
        played.draw(Batch(torch.zeros(1, 2)), Stream(0))


def test_the_adversary_shifts_each_row_as_far_as_it_may_up_the_slope() -> None:
    played = game((0.3, 0.5), adversary=0.25, columns=6)
    drawn = played.draw(batch(), Stream(2))
    with torch.no_grad():
        _, shifted = played.shift(drawn)
    move = shifted - drawn.values
    known = LABEL >= 0
    assert torch.allclose(
        move[known].norm(dim=1), torch.full((5,), 0.25, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert not move[:, 6:].any()
    assert not move[~known].any()
    small = 1e-6
    for row in (
        torch.nonzero(known).flatten().tolist()
    ):  # no unit direction climbs faster than the one taken: central differences
        slope = torch.zeros(6, dtype=torch.float64)
        for column in range(6):
            ends = []
            for sign in (1, -1):
                x = drawn.values.clone()
                x[row, column] += sign * small
                ends.append(by_hand(played, x, drawn.masks)[0].item())
            slope[column] = (ends[0] - ends[1]) / (2 * small)
        assert torch.allclose(move[row, :6] / 0.25, slope / slope.norm(), rtol=0, atol=1e-5)


def test_with_an_adversary_half_is_paid_for_each_kind_of_row() -> None:
    played = game((0.3, 0.5), adversary=1e-4)  # short: the shift is the worst one to first order
    drawn = played.draw(batch(), Stream(2))
    assert not torch.equal(drawn.masks[1], drawn.shifted_masks[1])
    shifted = played.shift(drawn)[1]
    plain, plain_slopes = by_hand(played, drawn.values, drawn.masks)
    other, other_slopes = by_hand(played, shifted, drawn.shifted_masks)
    assert by_hand(played, shifted, drawn.masks)[0] > plain
    assert played.cost("network", drawn).item() == pytest.approx(
        (plain.item() + other.item()) / 2, abs=1e-12
    )
    for found, one, two in zip(
        played.gradient("network", drawn), plain_slopes, other_slopes, strict=True
    ):
        assert torch.allclose(found, (one + two) / 2, rtol=0, atol=1e-10)
