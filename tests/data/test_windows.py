"""Windows of sequences: the past first and the future last, never across two sequences."""

from __future__ import annotations

import numpy as np
import pytest

from equilibria import GAN, NextState
from equilibria.data import windows
from equilibria.random import Stream


def slow(X, lag, groups):
    """The definition, row by row."""
    return [
        [cell for row in X[t : t + lag + 1].tolist() for cell in row]
        for t in range(len(X) - lag)
        if all(groups[t] == name for name in groups[t : t + lag + 1])
    ]


def test_windows_are_their_definition():
    for seed in range(5):
        stream = Stream(seed)
        n, width, lag = (
            1 + int(stream.child(name).integers((1,), high))
            for name, high in (("n", 30), ("d", 4), ("lag", 5))
        )
        X = stream.child("X").normal((n, width)).numpy()
        groups = np.cumsum(stream.child("groups").uniform((n,)).numpy() < 0.2)
        for given, names in (
            (None, np.zeros(n)),
            (groups, groups),
            ([f"g{g}" for g in groups], groups),
        ):
            expected = slow(X, lag, names)
            if not expected:
                with pytest.raises(ValueError, match="choose a smaller lag"):
                    windows(X, lag, given)
                continue
            found = windows(X, lag, given)
            assert found.tolist() == expected
            assert found.dtype == X.dtype
            assert found.shape[1] == (lag + 1) * width


def test_the_newest_row_is_last():
    X = np.arange(10).reshape(5, 2)
    assert (windows(X, 2)[:, -2:] == X[2:]).all()
    assert (windows(X, 2)[:, :2] == X[:-2]).all()


def test_one_sequence_takes_no_memory():
    X = np.arange(12.0).reshape(6, 2)
    view = windows(X, 2)
    assert np.shares_memory(view, X)
    assert not view.flags.writeable
    assert (windows(np.asfortranarray(X), 2) == view).all()


def test_objects_and_memory_maps(tmp_path):
    table = np.array([["a", 1], [None, 2], ["b", 3]], dtype=object)
    assert windows(table, 1).tolist() == [["a", 1, None, 2], [None, 2, "b", 3]]
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    assert windows(np.load(tmp_path / "a.npy", mmap_mode="r"), 1).tolist() == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
    ]


@pytest.mark.parametrize(
    ("X", "lag", "groups", "message"),
    [
        (np.zeros((3, 2)), 0, None, "lag=0: expected a whole number"),
        (
            np.zeros((3, 2)),
            3,
            None,
            "lag=3: a window takes 4 rows, and X has 3 rows; choose a smaller lag",
        ),
        (
            np.zeros((4, 2)),
            2,
            [0, 0, 1, 1],
            "lag=2: a window takes 3 rows, and every sequence is shorter",
        ),
        (np.zeros((4, 2)), 1, [0, 1], r"groups has shape \(2,\) for 4 rows of X"),
        (
            np.zeros((4, 2)),
            1,
            ["a", "b", "a", "a"],
            "groups: sequence 'a' begins again; the rows of a sequence must",
        ),
    ],
)
def test_refusals(X, lag, groups, message):
    with pytest.raises(ValueError, match=message):
        windows(X, lag, groups)


def test_rare_states_have_windows_too():
    states = np.array(["a"] * 500 + ["b"] * 480 + ["c"] * 3 + ["d"] * 2, dtype=object)[:, None]
    inner = GAN(hidden=(8,), steps=5, latent_dim=2)
    drawn = NextState(inner, random_state=0).fit(states).predict_next(states, 3)
    assert set(drawn.ravel()) <= set("abcd")


def test_futures_have_each_rare_state_by_its_share():
    """The commonest of them alone would come where nothing is drawn."""
    states = np.array(["a", "b", *[f"r{i}" for i in range(40)]], dtype=object)
    rng = np.random.default_rng(0)
    cells = np.where(rng.random(4000) < 0.9, rng.choice(states[:2], 4000), None)
    rare = cells == None  # noqa: E711
    cells[rare] = rng.choice(states[2:], rare.sum())  # ten rows each; less than a hundredth
    counts = {value: (cells == value).sum() for value in states[2:]}
    rare_ones = {value for value, count in counts.items() if count < 10}
    inner = GAN(hidden=(8,), steps=5, latent_dim=2)
    model = NextState(inner, random_state=0).fit(cells[:, None])
    assert set(model.row_.rare_of(0)[0]) == rare_ones
    drawn = set(model.predict_next(cells[:, None], 3000).ravel()) & rare_ones
    future = set(model.forecast(cells[:, None], 40, 50).ravel()) & rare_ones
    assert len(drawn) > 3
    assert len(future) > 3
