"""GANs of pictures and the pyramid: which networks, batch norm of averaged weights, a run that is
killed, samples."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

import equilibria
from equilibria import GAN, LAPGAN
from equilibria.errors import TrainingInterrupted
from equilibria.networks.normalisation import batch_norms
from equilibria.random import Stream
from equilibria.recipes import adversarial
from equilibria.training.distributed import Processes
from equilibria.training.run import Run

DIGITS, KINDS = load_digits().data[:80], load_digits().target[:80] % 3
OPTIONS: dict[str, Any] = {
    "network": "dcgan",
    "channels": 4,
    "hidden": (8,),
    "latent_dim": 3,
    "steps": 6,
    "batch_size": 20,
    "value_range": (0, 16),
    "picture_shape": (8, 8),
    "random_state": 0,
}
MODELS = {
    "dcgan": GAN(**OPTIONS),
    "residual": GAN(**{**OPTIONS, "network": "residual"}, packing=2, penalties={"r1": 1.0}),
    "labelled": GAN(**OPTIONS, labels=True, normalisation="both"),
    "lapgan": LAPGAN(**OPTIONS),
    "lapgan-labelled": LAPGAN(**{**OPTIONS, "network": "residual"}, labels=True, packing=2),
}


def trained(name: str, **options: Any) -> Any:
    return clone(MODELS[name]).set_params(**options).fit(DIGITS, KINDS)


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.model_.state_dict().items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize(
    ("options", "network"),
    [
        ({"network": "auto"}, "mlp"),
        ({"network": "residual"}, "residual"),
        ({"network": "auto", "picture_shape": None, "value_range": None}, "mlp"),
    ],
)
def test_the_network_is_chosen_by_the_data(options: dict[str, Any], network: str) -> None:
    model = GAN(**{**OPTIONS, "steps": 1, **options}).fit(DIGITS)
    assert model.network_ == network
    assert model.sample(3).shape == (3, 64)


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((12, 12), "dcgan"),
        ((12, 10), "mlp"),
        ((15, 15), "mlp"),
        ((12, 130), "mlp"),
        ((12, 12, 3), "mlp"),
    ],
)
def test_pictures_from_twelve_pixels_are_given_convolutions_unasked(
    shape: tuple[int, ...], network: str
) -> None:
    rows = np.random.RandomState(0).uniform(size=(20, int(np.prod(shape))))
    how = {"network": "auto", "steps": 1, "picture_shape": shape, "value_range": (0, 1)}
    assert GAN(**{**OPTIONS, **how}).fit(rows).network_ == network


@pytest.mark.parametrize(
    ("side", "widths"), [(16, [64, 512, 512, 512, 256]), (12, [16, 128, 128, 128, 144])]
)
def test_perceptrons_are_wide_where_pictures_are_large(
    side: int, widths: list[int], tmp_path: Path
) -> None:
    rows = np.random.RandomState(0).uniform(size=(20, side * side))
    shape = {"picture_shape": (side, side), "value_range": (0, 1)}
    options: dict[str, Any] = {"network": "mlp", "steps": 1, **shape, "random_state": 0}
    model = GAN(**options).fit(rows)
    assert list(model.generator_.network.sizes) == widths
    said = GAN(hidden=(8,), latent_dim=3, **options).fit(rows)
    assert list(said.generator_.network.sizes) == [3, 8, side * side]
    model.save(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:  # another version's presets; a run keeps its own
        changed = {name: {**row, "hidden": (9,)} for name, row in adversarial.PRESETS.items()}
        patch.setattr(adversarial, "PRESETS", changed)
        again = equilibria.load(tmp_path / "run")
        assert np.array_equal(again.sample(3, random_state=1), model.sample(3, random_state=1))


@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_saved_loaded_and_resumed_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Stopped in the first stage and in the last; what a run folder shows on its way changes
    nothing."""
    whole = trained(name)
    total = whole.n_steps_
    assert total == (18 if "lapgan" in name else 6)  # twice six of the coarsest
    original = Run.save_checkpoint
    for stop in (2, total - 2):

        def save(run: Run, state: Any, step: int, stop: int = stop) -> Any:
            if step == stop:
                signal.raise_signal(15)
            return original(run, state, step)

        out = tmp_path / str(stop)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
            patch.setattr(Run, "save_checkpoint", save)
            with pytest.raises(TrainingInterrupted):
                trained(name, out=str(out))
        again = equilibria.resume(out, DIGITS, KINDS if whole.labels else None)
        assert_same(state_of(whole), state_of(again))
    assert list((out / "samples").glob("*.png"))
    loaded = equilibria.load(out)
    assert_same(state_of(whole), state_of(loaded))
    asked = {"y": 1} if whole.labels else {}
    assert (loaded.sample(9, **asked) == whole.sample(9, **asked)).all()
    # a product of four rows may be rounded otherwise than one of nine: by the processor
    np.testing.assert_allclose(whole.sample(9)[:4], whole.sample(4), rtol=0, atol=1e-4)


