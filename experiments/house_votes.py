"""Hidden votes filled in, and the party told from part of them: RBMs beside scikit-learn's
imputers, on the same cells.

The data are 16 votes of 435 members in 1984, of which 392 are truly missing and stay so. In each
split a fifth of the votes that are there are hidden at random; every method is fitted to what is
left and asked for the probability of each hidden yes. Quality is the share of hidden cells right at
½ and the mean log-loss. All is done twice: with the votes alone, and with the party as a 17th
column for everyone.

    python experiments/house_votes.py

Settings of *every* method are chosen by log-loss on the development splits, whose cells are hidden
by other seeds than those of the 20 splits reported (the members are the same). scikit-learn's
imputers give real numbers, not probabilities: how these are brought into (0, 1) is chosen in their
favour too, and the share right of the reported tables is compared with the setting that had the
best share as well.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning

# scikit-learn's switch for IterativeImputer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression

from equilibria import RBM
from equilibria.data import load
from equilibria.random import Stream

__all__ = [
    "SHAPES",
    "as_votes",
    "choose",
    "compare",
    "develop",
    "fill",
    "hide",
    "paired",
    "party_from_part",
    "probabilities",
    "quality",
]

DEVELOPMENT, REPORTED = 1000, 0  # first seeds of the splits
SHAPES = [
    (shape, c)
    for shape in ("clip", "squeeze")
    for c in (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
]
"""Ways from an imputer's real numbers to probabilities: cut at c and 1 − c, or cut at 0 and 1 and
then c + (1 − 2c)·x."""
SWEEPS = 60  # of the chains behind each probability, ten for a row
MACHINE: dict[str, Any] = {
    "n_components": 24,
    "method": "cd",
    "k": 2,
    "optimiser": "adam",
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "initial_std": 0.3,
    "posterior_sweeps": 4,
    "average": 0.98,
    "batch_size": 435,
    "n_iter": 300,
}
Settings = dict[str, Any]
FAMILIES: dict[str, list[Settings]] = {
    "KNNImputer": [{"n_neighbors": k} for k in (3, 5, 10, 20, 30, 45, 60, 90)]
    + [{"n_neighbors": k, "weights": "distance"} for k in (10, 30)],
    "IterativeImputer": [
        {"model": "ridge", "bounded": False},
        {"model": "ridge", "bounded": True},
        {"model": "trees", "bounded": True, "max_iter": 3},
    ],
    "IterativeImputer, logistic": [
        {"model": "logistic", "strength": c, "bounded": True} for c in (0.1, 0.3, 1.0)
    ],
    "RBM": [
        MACHINE,
        {**MACHINE, "posterior_sweeps": 0},
        {**MACHINE, "method": "pcd", "chains": 400},
        {**MACHINE, "initial_std": 0.01},
        {**MACHINE, "n_iter": 600},
        {**MACHINE, "n_components": 12, "k": 4, "n_iter": 500},
    ],
}
"""What is tried on the development splits. The third family is IterativeImputer with a regressor of
ours in it, a logistic one."""


def as_votes(table: np.ndarray) -> np.ndarray:
    """Yes as 1, no as 0, a missing vote as NaN."""
    return np.array(
        [[math.nan if vote is None else float(vote == "y") for vote in row] for row in table]
    )


def hide(
    values: np.ndarray, seed: int, share: float = 0.2
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """A copy with a share of the cells that are there missing, and where these are: (rows,
    columns)."""
    there = np.argwhere(~np.isnan(values))
    chosen = there[
        Stream(seed)
        .child("hidden cells")
        .permutation(len(there))
        .numpy()[: round(share * len(there))]
    ]
    cells = (chosen[:, 0], chosen[:, 1])
    left = values.copy()
    left[cells] = math.nan
    return left, cells


def quality(p: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share right at ½ and log-loss in nats of probabilities of 1."""
    cost = -np.where(truth == 1, np.log(p), np.log1p(-p))
    return {"right": float(((p > 0.5) == (truth == 1)).mean()), "log_loss": float(cost.mean())}


def probabilities(values: np.ndarray, shape: tuple[str, float]) -> np.ndarray:
    """Real numbers as probabilities, by one of ``SHAPES``."""
    kind, c = shape
    return np.clip(values, c, 1 - c) if kind == "clip" else c + (1 - 2 * c) * np.clip(values, 0, 1)


def paired(
    differences: Sequence[float], overlap: float = 0.25, level: float = 0.95
) -> dict[str, Any]:
    """Mean of paired differences over splits with two t intervals.

    ``interval`` takes the splits for independent: it is about these rows, and other cells of them
    hidden. ``corrected`` has a variance of 1/n + overlap in place of 1/n, where overlap is cells
    hidden over cells kept, since splits share most of their cells (Nadeau & Bengio 2003): it is
    nearer to what another such table would show.
    """
    x, n = np.asarray(differences, float), len(differences)
    mean, half = float(x.mean()), float(stats.t.ppf(0.5 + level / 2, n - 1) * x.std(ddof=1))
    return {
        "mean": mean,
        "interval": [mean - half * math.sqrt(1 / n), mean + half * math.sqrt(1 / n)],
        "corrected": [
            mean - half * math.sqrt(1 / n + overlap),
            mean + half * math.sqrt(1 / n + overlap),
        ],
        "better_in": int((x > 0).sum()),
        "splits": n,
    }


