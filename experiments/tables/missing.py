"""Hidden cells of four mixed tables filled in, beside scikit-learn's imputers.

    EQUILIBRIA_DATA=… python experiments/tables/missing.py [--rows 1000] [--seeds 1]
    [--tables titanic …] [--gaps random …] [--methods tree rbm …]

A quarter of the training rows, 500 at most, is kept for calibration; every method learns from the
others and fills the test rows. Cells are hidden in all three alike: at ``random`` (each with a
chance of a fifth); in ``blocks`` (half of the rows lose from two columns to half of them, drawn
anew for each); or where they are ``large`` (a number with a chance of .4 times its rank in its
column, a category by its place in the alphabet), which nothing in the rows can tell. Cells that are
missing in truth stay so and are not scored. Every method has its defaults, but a category
that training rows lack is a gap (``unknown="missing"``).

Numbers (more than ten different values) are scored by their root mean square error and their CRPS,
in standard deviations of the training column, means over columns; categories by the share right and
the log-loss in nats, over cells. Of the estimators the error is that of ``impute(how="best")``, the
CRPS that of 50 draws, chances are ``impute_proba``, intervals ``impute_interval(level=0.9)``,
the model's own and calibrated. scikit-learn's imputers see standardised numbers and one column for
each category but the first; chances are those columns cut at .01 and normed; draws and intervals
are the filled number and the errors made in the calibration rows, whose cells are hidden five
times anew, and of IterativeImputer with ``sample_posterior`` 50 of its draws. Seconds are the
processor's, of one thread, to fit and to fill by ``how="best"``.

Rows are kept by table, gaps, method, seed and number of rows in
experiments/results/tables_missing.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestRegressor

# scikit-learn's switch for IterativeImputer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import kept, record

from equilibria.estimators import all_estimators
from equilibria.evaluation.statistics import central_interval, crps
from equilibria.random import Stream

TABLES = ("titanic", "penguins", "diamonds", "credit")
OURS = ("independent", "tree", "mixture", "latent-tree", "rbm")
GAPS = ("random", "blocks", "large")
LEVEL, DRAWS, LEAST = 0.9, 50, 0.01
FOREST = {"n_estimators": 50, "random_state": 0}
PEERS: dict[str, Callable[[], Any]] = {
    "SimpleImputer": SimpleImputer,
    "KNNImputer": KNNImputer,
    "IterativeImputer": lambda: IterativeImputer(random_state=0),
    "IterativeImputer, draws": lambda: IterativeImputer(random_state=0, sample_posterior=True),
    "IterativeImputer, forest": lambda: IterativeImputer(
        RandomForestRegressor(**FOREST), max_iter=3, random_state=0
    ),
}


class Filled(NamedTuple):
    """What a method says of the hidden cells of the test rows.

    ``best`` is a frame; ``draws`` frames of numbers; ``chances`` of each category column a frame of
    all test rows; ``held`` names of intervals → whether each hidden cell lies in its own, with the
    widths of numbers in standard deviations.
    """

    best: pd.DataFrame
    draws: list[pd.DataFrame]
    chances: dict[str, pd.DataFrame]
    seconds: float
    low: dict[str, pd.DataFrame]
    high: dict[str, pd.DataFrame]
    sets: dict[str, pd.Series]


class Part(NamedTuple):
    """Rows, and the same with cells hidden."""

    whole: pd.DataFrame
    torn: pd.DataFrame

    @property
    def hidden(self) -> pd.DataFrame:
        return self.torn.isna() & self.whole.notna()


def numbers_of(frame: pd.DataFrame) -> list[str]:
    """Columns of numbers that have more than ten different values."""
    return [c for c in frame.select_dtypes("number") if frame[c].nunique() > 10]


def tear(whole: pd.DataFrame, gaps: str, like: pd.DataFrame, stream: Stream) -> Part:
    """Rows with cells hidden; ranks are those in ``like``."""
    n, width = whole.shape
    u = stream.child("cells").uniform((n, width), torch.float64).numpy()
    if gaps == "random":
        return Part(whole, whole.mask(u < 0.2))
    if gaps == "blocks":
        sizes = 2 + stream.child("sizes").integers((n,), max(1, width // 2 - 1)).numpy()
        lost = u.argsort(1).argsort(1) < sizes[:, None]
        lost &= stream.child("rows").uniform((n, 1)).numpy() < 0.5
        return Part(whole, whole.mask(lost))
    ranks = np.empty((n, width))
    for place, column in enumerate(whole):
        known = np.sort(like[column].dropna().to_numpy())
        cells = whole[column].where(whole[column].notna(), known[0]).to_numpy()
        sides = [np.searchsorted(known, cells, side) for side in ("left", "right")]
        ranks[:, place] = np.mean(sides, 0) / len(known)
    return Part(whole, whole.mask(u < 0.4 * ranks))


def by_estimator(name: str, train: Part, aside: Part, test: Part, gaps: str, seed: int) -> Filled:
    """One of the library's estimators."""
    began = time.process_time()
    model = all_estimators()[name](random_state=seed, unknown="missing").fit(train.torn)
    best = model.impute(test.torn, how="best")
    seconds = time.process_time() - began
    low, high, sets = {}, {}, {}
    for called, calibration in (("own", None), ("calibrated", aside.torn)):
        found = model.impute_interval(test.torn, LEVEL, calibration)
        low[called], high[called] = (found[end].unstack() for end in ("low", "high"))
        sets[called] = found["categories"].dropna()
    draws = model.impute(test.torn, n=DRAWS, random_state=seed)
    return Filled(best, draws, model.impute_proba(test.torn), seconds, low, high, sets)


