"""What a GAN can be asked by its critic and its generator, on networks whose answers are set by
hand so that the truth is known."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from equilibria import GAN, load

OPTIONS = {
    "hidden": (8,),
    "latent_dim": 2,
    "steps": 3,
    "batch_size": 20,
    "average": 0.0,
    "random_state": 0,
    "prior": "normal",
    "loss": "non-saturating",
    "penalties": {},
    "max_frequency": 0,
}
X = np.random.RandomState(0).normal(size=(400, 2))
SHIFT = np.array([1.0, 0.0])
HELD_OUT = np.random.RandomState(1).normal(size=(4000, 2)) + SHIFT


def set_linear(network: Any, weight: list[list[float]], bias: list[float]) -> None:
    """A network of one hidden layer that is a linear map: a unit for x and one for −x of each
    column."""
    lower, upper = network.layers
    weights, size = torch.tensor(weight), len(weight[0])
    # relu(x) − relu(−x) = x; leaky(x) − leaky(−x) = 1.2 x
    slope = 1.0 if network.activation == "relu" else 1.2
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for i in range(size):
            lower.weight[2 * i, i], lower.weight[2 * i + 1, i] = 1.0, -1.0
            upper.weight[:, 2 * i] = weights[:, i] / slope
            upper.weight[:, 2 * i + 1] = -weights[:, i] / slope
        upper.bias.copy_(torch.tensor(bias))


@functools.cache
def fitted(**options: Any) -> GAN:
    return GAN(**{**OPTIONS, **options}).fit(X)


def known(offset: float = 0.0, factor: float = 1.0, **options: Any) -> GAN:
    """G(z) = z, so p_g = N(0, I); D's logit is factor · (x₁ − ½) + offset, where N((1, 0), I)
    against it has x₁ − ½."""
    model = copy.deepcopy(fitted(**options))
    (layer,) = model.table_.layers
    plain = dataclasses.replace(layer, offset=(0.0, 0.0), scale=(1.0, 1.0))
    model.table_ = dataclasses.replace(model.table_, layers=(plain,))
    set_linear(model.generator_.network, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    set_linear(model.critic_.network, [[factor, 0.0]], [offset - factor / 2])
    return model


def truth(rows: np.ndarray) -> np.ndarray:
    return rows[:, 0] - 0.5


@pytest.mark.parametrize(("loss", "factor"), [("non-saturating", 1.0), ("hellinger", 0.5)])
def test_the_formula_is_the_ratio_of_the_best_critic(loss: str, factor: float) -> None:
    """Hellinger's best critic answers half the log-ratio."""
    model, rows = known(factor=factor, loss=loss), HELD_OUT[:50]
    found = model.critic_.log_ratio(rows)
    assert np.allclose(found, truth(rows), atol=1e-5)
    assert found.dtype == np.float64
    assert model.critic_.ratio is None


def test_a_ratio_up_to_a_constant_has_it_fitted() -> None:
    critic = known(offset=2.0, loss="relativistic").critic_
    with pytest.raises(ValueError, match="loss='relativistic': this critic gives no ratio as it"):
        critic.log_ratio(X)
    ratio = critic.fit_ratio(HELD_OUT).ratio
    assert ratio is not None
    assert ratio.how == "constant"
    assert abs(ratio.bias + 2) < 0.2


@pytest.mark.parametrize(
    ("how", "offset", "factor"), [("constant", 3.0, 1.0), ("scale", 1.0, 4.0), ("head", 2.0, 0.3)]
)
def test_what_is_fitted_on_held_out_rows_comes_near_the_truth(
    how: str, offset: float, factor: float
) -> None:
    """4,000 rows of each: the standard error of log r is below .05 where the rows are; .3 would be
    six of them."""
    critic = known(offset, factor).critic_.fit_ratio(HELD_OUT, how=how)
    rows = np.column_stack([np.linspace(-1, 2, 7), np.zeros(7)])
    assert critic.ratio is not None
    assert critic.ratio.how == how
    assert np.abs(critic.log_ratio(rows) - truth(rows)).max() < 0.3


def test_losses_without_a_formula_need_a_head() -> None:
    model = known(factor=0.2, loss="hinge")
    with pytest.raises(ValueError, match="loss='hinge': this critic gives no ratio as it is"):
        model.critic_.log_ratio(X)
    with pytest.raises(ValueError, match="fit one on held-out rows"):
        model.sample(3, refine="sir")
    with pytest.raises(ValueError, match="has no formula for the ratio; use how='head'"):
        model.critic_.fit_ratio(HELD_OUT, how="scale")


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"loss": "hinge"}, "head"),
        ({"loss": None}, "constant"),
        ({"loss": None, "penalties": {"r1": 1.0}}, "head"),
        ({"loss": None, "penalties": {"r1": 1.0}, "annealing": 1e-4}, "constant"),
        ({"packing": 2}, "head"),
        ({"instance_noise": 0.1}, "head"),
        ({}, "formula"),
    ],
    ids=str,
)
def test_the_reading_is_right_for_the_best_critic(options: dict[str, Any], how: str) -> None:
    """A penalty, packs and noise keep a critic from it; a penalty that falls is nothing in the
    end."""
    model = GAN(**{**OPTIONS, **options}, validation_fraction=0.25).fit(X)
    assert model.critic_.ratio.how == how


