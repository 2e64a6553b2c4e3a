"""The compiled draw: bit for bit what numpy draws, on the calling thread, when it pays."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equilibria import fast
from equilibria.random import Stream
from equilibria.units import Bernoulli

WIDE = (torch.float32, torch.float64)
SHAPES = [(0, 3), (1, 1), (257, 1023), (1000, 784), (2, 3, 5), (140_001,)]

numba_is_here = pytest.mark.skipif(
    not fast.available(), reason="needs numba, which the extra [fast] installs"
)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_compiled", {})


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels; compiled once for all tests of this file."""
    if "kernels" not in KEPT:
        KEPT["kernels"] = fast._kernels()
    monkeypatch.setattr(fast, "_compiled", KEPT["kernels"])


KEPT: dict[str, dict[torch.dtype, Callable[..., None]]] = {}


def probabilities(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    p = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    for i, special in enumerate(
        [0.0, 1.0, 0.5, 2.0**-24, 1 - 2.0**-24, 2.0**-53, 5e-324, float("nan"), 0.5 - 2.0**-25]
    ):
        if p.numel() > 100:
            p.view(-1)[i :: 101 + i] = special
    return p


def literal(stream: Stream, p: Tensor) -> Tensor:
    """The contract, word for word: 1 where the centred draw is below p − ½."""
    return (stream.centred(p.shape, p.dtype) < p - 0.5).to(p.dtype)


def streams() -> list[Stream]:
    return [Stream(0).child("a", 3), Stream(1).rows(17), Stream(2).shard(5).child("b"), Stream(-7)]


PATHS = pytest.mark.parametrize("path", ["plain", pytest.param("compiled", marks=numba_is_here)])


@PATHS
@pytest.mark.parametrize("dtype", WIDE)
def test_each_path_draws_by_the_contract(
    request: pytest.FixtureRequest, path: str, dtype: torch.dtype
) -> None:
    request.getfixturevalue(path)
    for shape, (seed, stream) in itertools.product(SHAPES, enumerate(streams())):
        p = probabilities(shape, dtype, seed)
        expected = literal(stream, p)
        drawn = stream.bernoulli_(p)
        assert drawn is p
        assert torch.equal(drawn, expected)


@numba_is_here
@pytest.mark.parametrize("dtype", [*WIDE, torch.bfloat16, torch.float16])
def test_layers_draw_the_same_on_both_paths(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    field = (4 * torch.randn(1000, 301, generator=torch.Generator().manual_seed(0))).to(dtype)
    drawn = []
    for kernels in ({}, fast._kernels()):
        monkeypatch.setattr(fast, "_compiled", kernels)
        drawn.append(Bernoulli(301).sample(field, Stream(5)))
        assert drawn[-1].dtype == dtype
    assert torch.equal(*drawn)
    assert torch.equal(
        drawn[0],
        Bernoulli(301)
        .sample(field.to(torch.promote_types(dtype, torch.float32)), Stream(5))
        .to(dtype),
    )


@PATHS
def test_the_draw_at_the_ends_and_of_any_layout(request: pytest.FixtureRequest, path: str) -> None:
    request.getfixturevalue(path)
    assert not bool(Stream(0).bernoulli_(torch.zeros(2**20)).any())
    assert bool(Stream(0).bernoulli_(torch.ones(2**20)).all())
    p = probabilities((40, 60), torch.float32)
    across = p.T
    assert torch.equal(
        Stream(3).bernoulli_(across), literal(Stream(3), probabilities((40, 60), torch.float32).T)
    )
    assert torch.equal(p, across.T), "in place, whatever the strides"
    row = torch.zeros(7).expand(5, 7)  # a bias felt by every row
    assert torch.equal(
        Bernoulli(7).sample(row, Stream(3)), literal(Stream(3), torch.full((5, 7), 0.5))
    )
    assert not Bernoulli(7).sample(torch.zeros(5, 7, requires_grad=True), Stream(3)).requires_grad
    for stream, dtype in itertools.product((Stream(0).rows(2**31 - 2), Stream(1).cycle(3)), WIDE):
        p = probabilities((5, 2), dtype)  # across the end of the hash, and over again
        assert torch.equal(stream.bernoulli_(p.clone()), literal(stream, p))
    with pytest.raises(ValueError, match=r"dtype=torch\.bfloat16: draws are float32 or float64"):
        Stream(0).bernoulli_(torch.zeros(3, dtype=torch.bfloat16))


@PATHS
def test_draws_of_several_threads_do_not_meet(request: pytest.FixtureRequest, path: str) -> None:
    request.getfixturevalue(path)
    fields = [torch.full((300, 700), 0.1 * i) for i in range(4)]
    expected = [Bernoulli(700).sample(field, Stream(i)) for i, field in enumerate(fields)]
    found: list[list[Tensor]] = [[] for _ in fields]

    def work(i: int) -> None:
        found[i] = [Bernoulli(700).sample(fields[i], Stream(i)) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        len(drawn) == 10 and all(torch.equal(one, expected[i]) for one in drawn)
        for i, drawn in enumerate(found)
    )


@pytest.mark.usefixtures("plain")
def test_a_first_draw_in_inference_mode_spoils_no_later_one() -> None:
    def draw() -> None:
        with torch.inference_mode():
            found.append(Stream(1).bernoulli_(torch.full((10, 10), 0.5)).sum())
        found.append(Stream(1).bernoulli_(torch.full((10, 10), 0.5)).sum())

    found: list[Tensor] = []
    thread = threading.Thread(target=draw)  # a thread's first draw makes its buffers
    thread.start()
    thread.join()
    assert len(found) == 2
    assert int(found[0]) == int(found[1])


def test_compiling_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small draws never load it; once their estimated cost reaches the cost of compiling, the next
    draw does."""
    asked = []
    monkeypatch.delenv("EQUILIBRIA_FAST", raising=False)
    monkeypatch.setattr(fast, "_compiled", None)
    monkeypatch.setattr(fast, "_spent", 0.0)
    monkeypatch.setattr(fast, "_kernels", lambda: asked.append(True) or {})
    monkeypatch.setattr(fast, "available", lambda: True)
    for _ in range(100):
        Stream(0).bernoulli_(torch.zeros(3, 3))
    assert not asked
    assert 0 < fast._spent < 0.01
    monkeypatch.setattr(fast, "_spent", fast._COMPILING)
    for _ in range(3):
        Stream(0).bernoulli_(torch.zeros(3, 3))
    assert asked == [True], "once in a process, also where it fails"


def test_numba_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.delenv("EQUILIBRIA_FAST", raising=False)
    monkeypatch.setattr(fast, "_compiled", None)
    monkeypatch.setattr(fast, "_spent", 0.0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: looked.append(name) or object())
    fast._installed.cache_clear()
    for _ in range(5):
        Stream(0).bernoulli_(torch.zeros(3, 3))
    fast._installed.cache_clear()
    assert looked == ["numba"]


@pytest.mark.parametrize(("value", "loads"), [("0", False), ("1", True)])
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, value: str, loads: bool) -> None:
    monkeypatch.setenv("EQUILIBRIA_FAST", value)
    monkeypatch.setattr(fast, "_compiled", None)
    monkeypatch.setattr(fast, "_spent", 0.0)
    monkeypatch.setattr(fast, "_kernels", lambda: {torch.float32: lambda p, *_: p.fill(1.0)})
    monkeypatch.setattr(fast, "_installed", lambda: True)
    drawn = Stream(0).bernoulli_(torch.zeros(3, 3))
    assert bool(drawn.all()) is loads
    assert fast.load() is loads


def test_a_numba_that_does_not_work_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[torch.dtype, Callable[..., None]]:
        raise RuntimeError("no LLVM here")

    monkeypatch.setenv("EQUILIBRIA_FAST", "1")
    monkeypatch.setattr(fast, "_compiled", None)
    monkeypatch.setattr(fast, "_spent", 0.0)
    monkeypatch.setattr(fast, "_kernels", broken)
    p = probabilities((30, 30), torch.float32)
    assert torch.equal(Stream(4).bernoulli_(p.clone()), literal(Stream(4), p))


@numba_is_here
def test_a_forked_process_draws_on() -> None:
    """No pool of threads is left behind in the parent; a hang would end in the time-out."""
    program = """if True:
        import os, torch
        from equilibria import fast
        from equilibria.random import Stream
        torch.set_num_threads(1)  # torch's own pool does not outlive a fork
        assert fast.load()
        draw = lambda: int(Stream(0).bernoulli_(torch.full((1000, 784), 0.5)).sum())
        mine = draw()
        child = os.fork()
        if child == 0:
            os._exit(0 if draw() == mine else 3)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        timeout=300,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