class Coded:
    """A mixed table as numbers for scikit-learn: standardised, and a column for each category but
    the first; with it the columns of a category would foretell each other, and stay at their means.
    """

    def __init__(self, train: pd.DataFrame, numbers: list[str]):
        self.numbers = numbers
        self.mean, self.deviation = train[numbers].mean(), train[numbers].std()
        self.levels = {c: sorted(train[c].dropna().unique()) for c in train if c not in numbers}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        parts = [((frame[self.numbers] - self.mean) / self.deviation).to_numpy()]
        for column, levels in self.levels.items():
            cells = frame[column].to_numpy(object)[:, None]
            one_hot = (cells == np.array(levels[1:], object)).astype(float)
            parts.append(np.where(frame[[column]].isna(), np.nan, one_hot))
        return np.concatenate(parts, 1)

    def decode(self, rows: np.ndarray) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
        """Numbers, and the chances of each column's categories."""
        numbers = pd.DataFrame(rows[:, : len(self.numbers)], columns=self.numbers)
        chances, begin = {}, len(self.numbers)
        for column, levels in self.levels.items():
            part = rows[:, begin : begin + len(levels) - 1]
            part = np.clip(np.c_[1 - part.sum(1), part], LEAST, None)
            chances[column] = pd.DataFrame(part / part.sum(1, keepdims=True), columns=levels)
            begin += len(levels) - 1
        return numbers * self.deviation + self.mean, chances


def by_peer(name: str, train: Part, aside: Part, test: Part, gaps: str, seed: int) -> Filled:
    """One of scikit-learn's imputers."""
    code, began = Coded(train.torn, numbers_of(train.whole)), time.process_time()
    imputer = PEERS[name]().fit(code.encode(train.torn))
    numbers, chances = code.decode(imputer.transform(code.encode(test.torn)))
    seconds = time.process_time() - began
    best = numbers.assign(**{c: p.idxmax(axis=1) for c, p in chances.items()})
    ends: dict[str, pd.DataFrame] = {"low": numbers.copy(), "high": numbers.copy()}
    if name.endswith("draws"):
        every = [imputer.transform(code.encode(test.torn)) for _ in range(DRAWS)]
        draws = [code.decode(one)[0] for one in every]
        best = best.assign(**sum(draws) / DRAWS)
        chances = code.decode(np.mean(every, 0))[1]
        best = best.assign(**{c: p.idxmax(axis=1) for c, p in chances.items()})
        stack = np.stack([one.to_numpy() for one in draws])
        for end, values in zip(ends, central_interval(stack, LEVEL), strict=True):
            ends[end][:] = values
    else:
        again = [tear(aside.whole, gaps, train.whole, Stream(i).child("again")) for i in range(5)]
        more = Part(*map(pd.concat, zip(*again, strict=True)))
        found = code.decode(imputer.transform(code.encode(more.torn)))[0]
        draws = [numbers.copy() for _ in range(199)]
        for column in code.numbers:
            own = more.hidden[column].to_numpy()
            errors = (more.whole[column].to_numpy() - found[column].to_numpy())[own]
            steps = np.quantile(errors, (np.arange(199) + 0.5) / 199)
            for one, step in zip(draws, steps, strict=True):
                one[column] += step
            for end, step in zip(ends, central_interval(steps[:, None], LEVEL), strict=True):
                ends[end][column] += step
    low, high = ({"own": ends[end]} for end in ends)
    return Filled(best, draws, chances, seconds, low, high, {})