def test_rows_are_kept_from_training_for_the_ratio(monkeypatch: Any) -> None:
    """No row that a batch had is among those that the ratio was fitted to: 100 of 400."""
    import equilibria.estimators.critic as place
    from equilibria.data.batches import Batches

    fitted_to: list[np.ndarray] = []
    original = place.fit_ratio
    monkeypatch.setattr(
        place, "fit_ratio", lambda real, *rest: fitted_to.append(real) or original(real, *rest)
    )
    seen: set[tuple[float, ...]] = set()
    at = Batches.at

    def noted(own: Batches, position: int) -> Any:
        batch = at(own, position)
        seen.update(map(tuple, batch.values.tolist()))
        return batch

    monkeypatch.setattr(Batches, "at", noted)
    how = {"steps": 60, "loss": "relativistic", "validation_fraction": 0.25}
    model = GAN(**{**OPTIONS, **how}).fit(X)
    critic = model.critic_.network.double()
    with torch.no_grad():
        answers = {float(v) for v in critic(torch.tensor(sorted(seen), dtype=torch.float64))}
    kept = set(fitted_to[0].ravel().tolist())
    assert (len(seen), len(kept)) == (300, 100)
    assert not {round(v, 9) for v in answers} & {round(v, 9) for v in kept}
    assert fitted().critic_.ratio is None, "nothing was kept to fit it on"


def test_the_ratio_is_saved_and_loaded(tmp_path: Path) -> None:
    model = GAN(**OPTIONS, validation_fraction=0.5).fit(X)
    assert model.critic_.ratio.how == "formula"
    for how in ("constant", "scale", "head"):
        model.critic_.fit_ratio(HELD_OUT, how=how)
        model.save(tmp_path / how)
        again = load(tmp_path / how)
        assert again.critic_.ratio.how == how
        assert np.array_equal(again.critic_.log_ratio(X), model.critic_.log_ratio(X))
        assert np.array_equal(again.sample(20, refine="reject"), model.sample(20, refine="reject"))


@pytest.mark.parametrize("method", ["reject", "mh", "sir", "langevin"])
def test_refined_samples_have_the_law_of_the_data(method: str) -> None:
    """From N(0, I) to N((1, 0), I): means and variances of 2,000 rows (false alarm 1e-6 each);
    plain samples are 45 errors off."""
    fewer = {"burn_in": 30, "steps": 20} if method == "langevin" else {}
    model = known()
    rows = model.refined(2000, method, **fewer)[0]
    threshold = 4.9 / math.sqrt(2000)
    assert np.abs(rows.mean(0) - SHIFT).max() < threshold
    assert np.abs(rows.var(0) - 1).max() < threshold * math.sqrt(2) + 0.03
    assert np.abs(model.sample(2000).mean(0)).max() < threshold
    again, report = model.refined(50, method)
    assert np.array_equal(model.sample(50, refine=method), again)
    assert report.method == method
    assert not np.array_equal(again, model.sample(50, refine=method, random_state=5))


@pytest.mark.parametrize("prior", ["uniform", "mixed"])
def test_langevin_knows_the_prior(prior: str) -> None:
    rows, report = known(prior=prior).refined(300, "langevin", burn_in=20, steps=20)
    assert 0.2 < report.acceptance <= 1
    if prior == "uniform":
        assert np.abs(rows).max() <= 1
    else:
        assert set(np.unique(np.round(rows[:, 1], 4))) == {-1.0, 1.0}
    assert rows[:, 0].mean() > 0.1


def test_a_ratio_is_calibrated_or_not() -> None:
    right, sure = (known(factor=f).critic_.calibration(HELD_OUT) for f in (1.0, 3.0))
    assert not right.measure.warning
    mean = right.measure["mean ratio over samples"]
    assert abs(mean.value - 1) < 2.5 * (mean.high - mean.value)
    assert sure.measure.warning
    assert sure.slope == pytest.approx(1 / 3, abs=0.05)
    after = sure.measure["calibration error after recalibration"]
    assert after.value < 2.5 * after.chance


LABELS = np.where(X[:, 0] > 0, "right", "left")


