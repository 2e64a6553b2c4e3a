"""Synthetic tables: eight mixed tables, every model here that takes them, CTGAN and TVAE.

    python experiments/tables/synthetic.py --peers runs/peers            # the whole grid: hours
    python experiments/tables/synthetic.py --tables titanic --models independent mixture --seeds 0
    python experiments/tables/synthetic.py --split --seeds 1 2 3 4 5 --models independent rbm gan

Each model has its defaults and one thread. It is fitted to the training rows (complete ones where
it does not take gaps), and its samples are judged by ``equilibria.evaluate`` beside rows held out:

* *shapes*: one less the mean distance of a column (Kolmogorov's of numbers, total variation of
  categories), and the share of columns within twice their sampling error;
* *trends*: mean similarity of pairs (correlations, contingencies), and the share within theirs;
* *told*: area under the ROC curve of boosted trees (scikit-learn's, defaults) that tell 1,000
  samples from the held-out rows, by five-fold cross-validation, complete rows of both; ½ is best.
  *c2st* is that of ``evaluate``, whose trees learn from the training rows;
* *use*: area under the curve, or R², of trees trained on as many samples as there are training
  rows, on the held-out rows; *real* is what the training rows give. Of diamonds the price is its
  logarithm;
* *copies*: the share of samples that are a training row beside that of held-out rows, of complete
  rows; *nearest*: training rows among the real rows nearest to samples, beside their share of the
  rows; *attack*: an attack on who was trained on, ½ is best;
* *seconds*: of the processor, to fit and to draw.

Beside them: ``rows``, the training rows themselves, which give the best that samples can be and
leak everything; ``interpolated``, between a training row and one of its five nearest (as SMOTE
does), the floor of copying; and with ``--peers DIR`` what ``peers.py`` wrote there. Results are
kept by (table, model, seed) in ``experiments/results/tables_synthetic.json``: what is there is not
done again without ``--again``. With ``--split`` every seed divides the rows anew, in the tables'
own sizes, and the results are in ``tables_splits.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import budgeted, kept, record
from tables import TABLES, Task, load

from equilibria import evaluate
from equilibria.estimators import all_estimators
from equilibria.evaluation.statistics import encoded

MODELS = ("independent", "tree", "mixture", "latent-tree", "made", "rbm", "dbm", "gan")
FLOORS, PEERS = ("rows", "interpolated"), ("ctgan", "tvae")
DRAWN = 2000  # samples at least: some have gaps
JUDGED = 1000  # samples that are told from held-out rows
NEIGHBOURS = 5


def fitted(name: str, task: Task, seed: int, minutes: float | None) -> tuple[pd.DataFrame, Any]:
    """Samples of a model, and seconds of the processor."""
    model = all_estimators()[name](kinds="mixed", random_state=seed)
    if minutes is not None and not model.quick:
        model.set_params(minutes=minutes)
    rows = task.train if model.missing else task.train.dropna()
    began = time.process_time()
    model.fit(rows)
    ended = time.process_time()
    samples = model.sample(max(DRAWN, len(task.train)), random_state=seed)
    spent = {"fit": ended - began, "draw": time.process_time() - ended}
    return samples, {key: round(value, 2) for key, value in spent.items()}


def interpolated(task: Task, n: int, seed: int) -> pd.DataFrame:
    """Rows between a training row and one of its nearest: numbers by a random share, whole ones
    rounded, all else from either."""
    draw, rows = np.random.default_rng(seed), task.train
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1)
    places = np.nan_to_num(encoded(rows=rows)[1][0])
    others = near.fit(places).kneighbors(places, return_distance=False)[:, 1:]
    own = draw.integers(len(rows), size=n)
    other = others[own, draw.integers(NEIGHBOURS, size=n)]
    share, found = draw.uniform(size=n), {}
    for name, column in rows.items():
        a, b = column.iloc[own].to_numpy(), column.iloc[other].to_numpy()
        if pd.api.types.is_numeric_dtype(column):
            mixed = a + share * (b - a)
            whole = column.dropna()
            found[name] = mixed.round() if (whole == whole.round()).all() else mixed
        else:
            found[name] = np.where(share < 0.5, a, b)
    return pd.DataFrame(found)


def told(test: pd.DataFrame, samples: pd.DataFrame, seed: int) -> float:
    """Area under the curve of boosted trees at telling samples from rows, complete rows of both."""
    pair = encoded(rows=test.dropna(), samples=samples.dropna()[:JUDGED])[1]
    both, y = np.concatenate(pair), np.repeat([0, 1], list(map(len, pair)))
    trees, folds = (
        HistGradientBoostingClassifier(random_state=seed),
        StratifiedKFold(5, shuffle=True, random_state=seed),
    )
    scores = cross_val_predict(trees, both, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, scores))


def judged(task: Task, samples: pd.DataFrame, seed: int) -> dict[str, Any]:
    """All that is said of samples."""
    train, drawn, test = (task.scaled(one) for one in (task.train, samples, task.test))
    found = evaluate(train, drawn, target=task.target, control=test, random_state=seed)
    numbers: dict[str, Any] = {"told": told(task.test, samples, seed)}
    numbers["c2st"] = found.told["C2ST"].value
    for name in ("margins", "associations"):
        mean, *others = found[name].measures
        margin = name == "margins"
        within = [abs(x.value - x.ideal) <= (x.chance if margin else 1 - x.chance) for x in others]
        numbers |= {mean.name.split()[1]: mean.value, f"{name} within": float(np.mean(within))}
    if len(found.use.measures) > 1:
        numbers |= {"use": found.use.measures[0].value, "real": found.use.measures[1].value}
    if found.leaks.measures:
        near, attack = found.leaks.measures
        copies = near["samples that are a training row"]
        numbers |= {"copies": copies.value, "copies of held-out": copies.ideal}
        numbers |= {"nearest": near.value, "nearest ideal": near.ideal, "attack": attack.value}
    rounded = {key: round(value, 4) for key, value in numbers.items()}
    return rounded | {"answers": {name: one.short for name, one in found.answers.items()}}


def samples_of(
    name: str, task: Task, seed: int, options: argparse.Namespace
) -> tuple[pd.DataFrame, Any]:
    """Samples by a model, a floor or a peer, and seconds."""
    if name in MODELS:
        return fitted(name, task, seed, options.minutes)
    if name == "rows":
        return task.train.sample(frac=1, random_state=seed), None
    if name == "interpolated":
        return interpolated(task, max(DRAWN, len(task.train)), seed), None
    file = options.peers / f"{task.name}-{name}-{seed}.csv"
    return pd.read_csv(file), {"fit": json.loads(file.with_suffix(".json").read_text())["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--models", nargs="+", default=(*FLOORS, *MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--split", action="store_true", help="divide the rows anew by each seed")
    parser.add_argument("--peers", type=Path, help="folder of what peers.py wrote")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    options = budgeted(parser, None)
    warnings.simplefilter("ignore", UserWarning)
    if options.split and options.peers:
        parser.error("--peers: they know the rows of the tables' own split; leave out --split")
    file = "tables_splits" if options.split else "tables_synthetic"
    rows = {
        (one["table"], one["model"], one["seed"]): one for one in kept(file, "rows").get("rows", [])
    }
    for seed in options.seeds:
        for table in options.tables:
            task = load(table, seed if options.split else None)
            for name in (*options.models, *(PEERS if options.peers else ())):
                key = (table, name, seed)
                if key in rows and not options.again:
                    continue
                if name in PEERS and not (options.peers / f"{table}-{name}-{seed}.csv").exists():
                    continue
                row: dict[str, Any] = dict(zip(("table", "model", "seed"), key, strict=True))
                try:
                    samples, row["seconds"] = samples_of(name, task, seed, options)
                    row |= judged(task, samples, seed)
                except (ValueError, ArithmeticError) as error:
                    row["why"] = " ".join(str(error).split())
                rows[key] = row
                print(row, flush=True)
                record(file, rows=sorted(rows.values(), key=lambda one: list(one.values())[:3]))


if __name__ == "__main__":
    main()
