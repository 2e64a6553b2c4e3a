"""What a trained GAN can be asked by its critic and its generator, on networks whose answers are set by hand so that the truth is known."""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
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
    "payoff": "non-saturating",
    "penalties": {},
    "bandwidth": 0,
}
X = np.random.RandomState(0).normal(size=(400, 2))
SHIFT = np.array([1.0, 0.0])
HELD_OUT = np.random.RandomState(1).normal(size=(4000, 2)) + SHIFT


def set_linear(network: torch.nn.Module, weight: list[list[float]], bias: list[float]) -> None:
    """A network of one hidden leaky rectifier layer that is a linear map: a unit for x and one for −x of each column."""
    lower, upper = network.layers
    weights, size = torch.tensor(weight), len(weight[0])
    slope = 1.0 if network.activation == "relu" else 1.2  # relu(x) − relu(−x) = x; leaky(x) − leaky(−x) = 1.2 x
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for i in range(size):
            lower.weight[2 * i, i], lower.weight[2 * i + 1, i] = 1.0, -1.0
            upper.weight[:, 2 * i], upper.weight[:, 2 * i + 1] = weights[:, i] / slope, -weights[:, i] / slope
        upper.bias.copy_(torch.tensor(bias))


@functools.cache
def fitted(**options) -> GAN:
    return GAN(**{**OPTIONS, **options}).fit(X)


