"""Which rows of a table are odd, and which of their cells, where both are known.

    python experiments/tables/odd.py [--seeds 3] [--tables wine digits]

Six tables. In four a class is made rare: its rows are the oddities, and the column of the class is
left out (breast cancer: 20 malignant among 357 benign; wine: 10 of the first kind among 130 others;
digits: 20 zeros among 480 others; penguins: 10 Chinstrap among 220 others). In two, oddities are
planted in real rows: two cells of each are those of another row (20 among 980 each of credit and
diamonds), so that no value is new.

Twice each. *Own*: the methods are given the whole table, oddities among it, and rank its rows.
*New*: they are given one half of the usual rows, and judge the other half and the oddities. AUC is
the chance that an odd row is put before a usual one; *alarms* the share of usual rows flagged and
*found* that of odd rows: p ≤ .05 here, for the forest and the factor the threshold of scikit-learn
(``contamination="auto"``). *First cell* is the share of planted rows whose oddest cell is a planted
one. Means over seeds, each of which draws the rows and the oddities.

``odd`` judges by the likeliest of a tree, a mixture and a latent tree; ``independent`` is the same
by independent columns. ``IsolationForest`` and ``LocalOutlierFactor`` are scikit-learn's with their
defaults, on one-hot categories, standardised numbers and gaps filled in by the median with a column
that marks them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import kept, record

from equilibria import Stream
from equilibria.evaluation.two_sample import area
from equilibria.report.odd import odd

TABLES = Path(os.environ.get("EQUILIBRIA_DATA", "data")) / "tables"
JUDGES = ("chosen", "independent")
LEVEL = 0.05


class Case:
    """Usual rows, odd rows, and of planted ones which cells are wrong."""

    def __init__(self, usual: pd.DataFrame, odd: pd.DataFrame, cells: np.ndarray | None = None):
        self.usual, self.odd, self.cells = usual, odd, cells

    def both(self) -> tuple[pd.DataFrame, np.ndarray]:
        rows = pd.concat([self.usual, self.odd], ignore_index=True)
        return rows, np.arange(len(rows)) >= len(self.usual)


def some(frame: pd.DataFrame, count: int, stream: Stream) -> pd.DataFrame:
    chosen = stream.permutation(len(frame))[:count].numpy()
    return frame.iloc[chosen].reset_index(drop=True)


def rare(
    frame: pd.DataFrame, column: str, value: Any, usual: int, odd: int, stream: Stream
) -> Case:
    """A class made rare, its column left out."""
    own, rest = (
        part.drop(columns=column)
        for part in (frame[frame[column] == value], frame[frame[column] != value])
    )
    return Case(some(rest, usual, stream.child("usual")), some(own, odd, stream.child("odd")))


def planted(name: str, stream: Stream, usual: int = 980, odd: int = 20) -> Case:
    """Real rows, two cells of each of which are another row's, and another value."""
    frame = some(pd.read_csv(TABLES / f"{name}_train.csv"), usual + odd, stream.child("rows"))
    rows, cells = frame.iloc[usual:].copy(), np.zeros((odd, frame.shape[1]), dtype=bool)
    for i in range(odd):
        key = stream.child("cells", i)
        for place in key.permutation(frame.shape[1]).tolist():
            own = frame.iloc[usual + i, place]
            other = frame.iloc[:usual, place].dropna()
            other = other[other != own]
            if pd.notna(own) and cells[i].sum() < 2:
                at = int(key.child(place).integers((1,), len(other))[0])
                rows.iloc[i, place] = other.iloc[at]
                cells[i, place] = True
    return Case(frame.iloc[:usual], rows.reset_index(drop=True), cells)


def of_sklearn(load: Callable[..., Any]) -> pd.DataFrame:
    found = load(as_frame=True)
    return found.data.assign(target=found.target.to_numpy())


CASES: dict[str, Callable[[Stream], Case]] = {
    "breast cancer": lambda s: rare(
        of_sklearn(datasets.load_breast_cancer), "target", 0, 357, 20, s
    ),
    "wine": lambda s: rare(of_sklearn(datasets.load_wine), "target", 0, 130, 10, s),
    "digits": lambda s: rare(of_sklearn(datasets.load_digits), "target", 0, 480, 20, s),
    "penguins": lambda s: rare(
        pd.concat([pd.read_csv(TABLES / f"penguins_{part}.csv") for part in ("train", "test")]),
        *("species", "Chinstrap", 220, 10, s),
    ),
    "credit, planted": lambda s: planted("credit", s),
    "diamonds, planted": lambda s: planted("diamonds", s),
}