def test_the_averaged_generator_has_batch_norm_of_its_own() -> None:
    """In evaluation mode it answers as it does in training mode to a large batch, which batch
    norm's trailing averages would not give."""
    model = trained("dcgan", steps=40, learning_rate=0.01, average=0.95)
    generator, z = model.generator_, model.generator_.noise(3000, Stream(5))
    norms = batch_norms(generator)
    with torch.no_grad():
        found = generator.eval()(z)
        kept = [norm.running_var.clone() for norm in norms]
        truth = generator.train()(z)
    assert (found - truth).norm() / truth.norm() < 0.1
    trailing = trained("dcgan", steps=40, learning_rate=0.01, average=0.0)
    assert not torch.allclose(batch_norms(trailing.generator_)[0].running_var, kept[0])


def test_bfloat16_trains_what_float32_trains() -> None:
    """Nearly: after six steps no parameter is further than a few steps of Adam, and some differ."""
    single, half = (
        state_of(trained("dcgan", precision=precision, learning_rate=2e-4))
        for precision in ("float32", "bfloat16")
    )
    names = [name for name in single if "running" not in name and single[name].numel()]
    largest = max(float((single[name] - half[name]).abs().max()) for name in names)
    assert 0 < largest < 12 * 2e-4


def test_a_pyramids_levels_play_coarse_to_fine() -> None:
    model = trained("lapgan")
    stages = [row["stage"] for row in model.history_ if "accuracy" in row]
    assert stages == ["4x4"] * 12 + ["8x8"] * 6
    assert model.networks_ == ["dcgan", "mlp"]
    rows = model.sample(20)
    assert rows.min() >= 0
    assert rows.max() <= 16
    colours = np.random.RandomState(0).randint(0, 256, size=(20, 16 * 16 * 3)).astype(np.uint8)
    shape = {"steps": 1, "picture_shape": (16, 16, 3), "value_range": (0, 255)}
    model = LAPGAN(**{**OPTIONS, **shape}).fit(colours)
    assert model.networks_ == ["dcgan", "dcgan"]
    assert model.sample(2).dtype == np.uint8
    # as in a single GAN, from 16 pixels on
    assert model.set_params(network="auto").fit(colours).networks_ == ["mlp", "mlp"]


def test_a_pyramid_learns_what_a_level_lacks() -> None:
    """Stripes that are up or down: grey at the coarse level, so that all of them is in the details;
    both phases, and little else."""
    up = np.tile([1.0, 0.0], (8, 4)).reshape(1, 64)
    X = np.where(np.random.RandomState(0).uniform(size=(300, 1)) < 0.5, up, 1 - up)
    size = {"value_range": (0, 1), "steps": 600, "channels": 8, "hidden": (32,), "latent_dim": 4}
    # of 3 seeds all work; of weight 0.1, 2 of 4
    game = {"penalties": {"r1": 3.0, "r2": 3.0}, "schedule": "constant", "prior": "mixed"}
    rates = {"learning_rate": 2e-3, "average": 0.9}
    samples = LAPGAN(**{**OPTIONS, **size, **game, **rates}).fit(X).sample(200)
    phase = samples @ (2 * up - 1)[0] / 32
    assert np.abs(phase).mean() > 0.7  # 1 for whole stripes, 0 for grey
    assert 0.05 < (phase > 0).mean() < 0.95


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("dcgan", {"picture_shape": (4, 16)}, "network='dcgan': it is for pictures whose sides"),
        ("dcgan", {"network": "residual", "picture_shape": None}, "the rows are no pictures"),
        ("dcgan", {"picture_shape": (4, 8, 2)}, r"picture_shape=\(4, 8, 2\): expected"),
        ("dcgan", {"normalisation": "critic"}, "normalisation='critic': expected 'auto'"),
        ("lapgan", {"picture_shape": None}, "picture_shape=None: a pyramid is of pictures"),
        ("lapgan", {"levels": 4}, r"levels=4: pictures of \(8, 8\) can be halved 3 times"),
        ("lapgan", {"kinds": "real"}, "kinds: column 0 is real, and a LAPGAN knows picture"),
    ],
)
def test_impossible_parameters_are_refused(
    tmp_path: Path, model: str, options: dict[str, Any], message: str
) -> None:
    options = {"value_range": None, **options} if "kinds" in options else options
    with pytest.raises(ValueError, match=message):
        trained(model, out=str(tmp_path / "run"), **options)


def test_batch_norm_and_many_processes_do_not_go_together() -> None:
    from equilibria.data.rows import Rows

    model = trained("dcgan", steps=1)
    rows = Rows(model.table_, DIGITS, None, Stream(0), shard=(0, 2))
    plan = clone(model).checked().build(model.table_, Stream(0))
    (stage,) = plan.recipe(rows)
    with pytest.raises(ValueError, match="would show it its own share alone; take it out"):
        Processes(0, 2).share(stage.game)
    plain = (
        clone(model).set_params(normalisation="neither").checked().build(model.table_, Stream(0))
    )
    (stage,) = plain.recipe(rows)
    Processes(0, 2).share(stage.game)


def test_a_pyramid_of_the_first_version_draws_what_it_drew() -> None:
    """The folder was written by 0.1.0, with labels, packs and residual networks."""
    model = equilibria.load(Path(__file__).parent / "runs" / "lapgan-0.1.0")
    assert model.networks_ == ["residual", "mlp"]
    assert model.n_steps_ == 12
    drawn = [4.548511266708374, 3.428341865539551, 10.007835388183594, 12.06136703491211]
    assert np.allclose(model.sample(6, y=2)[0, :4], drawn, atol=1e-4)
    assert model.presets_["residual"]["loss"] == "relativistic"
