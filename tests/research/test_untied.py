"""Recognition weights of their own: where they begin, and what depends on them."""

from __future__ import annotations

import numpy as np
import torch

import belief
from research.untied import UntiedNetwork


def test_recognition_begins_where_it_was_and_leaves_the_distribution_alone() -> None:
    tied = belief.network_of("deep")
    v = belief.visible_of(tied)
    network = UntiedNetwork(list(tied.machines))
    assert sorted(network.recognition) == ["hidden1-hidden2", "visible-hidden1"]
    before, truth = tied.log_weights(v, 4), belief.log_prob(tied, v)
    assert torch.allclose(network.log_weights(v, 4), before, atol=1e-12)
    with torch.no_grad():
        network.recognition["visible-hidden1"].add_(1.0)
    assert np.abs(belief.log_prob(network, v) - truth).max() < 1e-12
    assert not torch.allclose(network.log_weights(v, 4), before)
    assert torch.equal(tied.log_weights(v, 4), before)