def scores(found: Filled, train: Part, test: Part) -> dict[str, Any]:
    """All scores of one method."""
    numbers, hidden = numbers_of(train.whole), test.hidden
    result: dict[str, Any] = {"seconds": round(found.seconds, 2)}
    squares, ranked, held, width = [], [], {}, {}
    for column in numbers:
        own = hidden[column].to_numpy()
        truth, unit = test.whole[column][own].to_numpy(float), train.whole[column].std()
        error = found.best[column][own].to_numpy(float) - truth
        squares.append(np.sqrt(np.square(error).mean()) / unit)
        draws = np.stack([one[column][own].to_numpy(float) for one in found.draws])
        ranked.append(crps(draws, truth).mean() / unit)
        for called in found.low:
            ends = [
                end[called][column].reindex(test.whole.index) for end in (found.low, found.high)
            ]
            a, b = (end[own].to_numpy(float) for end in ends)
            held.setdefault(called, []).append((a <= truth) & (truth <= b))
            width.setdefault(called, []).append((b - a).mean() / unit)
    if numbers:
        result |= {"rmse": np.mean(squares), "crps": np.mean(ranked)}
        for called, cells in held.items():
            result[f"held, {called}"] = np.concatenate(cells).mean()
            result[f"width, {called}"] = np.mean(width[called])
    right, costs, sets = [], [], {}
    for column in (c for c in test.whole if c not in numbers):
        own = hidden[column].to_numpy()
        truth = test.whole[column][own]
        best = found.best[column][own]
        right += [y == best[i] for i, y in truth.items()]
        p = found.chances[column]
        costs += [-np.log(max(p[y][i], 1e-6) if y in p else 1e-6) for i, y in truth.items()]
        for called, every in found.sets.items():
            sets.setdefault(called, []).extend(y in every[i, column] for i, y in truth.items())
    if right:
        result |= {"right": np.mean(right), "log_loss": np.mean(costs)}
        result |= {f"sets held, {called}": np.mean(cells) for called, cells in sets.items()}
    return {key: round(float(value), 4) for key, value in result.items()}


def split(name: str, rows: int, gaps: str, seed: int) -> tuple[Part, Part, Part]:
    """Rows to learn from, for calibration, and to be filled."""
    folder, stream = Path(os.environ["EQUILIBRIA_DATA"]) / "tables", Stream(seed).child(name, gaps)
    train, test = (pd.read_csv(folder / f"{name}_{part}.csv") for part in ("train", "test"))
    order = stream.child("rows").permutation(len(train)).numpy()[:rows]
    aside = min(500, len(order) // 4)
    every = (train.iloc[order[aside:]], train.iloc[order[:aside]], test)
    parts = [
        tear(part.reset_index(drop=True), gaps, train, stream.child(which))
        for which, part in zip(("train", "aside", "test"), every, strict=True)
    ]
    return parts[0], parts[1], parts[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    methods = (*OURS, *PEERS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--gaps", nargs="+", default=GAPS, choices=GAPS)
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--rows", type=int, default=1000, help="of the training rows")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the last round of IterativeImputer is what it gives
    for seed in range(options.seeds):
        for name in options.tables:
            for gaps in options.gaps:
                parts = split(name, options.rows, gaps, seed)
                for method in options.methods:
                    key = {"table": name, "gaps": gaps, "method": method, "seed": seed}
                    key["rows"] = options.rows
                    fill = by_estimator if method in OURS else by_peer
                    row = key | scores(fill(method, *parts, gaps, seed), parts[0], parts[2])
                    print(row, flush=True)
                    rows = [
                        old
                        for old in kept("tables_missing", "rows").get("rows", [])
                        if any(old[field] != value for field, value in key.items())
                    ]
                    record("tables_missing", rows=[*rows, row], protocol=__doc__)


if __name__ == "__main__":
    main()
