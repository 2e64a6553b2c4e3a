"""Checks of how a GAN and a pyramid are wired together: averages, noise, fresh samples.
 Each is a function without arguments that raises ``AssertionError``; the estimators' tests run them
on the library, and ``mutants`` with a bug planted. They ask the estimators' public methods alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria import GAN, LAPGAN
from equilibria.models.generator import Generator
from equilibria.random import Stream

STILL = 1e-12  # a learning rate at which parameters stay where they are
ROWS = Stream(0).normal((60, 2)).numpy()
PICTURES = Stream(0).uniform((80, 64)).numpy()


def average_of_a_gan() -> None:
    """The generator that samples is m ← d·m + (1 − d)·θ over the rounds, d = min(average, (1 +
    t)/(10 + t)), to 1e-5."""

    def generator(average: float, steps: int, rate: float = 0.01) -> Tensor:
        how: dict[str, Any] = {"schedule": "constant", "penalties": {}, "max_frequency": 0.0}
        how |= {"hidden": (6,), "batch_size": 20, "random_state": 0}
        model = GAN(steps=steps, average=average, learning_rate=rate, **how).fit(ROWS)
        return torch.cat([p.detach().reshape(-1) for p in model.generator_.parameters()]).double()

    rounds = [generator(0.0, steps) for steps in range(1, 9)]
    mean = generator(0.0, 1, STILL)  # where all of them began
    for t, here in enumerate(rounds):
        decay = min(0.4, (1 + t) / (10 + t))
        mean = decay * mean + (1 - decay) * here
    found = generator(0.4, 8)
    assert not torch.allclose(found, rounds[-1], rtol=0, atol=1e-4)
    assert torch.allclose(found, mean, rtol=0, atol=1e-5)


def turns_of_a_round() -> None:
    """In a round the generator is asked once by each update of the critic, and once by its own."""
    asked: list[int] = []

    def note(module: nn.Module, given: Any) -> None:
        if isinstance(module, Generator) and module.training:  # copies that are monitored are not
            asked.append(len(given[0]))

    for turns in (1, 3):
        asked.clear()
        with nn.modules.module.register_module_forward_pre_hook(note):
            GAN(hidden=(6,), latent_dim=3, steps=5, critic_steps=turns, random_state=0).fit(ROWS)
        assert len(asked) == 5 * (turns + 1)


@contextmanager
def noise_of(modules: list[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """The noise that generators are called with, a list for each."""
    seen: list[list[Tensor]] = [[] for _ in modules]
    hooks = [
        module.register_forward_pre_hook(
            lambda _, given, kept=kept: kept.append(given[0].detach().clone())
        )
        for module, kept in zip(modules, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def noise_of_a_pyramid() -> None:
    """Each level's noise is its own: no correlation in 500 · 8 pairs, whose √n·r exceeds 5 once in
    two million draws."""
    how: dict[str, Any] = {"channels": 4, "picture_shape": (8, 8), "value_range": (0, 1)}
    how |= {"hidden": (6, 4), "steps": 2, "batch_size": 20, "latent_dim": 8, "prior": "normal"}
    model = LAPGAN(**how, random_state=0).fit(PICTURES)
    networks = [generator.network for generator in model.generator_.generators]
    with noise_of(networks) as seen:
        model.sample(500)
    drawn = [torch.cat(parts).double().reshape(-1).numpy() for parts in seen]
    assert len(drawn) >= 2
    for here, there in itertools.combinations(drawn, 2):
        assert abs(np.corrcoef(here, there)[0, 1]) * np.sqrt(len(here)) < 5


def fresh_samples_judge_a_ratio() -> None:
    """No sample that the ratio was fitted on is among those that it is judged by."""
    model = GAN(hidden=(8,), latent_dim=3, prior="normal", steps=3, batch_size=20, random_state=0)
    critic = model.fit(ROWS).critic_
    with noise_of([model.generator_.network]) as (seen,):
        critic.fit_ratio(Stream(1).normal((60, 2)).numpy(), how="head")
        fitted = {row.numpy().tobytes() for part in seen for row in part}
        for judge in (critic.jsd, critic.calibration):
            seen.clear()
            judge(Stream(2).normal((60, 2)).numpy())
            judged = {row.numpy().tobytes() for part in seen for row in part}
            assert len(judged) == len(fitted) == 60
            assert not judged & fitted


CHECKS: dict[str, Callable[[], None]] = {
    f"{check.__name__}()": check
    for check in (
        average_of_a_gan,
        turns_of_a_round,
        noise_of_a_pyramid,
        fresh_samples_judge_a_ratio,
    )
}
"""Every check by name."""