@pytest.mark.parametrize(
    "options",
    [
        {"labels": True},
        {"labels": True, "semi_supervised": True},
        {"condition": [1]},
        {"packing": 2},
        {"loss": None, "penalties": None, "max_frequency": None},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_kind_of_critic_is_read(options: dict[str, Any], tmp_path: Path) -> None:
    """Ratio, refined samples and codes of conditional, semi-supervised and packed models; the same
    after a journey through a file."""
    model = GAN(**{**OPTIONS, **options}, validation_fraction=0.3)
    model.fit(X, LABELS if "labels" in options else None)
    y = LABELS[:30] if options == {"labels": True} else None
    ratio = model.critic_.log_ratio(X[:30], y)
    assert ratio.shape == (30,)
    assert np.isfinite(ratio).all()
    assert np.ptp(ratio) > 0
    few = model.critic_.log_ratio(X[:7], None if y is None else y[:7])
    assert np.allclose(few, ratio[:7], atol=1e-9)
    given = np.array([np.nan, 0.25]) if "condition" in options else None
    for method in ("reject", "langevin"):
        rows = model.sample(6, "left" if y is not None else None, given, refine=method)
        assert rows.shape == (6, 2)
        assert given is None or (rows[:, 1] == 0.25).all()
    assert model.encode(X[:3], None if y is None else y[:3], iterations=5).shape == (3, 2)
    assert model.critic_.jsd(X[:50], None if y is None else LABELS[:50]).n == 100
    assert model.critic_.features(X[:4], None if y is None else y[:4]).shape == (4, 8)
    model.save(tmp_path / "run")
    assert np.array_equal(load(tmp_path / "run").critic_.log_ratio(X[:30], y), ratio)
    if y is not None:
        with pytest.raises(ValueError, match="y: this GAN's critic judges a row together with its"):
            model.critic_.log_ratio(X)


def test_the_divergence_is_bounded_from_below() -> None:
    """JSD of N((1, 0), I) and N(0, I), by quadrature .1106; a critic that is wrong gives less."""
    found = known().critic_.jsd(HELD_OUT)
    error = (found.high - found.low) / 3.92
    assert abs(found.value - 0.1106) < 4.9 * error + 2e-4
    assert known(factor=-1.0).critic_.jsd(HELD_OUT).value < 0
    assert "lower bound" in found.note


def test_codes_and_back() -> None:
    model, rows = known(), HELD_OUT[:10]
    codes, residuals = model.encode(rows, return_residuals=True)
    assert np.abs(codes - rows).max() < 1e-3
    assert residuals.max() < 1e-5
    assert np.abs(model.decode(codes) - rows).max() < 1e-3
    assert np.array_equal(model.encode(rows), codes)
    man, man_with_x, woman = rows[:3]
    way = model.encode([man_with_x]) - model.encode([man]) + model.encode([woman])
    assert np.abs(model.decode(way) - (man_with_x - man + woman)).max() < 1e-2


def test_ways_and_directions() -> None:
    model = known()
    way = model.interpolate([1.0, 0.0], [0.0, 1.0], n=3)
    assert np.allclose(way, [[1, 0], [math.sqrt(0.5)] * 2, [0, 1]], atol=1e-6)
    rows = HELD_OUT[:60]
    labels = np.where(rows[:, 1] > 0, "up", "down")
    expected = rows[labels == "up"].mean(0) - rows[labels == "down"].mean(0)
    assert np.abs(model.direction(rows, labels) - expected).max() < 1e-3


def test_there_is_no_density() -> None:
    model = known()
    assert not hasattr(model, "score_samples")
    with pytest.raises(AttributeError) as refused:
        model.score_samples(X)
    said = str(refused.value.__cause__ or refused.value)
    assert "a GAN has no density, and so no score_samples; critic_.log_ratio(X)" in said


def test_nothing_is_left_changed() -> None:
    model = known()
    before = {name: value.clone() for name, value in model.model_.state_dict().items()}
    for method in ("reject", "langevin"):
        model.sample(5, refine=method)
    model.encode(X[:2], iterations=3)
    model.critic_.log_ratio(X)
    assert all(torch.equal(v, before[name]) for name, v in model.model_.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.model_.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample(3, refine="polish"), "refine='polish': expected 'reject', 'mh', 'sir'"),
        (lambda m: m.sample(3, given=[1, 2]), "given: a GAN draws whole rows"),
        (lambda m: m.critic_.log_ratio(X, y=[1]), r"y=\[1\]: this GAN is not conditional"),
        (lambda m: m.critic_.log_ratio(X[:, :1]), "X has 1 features"),
        (lambda m: m.critic_.fit_ratio(X[:5], how="scale"), "5 and 5 rows"),
        (lambda m: m.critic_.fit_ratio(X, how="guess"), "how='guess': expected 'auto'"),
        (lambda m: m.decode(X[:, :1]), r"codes has shape \(400, 1\) of float64: expected finite"),
        (lambda m: m.decode([[math.nan, 0]]), "codes has shape"),
        (lambda m: m.interpolate([1, 2], [1, 2, 3]), r"b has shape \(1, 3\)"),
        (lambda m: m.interpolate([1, 2], [1, 2], n=1), "n=1: expected"),
        (lambda m: m.direction(X[:4], [0, 1, 2, 0]), r"the values \[0, 1, 2\]: expected one each"),
        (lambda m: m.direction(X[:4], [0, 1]), "y has 2 labels for 4 rows of X"),
    ],
)
def test_what_cannot_be_done_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(known())


def test_an_unfitted_model_says_so() -> None:
    for ask in (lambda m: m.sample(), lambda m: m.critic_, lambda m: m.encode(X)):
        with pytest.raises(NotFittedError):
            ask(GAN())
