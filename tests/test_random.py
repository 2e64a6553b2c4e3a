"""The streams: statistical quality, exactness at the ends, and draws that know nothing of how the
work is shared out.

Every statistical test here fails for a sound generator with probability below ``ALARM`` (per
p-value taken); the seeds are fixed, so a failure is repeatable.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from equilibria.random import Stream, _hashed, as_seed, as_stream

ALARM = 1e-6
DTYPES = (torch.float32, torch.float64)


def uniformity(counts: np.ndarray) -> float:
    """The p-value of equal cell probabilities."""
    return float(stats.chisquare(counts.ravel()).pvalue)


def pair_counts(a: Tensor, b: Tensor, cells: int = 16) -> np.ndarray:
    index = (a.flatten() * cells).long() * cells + (b.flatten() * cells).long()
    return np.bincount(index.numpy(), minlength=cells * cells)


def assert_independent(a: Tensor, b: Tensor) -> None:
    """Correlation and a 16 × 16 chi-square: with n = 2¹⁸ pairs a correlation of 0.02 is caught
    almost surely."""
    n = a.numel()
    correlation = float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])
    assert abs(correlation) < stats.norm.isf(ALARM / 2) / math.sqrt(n)
    assert uniformity(pair_counts(a, b)) > ALARM


def test_the_bits_that_are_used_are_uniform() -> None:
    for shift, seed in itertools.product((8, 12, 16, 20, 24), range(4)):
        bits = Stream(seed).child("bits").bits((2**18,))
        byte = (bits >> shift) & 0xFF
        assert uniformity(np.bincount(byte.numpy(), minlength=256)) > ALARM, seed


def test_uniform_by_kolmogorov_and_smirnov() -> None:
    for dtype in DTYPES:
        draw = Stream(5).uniform((2**18,), dtype)
        assert draw.dtype == dtype
        assert float(draw.min()) >= 0.0
        assert float(draw.max()) < 1.0
        assert stats.kstest(draw.double().numpy(), "uniform").pvalue > ALARM


def test_the_low_bits_of_float64_are_uniform() -> None:
    draw = Stream(6).uniform((2**18,), torch.float64)
    low = (draw * 2.0**24).remainder(1.0)  # what float32 does not have
    assert stats.kstest(low.numpy(), "uniform").pvalue > ALARM
    assert_independent(draw, low)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbouring_cells_rows_and_children_are_independent(dtype: torch.dtype) -> None:
    stream = Stream(7)
    draw = stream.child(0).uniform((512, 513), dtype)
    assert_independent(draw[:, :-1], draw[:, 1:])
    assert_independent(draw[:-1], draw[1:])
    assert_independent(draw, stream.child(1).uniform((512, 513), dtype))
    assert_independent(draw, stream.child("0").uniform((512, 513), dtype))
    assert_independent(draw, Stream(8).child(0).uniform((512, 513), dtype))


def test_cells_a_power_of_two_apart_are_independent() -> None:
    """In each byte that is used, over gaps at which a weak mixing of an arithmetic progression
    shows first."""
    for seed, byte in ((0, 8), (1, 16), (2, 24)):
        draw = ((Stream(seed).child("gaps").bits((2**18,)) >> byte) & 0xFF) / 256.0
        for power in range(18):
            gap = 2**power
            assert_independent(draw[:-gap], draw[gap:])


def test_three_neighbours_fill_the_cube() -> None:
    for seed in range(3):
        cell = (Stream(seed).child("cube").uniform((2**18, 3)) * 16).long()
        place = cell @ torch.tensor([256, 16, 1])
        assert uniformity(np.bincount(place.numpy(), minlength=4096)) > ALARM


def test_the_same_cell_of_successive_steps_is_independent() -> None:
    """A Gibbs chain reads one cell of each of many children: its own sequence must be uniform and
    unrelated to itself."""
    stream = Stream(9)
    sequence = torch.stack([stream.child("sweep", step).uniform((64,)) for step in range(1025)])
    assert uniformity(np.bincount((sequence * 64).long().flatten().numpy(), minlength=64)) > ALARM
    assert_independent(sequence[:-1], sequence[1:])


def test_centred_is_exact_at_the_ends() -> None:
    for dtype in DTYPES:
        draw = Stream(0).centred((2**20,), dtype)
        assert float(draw.min()) >= -0.5
        assert not bool((draw < 0.0 - 0.5).any()), "p = 0 must never happen"
        assert bool((draw < 1.0 - 0.5).all()), "p = 1 must always happen"
        assert bool(((draw * 2.0**53) % 1 == 0).all()), "off the grid"
        if dtype == torch.float32:
            grid = draw.double() * 2.0**24
            assert torch.equal(grid, grid.round())
            assert torch.equal(
                draw,
                Stream(0)
                .centred((2**20,), torch.float64)
                .mul(2.0**24)
                .floor()
                .div(2.0**24)
                .float(),
            ), "one stream, one number"


def test_the_numbers_never_change() -> None:
    """A run resumed in a later release draws what it would have drawn."""
    stream = Stream(0).child("noise", 3)
    assert stream.bits((4,)).tolist() == [2098136762, -1825066092, 1444786218, 215968709]
    assert stream.uniform((2,), torch.float64).tolist() == [0.988510493867108, 0.07506870795162779]
    assert stream.rows(2).bits((1, 2)).tolist() == [stream.bits((6,))[4:].tolist()]


def test_tensors_have_the_bits_of_arrays() -> None:
    """A CPU draws with numpy, any other device with torch."""
    for stride, base in ((1, 0), (2**32 - 1, 2**32 - 1), (0x9E3779B1, 0x7FFFFFFF)):
        cells = np.arange(2**16, dtype=np.int32)
        assert _hashed(torch.from_numpy(cells), stride, base).tolist() == list(
            _hashed(cells, stride, base)
        )


def test_a_long_draw_is_its_pieces() -> None:
    """However a draw is worked through, a cell's number depends on the cell alone."""
    for dtype in DTYPES:
        whole = Stream(4).uniform((1000, 301), dtype)
        pieces = [Stream(4).rows(first).uniform((50, 301), dtype) for first in range(0, 1000, 50)]
        assert torch.equal(whole, torch.cat(pieces))


