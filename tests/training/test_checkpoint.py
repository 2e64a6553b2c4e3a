"""Checkpoints: bit-exact round trips, damage found and named, and no moment at which a failure loses what was saved."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from equilibria.errors import RunError
from equilibria.training import checkpoint

FILES = ("state.safetensors", "state.json", "manifest.json")
FSYNCS = [("fsync", step, at) for step in (2, 3) for at in range(1, 6)]


def same(left, right) -> bool:
    """Equal in structure, type and every bit."""
    if isinstance(left, torch.Tensor):
        bits = [t.detach().contiguous().reshape(-1).view(torch.uint8).tolist() for t in (left, right)]
        return left.dtype == right.dtype and left.shape == right.shape and bits[0] == bits[1]
    if isinstance(left, dict):
        keys = [[(type(key), key) for key in side] for side in (left, right)]
        return isinstance(right, dict) and keys[0] == keys[1] and all(same(left[key], right[key]) for key in left)
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return struct.pack(">d", left) == struct.pack(">d", right)
    return left == right


def round_trip(folder: Path, state):
    checkpoint.save(folder, state, 1)
    return checkpoint.load_latest(folder).state


def flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def state_at(step: int) -> dict:
    return {"step": step, "chains": torch.full((3, 2), float(step))}


def trained(optimiser_class, **options):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimiser = optimiser_class(network.parameters(), **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.9)
    return network, optimiser, schedule


def play(network, optimiser, schedule, steps: range) -> None:
    for step in steps:
        rows = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(rows).square().mean().backward()
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(
    ("optimiser_class", "options"),
    [
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {"lr": 0.01, "betas": (0.5, 0.99), "amsgrad": True}),
        (torch.optim.AdamW, {"lr": torch.tensor(0.01)}),
    ],
)
def test_an_optimiser_goes_on_as_if_it_had_never_stopped(tmp_path, optimiser_class, options):
    through = trained(optimiser_class, **options)
    play(*through, range(5))
    states = [part.state_dict() for part in through]
    loaded = round_trip(tmp_path, states)
    assert same(loaded, [dict(states[0]), *states[1:]])

    again = trained(optimiser_class, **options)
    for part, state in zip(again, loaded, strict=True):
        part.load_state_dict(state)
    play(*through, range(5, 10))
    play(*again, range(5, 10))
    assert same([part.state_dict() for part in again], [part.state_dict() for part in through])


def test_every_dtype_and_kind_of_tensor(tmp_path):
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "0-d": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "bool": torch.tensor([True, False]),
        "big": torch.tensor([2**62 + 1, -1]),
        "bfloat16": torch.tensor([1.0, 3.0]).bfloat16(),
        "half": torch.tensor([1.0, 3.0]).half(),
        "special": torch.tensor([math.inf, -0.0, math.nan, 5e-324], dtype=torch.float64),
        "complex": torch.tensor([1 + 2j]).conj(),
        "transposed": whole.mT,
        "expanded": torch.tensor([7.0]).expand(5),
        "shared": [whole, whole[0], whole],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    loaded = round_trip(tmp_path, state)
    assert same(loaded, {**state, "complex": torch.tensor([1 - 2j])})
    assert not loaded["parameter"].requires_grad
    loaded["shared"][0].zero_()
    assert same(loaded["shared"][2], whole)


def test_a_packed_state_does_not_follow_the_live_one():
    live = torch.zeros(2)
    tensors, tree = checkpoint.pack([live])
    live += 1
    assert same(checkpoint.unpack(tensors, tree), [torch.zeros(2)])


def test_plain_values_and_keys_keep_type_and_bits(tmp_path):
    payload = struct.unpack(">d", bytes.fromhex("7ff800000000beef"))[0]
    state = {
        "0": "text key",
        0: "integer key",
        "a/b": {"dict": 1, "tensor": [], "": None},
        "floats": [0.1, -0.0, 1.0, 1e308, 5e-324, math.inf, -math.inf, math.nan, payload],
        "integers": (1, 2**80, -3, True, False),
        "strings": ["π", "\ud800", "line\nbreak", ""],
        "nothing": [None, {}, [], ()],
    }
    assert same(round_trip(tmp_path, state), state)


def random_state(source: random.Random, depth: int):
    leaf = [
        lambda: source.getrandbits(80) - 2**79,
        lambda: struct.unpack(">d", source.randbytes(8))[0],
        lambda: "".join(chr(source.randrange(1, 0x3000)) for _ in range(source.randrange(6))),
        lambda: source.choice([None, True, False]),
        lambda: torch.tensor([source.random() for _ in range(source.randrange(4))], dtype=source.choice([torch.float32, torch.float64])),
        lambda: torch.tensor(source.randrange(100)),
    ]
    if depth == 0 or source.random() < 0.2:
        return source.choice(leaf)()
    size = source.randrange(5)
    if source.random() < 0.5:
        keys = [source.choice([source.randrange(-3, 4), str(source.randrange(4)), "state['a']"]) for _ in range(size)]
        return {key: random_state(source, depth - 1) for key in keys}
    return source.choice([list, tuple])(random_state(source, depth - 1) for _ in range(size))


@pytest.mark.parametrize("seed", range(40))
def test_any_nested_state_survives_json(seed):
    state = random_state(random.Random(seed), 5)
    tensors, tree = checkpoint.pack(state)
    assert same(checkpoint.unpack(tensors, json.loads(json.dumps(tree))), state)


def test_an_ordered_dict_comes_back_as_a_dict():
    assert type(checkpoint.unpack(*checkpoint.pack(OrderedDict(a=1)))) is dict


@pytest.mark.parametrize(
    ("value", "kind"),
    [({1, 2}, "set"), (1j, "complex"), (b"x", "bytes"), (torch.float32, "dtype"), (torch.Size([1]), "Size"), (print, "builtin")],
)
def test_what_cannot_be_held_is_named_with_its_place(tmp_path, value, kind):
    with pytest.raises(TypeError, match=rf"state\['solver'\]\[0\]\[1\].*{kind}"):
        checkpoint.save(tmp_path, {"solver": {0: [None, value]}}, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tensor", [torch.eye(2).to_sparse(), torch.zeros(1, dtype=torch.complex128)])
def test_a_tensor_that_cannot_be_held_is_named_with_its_place(tensor):
    with pytest.raises(TypeError, match=r"state\['weight'\]"):
        checkpoint.pack({"weight": tensor})


@pytest.mark.parametrize("key", [True, None, 1.5, (0, 1)])
def test_other_keys_are_refused(key):
    with pytest.raises(TypeError, match=r"state\['a'\] has the key"):
        checkpoint.pack({"a": {key: 1}})


@pytest.mark.parametrize(("argument", "values"), [("step", (-1, 1.0, True)), ("keep", (0, 1.5))])
def test_numbers_out_of_range_are_refused(tmp_path, argument, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{argument}={value}"):
            checkpoint.save(tmp_path, {}, **{"step": 1, argument: value})


def test_the_last_ones_are_kept(tmp_path):
    for step in (5, 10, 2_000_000_000):
        path = checkpoint.save(tmp_path, state_at(step), step)
    assert checkpoint.steps(tmp_path) == [10, 2_000_000_000]
    assert path.name == "step-2000000000"
    assert sorted(entry.name for entry in path.iterdir()) == sorted(FILES)
    checkpoint.save(tmp_path, state_at(2_000_000_001), 2_000_000_001, keep=3)
    assert len(checkpoint.steps(tmp_path)) == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_going_on_from_an_earlier_step_drops_the_future_that_was_given_up(tmp_path):
    for step in (10, 20):
        checkpoint.save(tmp_path, state_at(step), step)
    checkpoint.save(tmp_path, state_at(15), 15)
    assert checkpoint.steps(tmp_path) == [10, 15]


def test_a_damaged_checkpoint_does_not_count_among_the_kept(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, state_at(step), step)
    os.truncate(tmp_path / "step-000000002" / "state.safetensors", 9)
    checkpoint.save(tmp_path, state_at(3), 3)
    assert checkpoint.steps(tmp_path) == [1, 3]


def test_the_same_step_is_replaced(tmp_path):
    checkpoint.save(tmp_path, {"version": 1}, 7)
    checkpoint.save(tmp_path, {"version": 2}, 7)
    assert checkpoint.load_latest(tmp_path).state == {"version": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000007"]


def test_unfinished_folders_are_cleared(tmp_path):
    (tmp_path / ".step-000000003.12.tmp").mkdir()
    (tmp_path / "notes").mkdir()
    checkpoint.save(tmp_path, {}, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "step-000000004"]


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found_and_named(tmp_path, name):
    path = checkpoint.save(tmp_path, {"weight": torch.ones(2), "rate": 0.1}, 3) / name
    intact = path.read_bytes()
    for byte in range(len(intact)):
        flip(path, byte, byte % 8)
        with pytest.raises(RunError, match=name):
            checkpoint.verify(path.parent)
        path.write_bytes(intact)
    checkpoint.verify(path.parent)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path, name, damage):
    for step in (1, 2):
        path = checkpoint.save(tmp_path, state_at(step), step) / name
    if damage == "flip":
        flip(path, 30, 4)
    elif damage == "delete":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1 if damage == "truncate" else 0)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded.step == 1
    assert same(loaded.state, state_at(1))
    assert len(loaded.skipped) == 1
    assert str(path) in loaded.skipped[0]
    with pytest.raises(RunError, match=name):
        checkpoint.load(path.parent)


def test_the_sentence_gives_what_was_expected_and_found(tmp_path):
    path = checkpoint.save(tmp_path, {"x": torch.ones(2)}, 1) / "state.safetensors"
    size = path.stat().st_size
    manifest = json.loads((path.parent / "manifest.json").read_text())
    flip(path, size - 1, 0)
    with pytest.raises(RunError, match=manifest["files"]["state.safetensors"]["sha256"]):
        checkpoint.verify(path.parent)
    os.truncate(path, size - 3)
    with pytest.raises(RunError, match=f"{size} bytes were written, {size - 3} are there"):
        checkpoint.verify(path.parent)


def test_when_none_is_usable_each_is_named(tmp_path):
    paths = [checkpoint.save(tmp_path, state_at(step), step) for step in (1, 2)]
    for path in paths:
        (path / "state.json").unlink()
    with pytest.raises(RunError, match=r"step-000000002.*missing.*step-000000001.*missing"):
        checkpoint.load_latest(tmp_path)
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoint.load_latest(tmp_path / "absent")
    with pytest.raises(RunError, match="missing"):
        checkpoint.load(tmp_path / "step-000000009")


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    path = checkpoint.save(tmp_path, {}, 1)
    monkeypatch.undo()
    with pytest.raises(RunError, match=r"format 2.*newer version"):
        checkpoint.load(path)


class Killed(BaseException):
    """Stands for death at that instruction; the clearing-up that follows an error raises it as well, since the dead do none."""


def break_call(patch, name: str, at: int, error: BaseException) -> None:
    """Let the ``at``-th call of ``os.name`` from now on raise."""
    calls = [0]
    original, rmtree = getattr(os, name), shutil.rmtree

    def broken(*arguments, **keywords):
        calls[0] += 1
        if calls[0] == at:
            raise error
        return original(*arguments, **keywords)

    def rmtree_of_the_living(*arguments, **keywords):
        if calls[0] >= at and isinstance(error, Killed):
            raise error
        rmtree(*arguments, **keywords)

    patch.setattr(os, name, broken)
    patch.setattr(shutil, "rmtree", rmtree_of_the_living)


# Saving step 2 again renames twice (the old one aside, the new one in); saving step 3 renames once, and fsync comes five times in both.
@pytest.mark.parametrize(("name", "step", "at"), [("rename", 2, 1), ("rename", 2, 2), ("rename", 3, 1), *FSYNCS])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["refused", "killed"])
def test_a_failure_at_any_call_leaves_what_was_saved(tmp_path, monkeypatch, name, step, at, error):
    for earlier in (1, 2):
        checkpoint.save(tmp_path, state_at(earlier), earlier)
    new = state_at(step) | {"new": True}
    with monkeypatch.context() as patch:
        break_call(patch, name, at, error)
        with pytest.raises((RunError, Killed), match="No space left" if isinstance(error, OSError) else None):
            checkpoint.save(tmp_path, new, step)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded.skipped == []
    arrived = (name, at) == ("fsync", 5)
    assert same(loaded.state, new if arrived else state_at(2))
    assert same(checkpoint.load(tmp_path / "step-000000001").state, state_at(1))

    checkpoint.save(tmp_path, state_at(4), 4)
    assert checkpoint.load_latest(tmp_path).step == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_a_step_whose_replacement_was_cut_short_is_still_found(tmp_path):
    path = checkpoint.save(tmp_path, state_at(2), 2)
    path.rename(tmp_path / ".step-000000002.77.old")
    assert checkpoint.steps(tmp_path) == [2]
    assert same(checkpoint.load_latest(tmp_path).state, state_at(2))
    checkpoint.save(tmp_path, state_at(3), 3)
    assert checkpoint.steps(tmp_path) == [2, 3]