def encoder() -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (words, make_column_selector(dtype_exclude="number")),
    )


def peer(name: str, known: pd.DataFrame, asked: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """How odd scikit-learn finds rows, and which it flags."""
    made = encoder().fit(known)
    own, X = (np.asarray(made.transform(part), float) for part in (known, asked))
    if name == "IsolationForest":
        model: Any = IsolationForest(random_state=seed).fit(own)
        return {"odd": -model.score_samples(X), "flagged": model.predict(X) < 0}
    if known is asked:
        model = LocalOutlierFactor()
        flagged = model.fit_predict(own) < 0
        return {"odd": -model.negative_outlier_factor_, "flagged": flagged}
    model = LocalOutlierFactor(novelty=True).fit(own)
    return {"odd": -model.score_samples(X), "flagged": model.predict(X) < 0}


def measured(found: dict[str, np.ndarray], truth: np.ndarray, seconds: float) -> dict[str, float]:
    return {
        "auc": area(found["odd"][~truth], found["odd"][truth]),
        "alarms": float(found["flagged"][~truth].mean()),
        "found": float(found["flagged"][truth].mean()),
        "seconds": seconds,
    }


def judged(case: Case, way: str, seed: int) -> list[dict[str, Any]]:
    """Each method on one draw of a table."""
    asked, truth = case.both()
    known = asked
    if way == "new":
        half = len(case.usual) // 2
        known = case.usual.iloc[:half].reset_index(drop=True)
        asked, truth = asked.iloc[half:].reset_index(drop=True), truth[half:]
    rows = []
    for name in JUDGES:
        began = time.process_time()
        model = None if name == "chosen" else name
        found = odd(known, model, None if way == "own" else asked, level=LEVEL, random_state=seed)
        one = {"odd": -found.pvalues, "flagged": found.flagged}
        row = {"method": name, **measured(one, truth, time.process_time() - began)}
        if name == "chosen":
            row["method"] = "odd"
            row["chose"] = found.why.partition(" ")[0]
        if case.cells is not None:
            cells = found.cells.to_numpy()[truth]
            first = np.nanargmin(cells, axis=1)
            row["first cell"] = float(case.cells[np.arange(len(first)), first].mean())
        rows.append(row)
    for name in ("IsolationForest", "LocalOutlierFactor"):
        began = time.process_time()
        found_ = peer(name, known, asked, seed)
        rows.append({"method": name, **measured(found_, truth, time.process_time() - began)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", nargs="+", choices=CASES, default=list(CASES), metavar="TABLE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for seed in range(options.seeds):
        for name in options.tables:
            case = CASES[name](Stream(seed).child("odd", name))
            for way in ("own", "new"):
                for row in judged(case, way, seed):
                    runs.append({"table": name, "way": way, "seed": seed, **row})
            print(name, seed, flush=True)
        summarise(pd.DataFrame(runs), seed + 1)


def summarise(runs: pd.DataFrame, seeds: int) -> None:
    """Means over seeds, printed and recorded; what is recorded of other tables stays."""
    numbers = runs.drop(columns=["seed", "chose"])
    means = numbers.groupby(["table", "way", "method"], sort=False).mean().round(4).reset_index()
    every = numbers.drop(columns="table").groupby(["way", "method"], sort=False).mean().round(4)
    with pd.option_context("display.width", 120, "display.max_rows", None):
        print(means, every, sep="\n", flush=True)
    means.insert(3, "seeds", seeds)
    chosen = runs[runs["method"] == "odd"].groupby(["table", "way"])["chose"].agg(", ".join)
    rows = [{k: v for k, v in row.items() if v == v} for row in means.to_dict("records")]
    for row in rows:
        if row["method"] == "odd":
            row["chose"] = chosen[row["table"], row["way"]]
    done = set(means["table"])
    others = [one for one in kept("tables_odd", "rows").get("rows", []) if one["table"] not in done]
    order = list(CASES)
    rows = sorted([*others, *rows], key=lambda row: order.index(row["table"]))
    record("tables_odd", rows=rows, protocol=__doc__)


if __name__ == "__main__":
    main()