def test_asking_twice_gives_the_same_numbers() -> None:
    stream = Stream(3).child("a", 1)
    assert torch.equal(stream.uniform((5, 2)), stream.uniform((5, 2)))
    assert torch.equal(stream.uniform((5, 2)), Stream(3).child("a").child(1).uniform((5, 2)))
    assert not torch.equal(stream.uniform((5, 2)), Stream(3).child("a", "1").uniform((5, 2)))


@pytest.mark.parametrize(
    ("shape", "kind", "dtype"),
    [
        ((6,), "uniform", torch.float32),
        ((6, 3), "normal", torch.float32),
        ((6, 3, 2), "centred", torch.float64),
    ],
)
def test_rows_and_shards_draw_what_one_process_draws(
    shape: tuple[int, ...], kind: str, dtype: torch.dtype
) -> None:
    stream = Stream(1)
    whole = getattr(stream, kind)(shape, dtype)
    for rank in range(3):
        mine = slice(2 * rank, 2 * rank + 2)
        assert torch.equal(
            getattr(stream.rows(2 * rank), kind)((2, *shape[1:]), dtype), whole[mine]
        )
        assert torch.equal(getattr(stream.shard(rank), kind)((2, *shape[1:]), dtype), whole[mine])
        nephew = stream.shard(rank).child("x")  # a child keeps its parent's share
        assert torch.equal(
            getattr(nephew, kind)((2, *shape[1:]), dtype),
            getattr(stream.child("x"), kind)(shape, dtype)[mine],
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_beyond_the_period_are_a_childs(dtype: torch.dtype) -> None:
    """Whole rows: of three columns the last cell of 2³² is in a row that would not fit."""
    period = 2**32 // 3
    stream, beyond = Stream(0).rows(period - 2), Stream(0).child("period", 1)
    found = stream.uniform((5, 3), dtype)
    assert torch.equal(found[:2], stream.uniform((2, 3), dtype))
    assert torch.equal(found[2:], beyond.uniform((3, 3), dtype))
    assert torch.equal(found[4:], Stream(0).rows(period + 2).uniform((1, 3), dtype))
    far = Stream(0).rows(7 * period + 1).uniform((1, 3), dtype)
    assert torch.equal(far, Stream(0).child("period", 7).rows(1).uniform((1, 3), dtype))
    assert Stream(0).rows(period).uniform((0, 3), dtype).shape == (0, 3)
    with pytest.raises(ValueError, match="a row has 4294967296 cells at most"):
        Stream(0).bits((1, 2**33))


def test_a_part_of_a_draw_has_its_rows() -> None:
    for stream in (Stream(0), Stream(0).rows(3), Stream(0).shard(2), Stream(0).cycle(4)):
        whole = stream.child("a").uniform((9, 2))
        for first, last in ((0, 1), (2, 3), (3, 9)):
            part = stream.part(first, 9).child("a").uniform((last - first, 2))
            assert torch.equal(part, whole[first:last])


def test_narrow_types_are_refused() -> None:
    """In bfloat16 a half would be rounded to: uniform would reach 1, and normal infinity."""
    for kind in ("uniform", "centred", "normal"):
        with pytest.raises(ValueError, match=r"dtype=torch\.bfloat16: draws are float32 or float6"):
            getattr(Stream(0), kind)((3,), torch.bfloat16)


def test_a_permutation_is_one() -> None:
    for n in (0, 1, 2, 1000):
        assert torch.equal(Stream(2).permutation(n).sort().values, torch.arange(n))


def test_permutations_of_four_are_equally_likely() -> None:
    orders = list(itertools.permutations(range(4)))
    counts = np.zeros(len(orders))
    for i in range(4800):  # 200 of each: an order that came a third as often would be caught
        counts[orders.index(tuple(Stream(11).child(i).permutation(4).tolist()))] += 1
    assert uniformity(counts) > ALARM


def test_a_permutation_is_the_same_for_every_process() -> None:
    assert torch.equal(Stream(2).shard(3).permutation(10), Stream(2).permutation(10))


def test_normal_moments_and_distribution() -> None:
    for dtype in DTYPES:
        n = 2**18
        draw = Stream(12).normal((n,), dtype)
        assert draw.dtype == dtype
        x = draw.double()
        width = stats.norm.isf(ALARM / 2) / math.sqrt(n)
        for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
            assert abs(float((x**power).mean()) - mean) < width * math.sqrt(variance)
        assert stats.kstest(x.numpy(), "norm").pvalue > ALARM


@pytest.mark.parametrize(
    ("dtype", "half_cell", "end"),
    [(torch.float32, 2.0**-25, 5.42), (torch.float64, 2.0**-54, 8.29)],
)
def test_the_tails_of_the_inverse_distribution_function(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, half_cell: float, end: float
) -> None:
    """The outermost cells are finite, mirror each other and agree with scipy's inverse error
    function."""
    centre = torch.tensor(
        [-0.5, -0.5 + 2 * half_cell, -0.25, 0.25, 0.5 - 4 * half_cell, 0.5 - 2 * half_cell],
        dtype=dtype,
    )
    monkeypatch.setattr(Stream, "centred", lambda *_: centre.clone())
    draw = Stream(0).normal((6,), dtype)
    expected = math.sqrt(2) * special.erfinv(2 * (centre.double() + half_cell).numpy())
    assert np.allclose(
        draw.double().numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-12
    )
    assert float(draw[0]) == -float(draw[-1]) == pytest.approx(-end, abs=0.01)


def test_integers() -> None:
    for high in (1, 2, 7, 256):
        draw = Stream(13).integers((2**16,), high)
        assert draw.dtype == torch.int64
        counts = np.bincount(draw.numpy(), minlength=high)
        assert len(counts) == high
        assert high == 1 or uniformity(counts) > ALARM


def test_as_stream_takes_what_scikit_learn_calls_random_state() -> None:
    def numbers(random_state: object) -> Tensor:
        return as_stream(random_state).uniform((4,))  # type: ignore[arg-type]

    assert torch.equal(numbers(3), numbers(np.int64(3)))
    assert torch.equal(numbers(3), Stream(3).uniform((4,)))
    assert torch.equal(numbers(np.random.RandomState(1)), numbers(np.random.RandomState(1)))
    assert torch.equal(numbers(np.random.default_rng(1)), numbers(np.random.default_rng(1)))
    assert not torch.equal(numbers(None), numbers(None))
    generator = np.random.default_rng(1)
    assert not torch.equal(numbers(generator), numbers(generator)), "a generator moves on"
    stream = Stream(4)
    assert as_stream(stream) is stream
    assert as_seed(stream) == as_seed(Stream(4)) != as_seed(Stream(5))


def test_as_stream_refuses_the_rest() -> None:
    expected = "expected None, an integer, a numpy RandomState or Generator, or a Stream"
    for bad in (True, 1.5, "seed", [1], torch.tensor(1)):
        with pytest.raises(ValueError, match=rf"random_state=.*{expected}"):
            as_stream(bad)  # type: ignore[arg-type]


def test_a_cycle_begins_again():
    for dtype in DTYPES:
        stream = Stream(3)
        for draw in ("uniform", "normal", "centred"):
            once, over = (
                getattr(stream.child("a"), draw)((3, 4), dtype),
                getattr(stream.cycle(3).child("a"), draw)((8, 4), dtype),
            )
            assert torch.equal(over, once[[0, 1, 2, 0, 1, 2, 0, 1]])
        probability = torch.rand(3, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
        probability[0, 0], probability[1, 1] = 0.0, 1.0
        once, over = (
            stream.bernoulli_(probability.clone()),
            stream.cycle(3).bernoulli_(probability.repeat(2, 1)),
        )
        assert torch.equal(over, once.repeat(2, 1))
        assert torch.equal(stream.cycle(5).bits((2, 3)), stream.bits((2, 3)))
