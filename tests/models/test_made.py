"""What MADE has of its own: a seed's model of one mask, weights that masks share, connectivities.

Densities, draws and completions, which it shares with NADE, are in ``test_autoregressive.py``.
"""

from __future__ import annotations

import pytest
import torch

from equilibria.models.made import MADE
from equilibria.random import Stream
from equilibria.units import Bernoulli
from orders import mixed, moved, states


@torch.no_grad()
def test_one_mask_is_the_model_that_the_seed_always_gave() -> None:
    """Figures of the version that knew no ensembles: its runs load, and draw the same rows."""
    model = MADE(mixed(), (12, 9), Stream(3))
    assert model.order.tolist() == [0, 1, 5, 4, 3, 2]
    names = ["order", "owner", *(f"layers.{i}.{w}" for i in range(3) for w in ("weight", "bias"))]
    assert list(model.state_dict()) == names
    sums = [float(p.double().sum()) for p in model.parameters()]
    assert sums == pytest.approx([0.95435, 0, 2.483621, 0, 8.036044, 0], abs=1e-5)
    drawn = model.sample(400, Stream(1))
    assert drawn.sum(0).tolist() == [179, 234, 215, 159, 108, 133, 198, 32]
    assert float(model.log_prob(drawn).double().mean()) == pytest.approx(-4.3217105, abs=1e-6)
    paid = model.objective(states().float(), Stream(0))
    assert torch.equal(paid, -model.log_prob(states().float()))


def test_a_model_of_one_mask_begins_with_no_weight_that_it_never_uses() -> None:
    """Of several masks that share the weights every weight begins by the mean fan-in."""
    alone, shared = (MADE({"v": Bernoulli(9)}, (40,), Stream(0), masks=m) for m in (1, 4))
    for layer, mask in zip(alone.layers, alone.masks_of(alone.route()), strict=True):
        assert ((layer.weight != 0) <= mask).all()
    for layer, mask in zip(shared.layers, shared.masks_of(shared.route()), strict=True):
        assert bool((layer.weight != 0).all())
        heard = mask.float().sum(1).clamp(min=1).mean()
        assert float(layer.weight.detach().std()) == pytest.approx(
            float((2 / heard) ** 0.5), rel=0.2
        )


@torch.no_grad()
def test_masks_follow_an_order_that_is_loaded() -> None:
    units = {"visible": Bernoulli(6)}
    first, second = (MADE(units, (12,), Stream(seed)) for seed in range(2))
    second.load_state_dict(first.state_dict())
    assert second.order.tolist() == first.order.tolist()
    masks = second.masks_of(second.route())
    for (weight, _), mask in zip(second.weights(second.route()), masks, strict=True):
        assert not weight[~mask].any()


def test_members_differ_in_order_and_in_connectivity() -> None:
    model = moved(MADE({"v": Bernoulli(9)}, (40, 30), Stream(0), masks=4))
    routes = [model.route(m) for m in range(4)]
    assert len({tuple(route.order) for route in routes}) == 4
    for i, width in enumerate((40, 30)):
        assert len({tuple(route.degrees[i].tolist()) for route in routes}) == 4
        for route in routes:  # each rank but the last is heard up to by as many units, or one more
            counts = route.degrees[i].bincount(minlength=8)
            assert int(counts.sum()) == width
            assert int(counts.max() - counts.min()) <= 1


@torch.no_grad()
def test_orders_of_which_any_may_come_share_the_degrees() -> None:
    model = MADE({"v": Bernoulli(9)}, (40, 30), Stream(0), masks=3, order="any")
    routes = [*map(model.route, range(3)), *(model.route_for(Stream(i)) for i in (7, 8, 9))]
    assert len({tuple(route.order) for route in routes}) == 6
    for route in routes:
        pairs = zip(route.degrees, routes[0].degrees, strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
