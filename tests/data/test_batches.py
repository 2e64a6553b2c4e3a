"""Batches: the order, its resumption and sharing out, and how greys become binary."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import Batches, Table, binarise
from equilibria.random import Stream

N = 10
ROWS = np.arange(2 * N).reshape(N, 2)
GREYS = np.random.default_rng(0).random((50, 7)).astype(np.float32)


def places(batch):
    return (batch.values[:, 0] / 2).int().tolist()


def test_order_is_the_concatenated_permutations():
    for batch_size in [1, 3, 10, 25]:
        stream = Stream(5)
        expected = torch.cat(
            [stream.child("order", epoch).permutation(N) for epoch in range(12)]
        ).tolist()
        source, seen = Batches(ROWS, batch_size, stream), []
        while len(seen) < 100:
            batch = next(source)
            assert batch.values.shape == (batch_size, 2)
            assert batch.mask is None
            assert batch.label is None
            seen += places(batch)
        assert seen == expected[: len(seen)]
        assert sorted(seen[:N]) == list(range(N))
        assert source.position == math.ceil(100 / batch_size)


def test_at_is_pure_and_position_resumes():
    source = Batches(ROWS, 3, Stream(0))
    passed = [places(next(source)) for _ in range(9)]
    assert [places(source.at(i)) for i in reversed(range(9))] == passed[::-1]
    assert source.position == 9
    resumed = Batches(ROWS, 3, Stream(0), position=4)
    assert [places(next(resumed)) for _ in range(5)] == passed[4:]
    resumed.position = 2
    assert places(next(resumed)) == passed[2]


def test_it_is_an_iterator():
    source = Batches(ROWS, 4, Stream(0))
    assert iter(source) is source
    for position, batch in enumerate(source):
        assert places(batch) == places(source.at(position))
        if position == 3:
            break
    assert source.position == 4


def test_another_stream_gives_another_order():
    assert places(Batches(ROWS, N, Stream(0)).at(0)) != places(Batches(ROWS, N, Stream(1)).at(0))


def test_labels_go_along():
    for labels in (np.arange(N) * 3, torch.arange(N) * 3):
        source = Batches(ROWS, 4, Stream(0), labels=labels)
        for _ in range(5):
            batch = next(source)
            assert batch.label is not None
            assert batch.label.tolist() == [3 * place for place in places(batch)]


@pytest.mark.parametrize(
    ("world", "batch_size", "how"),
    [(2, 6, None), (3, 66, "resample"), (2, 66, "fixed"), (3, 6, "threshold")],
)
def test_shards_together_are_the_whole_batch(world, how, batch_size):
    def make(shard):
        return Batches(
            GREYS, batch_size, Stream(2), labels=np.arange(50), binarise=how, shard=shard
        )

    whole, shards = make((0, 1)), [make((rank, world)) for rank in range(world)]
    for _ in range(12):
        batch, parts = next(whole), [next(shard) for shard in shards]
        assert all(len(part.values) == batch_size // world for part in parts)
        assert torch.equal(torch.cat([part.values for part in parts]), batch.values)
        assert torch.equal(torch.cat([part.label for part in parts]), batch.label)


@pytest.mark.parametrize(
    "convert",
    [
        lambda X, path: X,
        lambda X, path: torch.from_numpy(X.copy()),
        lambda X, path: np.asfortranarray(X),
        lambda X, path: (np.save(path / "a.npy", X), np.load(path / "a.npy", mmap_mode="r"))[1],
    ],
    ids=["array", "tensor", "fortran", "memory map"],
)
def test_every_container_gives_the_same_float32_batches(tmp_path, convert):
    X = (GREYS * 3).astype(np.uint8)
    batch = Batches(convert(X, tmp_path), 20, Stream(0)).at(1)
    order = torch.cat([Stream(0).child("order", epoch).permutation(50) for epoch in range(2)])[
        20:40
    ]
    assert batch.values.dtype == torch.float32
    assert torch.equal(batch.values, torch.from_numpy(X[order.numpy()].astype(np.float32)))


def test_encode_sees_raw_rows():
    pictures = np.random.default_rng(0).integers(0, 256, (30, 4), np.uint8)
    table, dtype = Table.fit(pictures, value_range=(0, 255)), torch.float64
    for values in (pictures, torch.from_numpy(pictures)):
        batch = Batches(values, 7, Stream(0), encode=lambda rows: table.encode(rows, dtype)).at(2)
        order = Stream(0).child("order", 0).permutation(30)[14:21]
        assert torch.equal(batch.values, table.encode(pictures[order.numpy()], dtype))
        assert batch.values.dtype == dtype


def test_binary_batches_are_binary():
    for how in ["resample", "fixed", "threshold"]:
        dtype = torch.float64
        batch = Batches(
            GREYS, 20, Stream(0), encode=lambda rows: torch.from_numpy(rows).double(), binarise=how
        ).at(0)
        assert batch.values.dtype == dtype
        assert set(batch.values.unique().tolist()) == {0.0, 1.0}


def test_fixed_is_one_draw_for_each_row(monkeypatch):
    monkeypatch.setattr("equilibria.data.batches._BLOCK_ROWS", 16)
    source, drawn = Batches(GREYS, 15, Stream(4), labels=np.arange(50), binarise="fixed"), {}
    for _ in range(20):  # six epochs
        batch = next(source)
        for row, values in zip(batch.label.tolist(), batch.values, strict=True):
            assert torch.equal(drawn.setdefault(row, values), values)
    whole = torch.stack([drawn[row] for row in range(50)])
    assert torch.equal(
        whole, binarise(torch.from_numpy(GREYS), "fixed", Stream(4).child("binarise"))
    )


def test_resample_draws_afresh_and_resumes():
    source = Batches(np.full((4, 100), 0.5), 4, Stream(4), binarise="resample")
    first, second = next(source).values, next(source).values
    assert not torch.equal(first, second)
    assert torch.equal(source.at(0).values, first)
    assert torch.equal(
        Batches(np.full((4, 100), 0.5), 4, Stream(4), binarise="resample", position=1).at(1).values,
        second,
    )


@pytest.mark.parametrize("how", ["resample", "fixed"])
def test_draws_have_the_probability_of_the_grey(how):
    p = torch.tensor([0.0, 1 / 255, 0.3, 0.5, 0.9, 1.0])
    n = 20_000
    ones = binarise(p.expand(n, 6), how, Stream(9)).sum(0).int().tolist()
    assert ones[0] == 0
    assert ones[5] == n
    for count, probability in zip(ones[1:5], p[1:5].tolist(), strict=True):
        assert (
            stats.binomtest(count, n, probability).pvalue > 2.5e-7
        )  # four exact tests: false alarms 1e-6


def test_threshold_is_above_a_half():
    values = torch.tensor([[0.0, 0.5, 0.50001, 1.0]])
    assert binarise(values, "threshold", Stream(0)).tolist() == [[0, 0, 1, 1]]


def test_data_are_not_changed():
    X = torch.from_numpy(GREYS.copy())
    for how in ("resample", "fixed", "threshold"):
        next(Batches(X, 50, Stream(0), binarise=how))
    binarise(X, "resample", Stream(0))
    assert torch.equal(X, torch.from_numpy(GREYS))


HOLES = np.where(np.random.default_rng(1).random(GREYS.shape) < 0.3, np.nan, GREYS).astype(
    np.float32
)


@pytest.mark.parametrize("how", [None, "resample", "fixed", "threshold"])
def test_missing_cells_have_a_mask_and_leave_the_draws_alone(how):
    dtype = torch.float64

    def make(values, **options):
        return Batches(
            values,
            20,
            Stream(3),
            encode=lambda rows: torch.from_numpy(rows).to(dtype),
            binarise=how,
            **options,
        )

    whole, holed = make(GREYS), make(HOLES, missing=True)
    for position in range(6):
        batch, order = (
            holed.at(position),
            torch.cat([Stream(3).child("order", e).permutation(50) for e in range(3)]),
        )
        rows = order[20 * position : 20 * position + 20].numpy()
        assert batch.mask is not None
        assert (batch.mask.numpy() == ~np.isnan(HOLES[rows])).all()
        assert batch.values.dtype == dtype
        assert torch.equal(batch.values, whole.at(position).values * batch.mask)


def test_a_table_without_holes_is_the_same_either_way():
    for how in [None, "resample", "fixed", "threshold"]:
        plain, masked = (
            Batches(GREYS, 30, Stream(5), binarise=how, missing=missing)
            for missing in (False, True)
        )
        for position in range(4):
            assert torch.equal(plain.at(position).values, masked.at(position).values)
            assert plain.at(position).mask is None
            assert masked.at(position).mask.all()


@pytest.mark.parametrize("how", [None, "resample", "fixed"])
def test_masks_are_shared_out_and_resumed(how):
    def make(**options):
        return Batches(
            HOLES, 20, Stream(2), labels=np.arange(50) - 1, binarise=how, missing=True, **options
        )

    whole, shards = make(), [make(shard=(rank, 2)) for rank in range(2)]
    for position in range(6):
        batch, parts = next(whole), [next(shard) for shard in shards]
        assert torch.equal(torch.cat([part.mask for part in parts]), batch.mask)
        assert torch.equal(torch.cat([part.values for part in parts]), batch.values)
        resumed = next(make(position=position))
        assert torch.equal(resumed.values, batch.values)
        assert torch.equal(resumed.mask, batch.mask)
        assert torch.equal(resumed.label, batch.label)


def test_fixed_draws_with_holes_do_not_depend_on_blocks(monkeypatch):
    batch = Batches(HOLES, 50, Stream(4), binarise="fixed", missing=True).at(0)
    monkeypatch.setattr("equilibria.data.batches._BLOCK_ROWS", 16)
    again = Batches(HOLES, 50, Stream(4), binarise="fixed", missing=True).at(0)
    assert torch.equal(batch.values, again.values)
    assert torch.equal(batch.mask, again.mask)


def test_a_mixed_table_goes_through_its_encoding():
    rows = [["y", 1.5, "red"], ["n", None, "blue"], [None, 2.5, "green"], ["y", 0.5, None]]
    X, labels = np.array(rows, dtype=object), np.array([0, 1, -1, 1])
    table = Table.fit(X)
    source = Batches(X, 3, Stream(0), encode=table.encode, missing=True, labels=labels)
    values = table.encode(X)
    order = torch.cat([Stream(0).child("order", e).permutation(4) for e in range(5)])
    for position in range(5):
        batch, places = source.at(position), order[3 * position : 3 * position + 3]
        assert torch.equal(batch.values, values[places].nan_to_num(0))
        assert torch.equal(batch.mask, ~values[places].isnan())
        assert batch.label.tolist() == labels[places].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: expected a whole number"),
        (
            {"batch_size": 5, "shard": (0, 2)},
            "batch_size=5 cannot be shared out to 2 processes; choose a multiple",
        ),
        (
            {"values": np.array([["a"], ["b"]], dtype=object)},
            "values holds Python objects: expected numbers, or encode=",
        ),
        (
            {"binarise": "resample", "values": np.array([[np.nan, 2.0]]), "missing": True},
            "values from 0 to 2 cannot be binarised",
        ),
        (
            {"binarise": "fixed"},
            r"values from 0 to 19 cannot be binarised; expected greys in \[0, 1\]",
        ),
        (
            {"binarise": "threshold", "values": np.array([[0.5, np.nan]])},
            "values from nan to nan cannot be binarised",
        ),
    ],
)
def test_refusals(options, message):
    arguments = {"values": ROWS, "batch_size": 4, "stream": Stream(0)} | options
    with pytest.raises(ValueError, match=message):
        Batches(**arguments).at(0)
    with pytest.raises(ValueError, match="binarise='coin': expected 'resample', 'fixed' or"):
        binarise(torch.zeros(1, 1), "coin", Stream(0))