class LogisticVotes(RegressorMixin, BaseEstimator):
    """A logistic regression that ``IterativeImputer`` takes for a regression: it predicts the
    probability of a yes."""

    def __init__(self, C: float = 1.0):
        self.C = C

    def fit(self, X: np.ndarray, y: np.ndarray) -> LogisticVotes:
        self.model_ = LogisticRegression(C=self.C).fit(X, y > 0.5)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model_.predict_proba(X)[:, 1]


def fill(family: str, X: np.ndarray, settings: Mapping[str, Any], members: int = 1) -> np.ndarray:
    """``X`` with its missing cells filled in; by an RBM, the mean probability over machines that
    differ in their seeds alone."""
    if family == "KNNImputer":
        return KNNImputer(**settings).fit_transform(X)
    if family == "RBM":
        return np.mean(
            [
                RBM(**settings, random_state=i).fit(X).impute(X, how="mean", sweeps=SWEEPS)
                for i in range(members)
            ],
            0,
        )
    options = dict(settings)
    models = {
        "ridge": BayesianRidge,  # scikit-learn's default
        "logistic": lambda: LogisticVotes(options.pop("strength")),
        "trees": lambda: ExtraTreesRegressor(30, min_samples_leaf=5, random_state=0),
    }
    limits = {"min_value": 0, "max_value": 1} if options.pop("bounded") else {}
    model = models[options.pop("model")]()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # its last round is what it gives, converged or not
        return IterativeImputer(model, random_state=0, **limits, **options).fit_transform(X)


def develop(
    values: np.ndarray, beside: np.ndarray, families: Mapping[str, Sequence[Settings]], splits: int
) -> list[dict[str, Any]]:
    """Each setting on the development splits, in each of ``SHAPES``: mean share right and log-loss.

    ``beside`` has columns, (n, 0) or more, that every method is given and of which nothing is
    hidden.
    """
    tried = []
    for family, candidates in families.items():
        for settings in candidates:
            found: dict[tuple[str, float], list[dict[str, float]]] = {shape: [] for shape in SHAPES}
            for seed in range(DEVELOPMENT, DEVELOPMENT + splits):
                X, cells = hide(values, seed)
                filled = fill(family, np.c_[X, beside], settings)[cells]
                for shape, rows in found.items():
                    rows.append(quality(probabilities(filled, shape), values[cells]))
            means = {
                shape: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
                for shape, rows in found.items()
            }
            shape = min(means, key=lambda shape: means[shape]["log_loss"])
            tried.append({"family": family, "settings": settings, "shape": shape, **means[shape]})
            print(
                f"{family:27s} right {means[shape]['right']:.4f}  log-loss "
                f"{means[shape]['log_loss']:.4f}  {shape}  {settings}",
                flush=True,
            )
    return tried


def choose(tried: Sequence[dict[str, Any]], family: str, measure: str) -> dict[str, Any]:
    """A family's best setting on the development splits, by "right" or by "log_loss"."""
    own = [one for one in tried if one["family"] == family]
    return (
        max(own, key=lambda one: one["right"])
        if measure == "right"
        else min(own, key=lambda one: one["log_loss"])
    )