def known(offset: float = 0.0, factor: float = 1.0, **options) -> GAN:
    """G(z) = z, so p_g = N(0, I); D's logit is factor · (x₁ − ½) + offset, where N((1, 0), I) against it has x₁ − ½."""
    model = copy.deepcopy(fitted(**options))
    model.schema_ = type(model.schema_).from_json({**model.schema_.to_json(), "offset": [0.0, 0.0], "scale": [1.0, 1.0]})
    set_linear(model.generator_.network, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    set_linear(model.critic_, [[factor, 0.0]], [offset - factor / 2])
    return model


def truth(rows: np.ndarray) -> np.ndarray:
    return rows[:, 0] - 0.5


def test_the_formula_is_the_ratio_of_the_best_critic():
    model = known()
    rows = HELD_OUT[:50]
    assert np.allclose(model.log_ratio(rows), truth(rows), atol=1e-5)
    assert model.ratio_ is None
    assert model.log_ratio(rows).dtype == np.float64


def test_a_payoffs_own_formula_is_used():
    """Hellinger's best critic answers half the log-ratio."""
    model = known(factor=0.5, payoff="hellinger")
    assert np.allclose(model.log_ratio(HELD_OUT[:50]), truth(HELD_OUT[:50]), atol=1e-5)


def test_a_ratio_up_to_a_constant_has_it_fitted():
    model = known(offset=2.0, payoff="relativistic")
    with pytest.raises(ValueError, match="payoff='relativistic': this critic gives no ratio as it is"):
        model.log_ratio(X)
    assert model.fit_ratio(HELD_OUT).ratio_.how == "constant"
    assert abs(model.ratio_.bias + 2) < 0.2


@pytest.mark.parametrize(("how", "offset", "factor"), [("constant", 3.0, 1.0), ("scale", 1.0, 4.0), ("head", 2.0, 0.3)])
def test_what_is_fitted_on_held_out_rows_comes_near_the_truth(how, offset, factor):
    """4,000 rows of each: the standard error of log r is below .05 where the rows are; .3 would be six of them."""
    model = known(offset, factor).fit_ratio(HELD_OUT, how=how)
    rows = np.column_stack([np.linspace(-1, 2, 7), np.zeros(7)])
    assert model.ratio_.how == how
    assert np.abs(model.log_ratio(rows) - truth(rows)).max() < 0.3


def test_payoffs_without_a_formula_need_a_head():
    model = known(factor=0.2, payoff="hinge")
    with pytest.raises(ValueError, match="payoff='hinge': this critic gives no ratio as it is"):
        model.log_ratio(X)
    with pytest.raises(ValueError, match="fit one on held-out rows"):
        model.sample(3, refine="sir")
    with pytest.raises(ValueError, match="has no formula for the ratio; use how='head'"):
        model.fit_ratio(HELD_OUT, how="scale")
    assert model.fit_ratio(HELD_OUT).ratio_.how == "head"
    model.payoff = None
    assert model.fit_ratio(HELD_OUT).ratio_.how == "constant", "of the network's own payoff"
    model.penalties = {"r1": 1.0}
    assert model.fit_ratio(HELD_OUT).ratio_.how == "head", "a penalty keeps the critic from its best answer"
    model.fade = 1e-4
    assert model.fit_ratio(HELD_OUT).ratio_.how == "constant", "a penalty that fades is nothing in the end"


def test_rows_are_kept_from_training_for_the_ratio():
    whole, part = GAN(**OPTIONS), GAN(**OPTIONS, validation_fraction=0.25)
    stages = {name: model.fit(X)._stages(X, None, 0, 1)[0] for name, model in (("whole", whole), ("part", part))}
    trained = {name: next(stage.batches).values for name, stage in stages.items()}
    assert len(part._kept[0]) == 100
    kept = {tuple(row) for row in part._encode(part._kept[0]).numpy()}
    seen = {tuple(row) for _ in range(60) for row in next(stages["part"].batches).values.numpy()}
    assert len(seen) == 300
    assert not kept & seen
    assert trained["whole"].shape == trained["part"].shape
    assert GAN(**OPTIONS, validation_fraction=0.25).fit(X).ratio_ is None or part.ratio_ is None


def test_the_ratio_is_fitted_at_the_end_saved_and_loaded(tmp_path):
    model = GAN(**OPTIONS, validation_fraction=0.5).fit(X)
    assert model.ratio_.how == "formula"
    assert model._kept is None
    for how in ("constant", "scale", "head"):
        model.fit_ratio(HELD_OUT, how=how).save(tmp_path / how)
        again = load(tmp_path / how)
        assert again.ratio_.how == how
        assert np.array_equal(again.log_ratio(X), model.log_ratio(X))
        assert np.array_equal(again.sample(20, refine="reject"), model.sample(20, refine="reject"))


@pytest.mark.parametrize("method", ["reject", "mh", "sir", "langevin"])
def test_refined_samples_have_the_law_of_the_data(method):
    """From N(0, I) to N((1, 0), I): means and variances of 2,000 rows (false alarm 1e-6 each); plain samples are 45 errors off."""
    model, fewer = known(), {"burn_in": 30, "steps": 20} if method == "langevin" else {}
    rows = model.refined(2000, method, **fewer)[0]
    threshold = 4.9 / math.sqrt(2000)
    assert np.abs(rows.mean(0) - SHIFT).max() < threshold
    assert np.abs(rows.var(0) - 1).max() < threshold * math.sqrt(2) + 0.03
    assert np.abs(model.sample(2000).mean(0)).max() < threshold
    again, report = model.refined(50, method)
    assert np.array_equal(model.sample(50, refine=method), again)
    assert report.method == method
    assert not np.array_equal(again, model.sample(50, refine=method, random_state=5))


def test_langevin_knows_the_prior():
    for prior in ("uniform", "mixed"):
        model = known(prior=prior)
        rows, report = model.refined(300, "langevin", burn_in=20, steps=20)
        assert 0.2 < report.acceptance <= 1
        if prior == "uniform":
            assert np.abs(rows).max() <= 1
        else:
            assert set(np.unique(np.round(rows[:, 1], 4))) == {-1.0, 1.0}
        assert rows[:, 0].mean() > 0.1


def test_a_ratio_is_calibrated_or_not():
    right, sure = (known(factor=factor).calibration(HELD_OUT) for factor in (1.0, 3.0))
    assert right.calibrated
    assert abs(right.before.mean_ratio - 1) < 4.9 * right.before.ratio_error
    assert not sure.calibrated
    assert sure.slope == pytest.approx(1 / 3, abs=0.05)
    assert sure.after.error < 2.5 * sure.after.floor


LABELS = np.where(X[:, 0] > 0, "right", "left")


@pytest.mark.parametrize(
    "options",
    [
        {"labels": True},
        {"labels": True, "semi_supervised": True},
        {"condition": [1]},
        {"packing": 2},
        {"payoff": None, "penalties": None, "bandwidth": None},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_kind_of_critic_is_read(options, tmp_path):
    """Ratio, refined samples and codes of conditional, semi-supervised and packed models; the same after a journey through a file."""
    model = GAN(**{**OPTIONS, **options}, validation_fraction=0.3).fit(X, LABELS if "labels" in options else None)
    y = LABELS[:30] if options == {"labels": True} else None
    ratio = model.log_ratio(X[:30], y)
    assert ratio.shape == (30,)
    assert np.isfinite(ratio).all()
    assert np.ptp(ratio) > 0
    assert np.allclose(model.log_ratio(X[:7], None if y is None else y[:7]), ratio[:7], atol=1e-9)
    given = np.array([np.nan, 0.25]) if "condition" in options else None
    for method in ("reject", "langevin"):
        rows = model.sample(6, y="left" if y is not None else None, given=given, refine=method)
        assert rows.shape == (6, 2)
        assert given is None or (rows[:, 1] == 0.25).all()
    assert model.encode(X[:3], None if y is None else y[:3], steps=5).shape == (3, 2)
    assert model.jsd(X[:50], None if y is None else LABELS[:50]).n == 100
    model.save(tmp_path / "run")
    assert np.array_equal(load(tmp_path / "run").log_ratio(X[:30], y), ratio)
    if y is not None:
        with pytest.raises(ValueError, match="y: this GAN's critic judges a row together with its label"):
            model.log_ratio(X)


def test_the_divergence_is_bounded_from_below():
    """JSD of N((1, 0), I) and N(0, I), by quadrature .1106; a critic that is wrong gives less."""
    found = known().jsd(HELD_OUT)
    error = (found.high - found.low) / 3.92
    assert abs(found.value - 0.1106) < 4.9 * error + 2e-4
    assert known(factor=-1.0).jsd(HELD_OUT).value < 0
    assert "lower bound" in found.note


def test_codes_and_back():
    model = known()
    rows = HELD_OUT[:10]
    codes, residuals = model.encode(rows, return_residuals=True)
    assert np.abs(codes - rows).max() < 1e-3
    assert residuals.max() < 1e-5
    assert np.abs(model.decode(codes) - rows).max() < 1e-3
    assert np.array_equal(model.encode(rows), codes)
    man, man_with_x, woman = rows[:3]
    arithmetic = model.decode(model.encode([man_with_x]) - model.encode([man]) + model.encode([woman]))
    assert np.abs(arithmetic - (man_with_x - man + woman)).max() < 1e-2


def test_ways_and_directions():
    model = known()
    way = model.interpolate([1.0, 0.0], [0.0, 1.0], steps=3)
    assert np.allclose(way, [[1, 0], [math.sqrt(0.5)] * 2, [0, 1]], atol=1e-6)
    labels = np.where(HELD_OUT[:60, 1] > 0, "up", "down")
    found = model.direction(HELD_OUT[:60], labels)
    assert np.abs(found - (HELD_OUT[:60][labels == "up"].mean(0) - HELD_OUT[:60][labels == "down"].mean(0))).max() < 1e-3


def test_there_is_no_density():
    model = known()
    assert not hasattr(model, "score_samples")
    with pytest.raises(AttributeError, match="a GAN has no density, and so no score_samples; log_ratio"):
        model.score_samples(X)


def test_nothing_is_left_changed():
    model = known()
    before = {name: value.clone() for name, value in model._tensors().items()}
    for method in ("reject", "langevin"):
        model.sample(5, refine=method)
    model.encode(X[:2], steps=3)
    model.log_ratio(X)
    assert all(torch.equal(value, before[name]) for name, value in model._tensors().items())
    assert all(p.requires_grad and p.grad is None for module in (model.generator_, model.critic_) for p in module.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample(3, refine="polish"), "refine='polish': expected one of 'reject', 'mh', 'sir', 'langevin'"),
        (lambda m: m.sample(3, given=[1]), "given: this GAN draws whole rows"),
        (lambda m: m.log_ratio(X, y=[1]), r"y=\[1\]: this GAN is not conditional"),
        (lambda m: m.log_ratio(X[:, :1]), "X has 1 features"),
        (lambda m: m.fit_ratio(X[:5], how="scale"), "5 and 5 rows"),
        (lambda m: m.fit_ratio(X, how="guess"), "how='guess': expected one of 'auto'"),
        (lambda m: m.decode(X[:, :1]), r"codes has shape \(400, 1\) of float64: expected a table of finite numbers, \(n, 2\)"),
        (lambda m: m.decode([[math.nan, 0]]), "codes has shape"),
        (lambda m: m.interpolate([1, 2], [1, 2, 3]), r"b has shape \(1, 3\)"),
        (lambda m: m.interpolate([1, 2], [1, 2], steps=1), "steps=1: expected"),
        (lambda m: m.direction(X[:4], [0, 1, 2, 0]), r"y has the labels \[0, 1, 2\]: expected two different ones"),
        (lambda m: m.direction(X[:4], [0, 1]), "y has 2 labels for the 4 rows of X"),
        (lambda m: clone(m).set_params(validation_fraction=1.5).fit(X), "validation_fraction=1.5: expected"),
        (lambda m: clone(m).set_params(validation_fraction=0.01).fit(X), "validation_fraction=0.01 keeps back 4 of 400 rows"),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(known())


@pytest.mark.parametrize("method", ["sample", "log_ratio", "fit_ratio", "encode", "jsd"])
def test_an_unfitted_model_says_so(method):
    with pytest.raises(NotFittedError):
        getattr(GAN(), method)(*() if method == "sample" else (X,))