def compare(
    values: np.ndarray,
    beside: np.ndarray,
    tried: Sequence[dict[str, Any]],
    splits: int,
    members: int,
    rbm: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """All families on the reported splits, and what the RBM is better by, paired.

    A scikit-learn imputer's share right is that of its setting with the best share on the
    development splits, its log-loss that of the setting with the best log-loss; the RBM has one
    setting for both, ``rbm`` or the one with the best log-loss.
    """
    families = list(dict.fromkeys(one["family"] for one in tried))
    chosen = {
        family: {m: choose(tried, family, m) for m in ("right", "log_loss")} for family in families
    }
    chosen["RBM"] = dict.fromkeys(("right", "log_loss"), rbm or choose(tried, "RBM", "log_loss"))
    rows = []
    for seed in range(REPORTED, REPORTED + splits):
        X, cells = hide(values, seed)
        row: dict[str, Any] = {"split": seed, "cells": len(cells[0])}
        for family, by in chosen.items():
            row[family] = {}
            for measure, one in by.items():
                if measure == "right" or one is not by["right"]:  # the same setting is fitted once
                    filled = fill(family, np.c_[X, beside], one["settings"], members)[cells]
                row[family][measure] = quality(probabilities(filled, one["shape"]), values[cells])[
                    measure
                ]
        rows.append(row)
        print(
            seed,
            {family: {m: round(x, 4) for m, x in row[family].items()} for family in chosen},
            flush=True,
        )
    means = {
        family: {m: float(np.mean([row[family][m] for row in rows])) for m in ("right", "log_loss")}
        for family in chosen
    }
    better = {
        family: {
            "right": paired([row["RBM"]["right"] - row[family]["right"] for row in rows]),
            "log_loss": paired([row[family]["log_loss"] - row["RBM"]["log_loss"] for row in rows]),
        }
        for family in chosen
        if family != "RBM"
    }
    for family, found in better.items():
        for measure, x in found.items():
            interval = " to ".join(f"{end:+.4f}" for end in x["interval"])
            print(
                f"RBM better than {family} in {measure} by {x['mean']:+.4f} ({interval}), in "
                f"{x['better_in']} of {x['splits']} splits"
            )
    return {"chosen": chosen, "means": means, "rbm_better_by": better, "rows": rows}


def party_from_part(
    votes: np.ndarray,
    party: np.ndarray,
    known: Sequence[int],
    splits: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Accuracy of the party told from so many votes of a member, drawn at random among those that
    are there: means over splits, and rows.

    A fifth of the members is kept back. The RBM learns votes and party together, once for each
    split; boosted trees take missing votes as they are; the logistic regression has them filled in
    by IterativeImputer, which is fitted to the other members' whole rows.
    """
    rows = []
    for seed in range(REPORTED, REPORTED + splits):
        order = Stream(seed).child("members").permutation(len(votes)).numpy()
        test, train = np.split(order, [len(votes) // 5])
        rbm = RBM(**{**settings, "batch_size": len(train)}, labels=True, random_state=seed).fit(
            votes[train], party[train]
        )
        trees = HistGradientBoostingClassifier(random_state=0).fit(votes[train], party[train])
        imputer = IterativeImputer(
            BayesianRidge(), random_state=0, min_value=0, max_value=1, max_iter=30, tol=0.01
        ).fit(votes[train])
        logistic = LogisticRegression().fit(imputer.transform(votes[train]), party[train])
        for count in known:
            X = _keep(votes[test], count, Stream(seed).child("known votes", count))
            predicted = {
                "RBM": rbm.predict(X),
                "trees": trees.predict(X),
                "logistic": logistic.predict(imputer.transform(X)),
            }
            rows.append(
                {
                    "split": seed,
                    "known": count,
                    **{name: float((y == party[test]).mean()) for name, y in predicted.items()},
                }
            )
            print(rows[-1], flush=True)
    names = ("RBM", "trees", "logistic")
    means = {
        count: {
            name: float(np.mean([row[name] for row in rows if row["known"] == count]))
            for name in names
        }
        for count in known
    }
    return {"means": means, "rows": rows}


def _keep(votes: np.ndarray, count: int, stream: Stream) -> np.ndarray:
    """At most so many votes of each row, drawn among those that are there."""
    keys = np.where(np.isnan(votes), 2.0, stream.uniform(votes.shape, torch.float64).numpy())
    return np.where(keys.argsort(1).argsort(1) < count, votes, math.nan)


def main() -> None:
    from record import (
        record,
        # beside this file; imported here so that the tests can load the functions above, and first,
        # since it has a clock
    )

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--development", type=int, default=4, help="development splits")
    parser.add_argument(
        "--members", type=int, default=3, help="machines whose probabilities are averaged"
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load("house-votes", split="all")
    votes, party = as_votes(data.values), np.asarray(data.labels)
    columns = {
        "votes alone": np.empty((len(votes), 0)),
        "with the party": (party == "republican").astype(float)[:, None],
    }
    tables: dict[str, Any] = {}
    rbm = None
    for name, beside in columns.items():
        print(name, flush=True)
        families = {
            family: tried for family, tried in FAMILIES.items() if rbm is None or family != "RBM"
        }
        tried = develop(votes, beside, families, arguments.development)
        rbm = rbm or choose(tried, "RBM", "log_loss")  # chosen once, on the votes alone
        tables[name] = {
            "development": tried,
            **compare(votes, beside, tried, arguments.splits, arguments.members, rbm),
        }
    assert rbm is not None
    told = party_from_part(votes, party, (4, 8, 16), 5, rbm["settings"])
    record(
        "house_votes",
        data="435 members, 16 votes, 392 of them truly missing; a fifth of the others hidden at "
        "random in each split",
        seeds={
            "reported": [REPORTED, arguments.splits],
            "development": [DEVELOPMENT, arguments.development],
            "members": arguments.members,
        },
        intervals="95 % t intervals of paired differences over splits; 'corrected' as by Nadeau "
        "& Bengio 2003, since splits share cells",
        **tables,
        party=told,
    )


if __name__ == "__main__":
    main()
