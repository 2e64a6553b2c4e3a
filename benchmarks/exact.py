"""Exact models beside their peers, in turn: MADE beside a bare loop, mixtures and trees beside
SPFlow, a mixture of real columns beside scikit-learn's ``GaussianMixture``.

    EQUILIBRIA_DATA=… python benchmarks/exact.py --rounds 3

Processor time of one thread; a ratio is that of neighbours in one round, and its median over rounds
counts. SPFlow (``pip install spflow``) is left out where it is not installed. The work:

- MADE 784-500-784 on fixed binarised MNIST, batches of 100: an update is 800 of them less 400. The
  bare loop has the same masks, torch's fused Adam and batches drawn by a permutation, and nothing
  else.
- Bernoulli mixture of 20, 60 iterations of EM over all training rows of a set; SPFlow's is a sum of
  products of Bernoulli leaves. Neither is told when to stop.
- Chow–Liu tree: structure and parameters.
- Hidden Chow–Liu tree of 16 states, structure and 3 iterations of EM: SPFlow's EM ends after so
  many, where it says that it has converged.
- ``GaussianMixture(20, covariance_type="diag")`` on 20,000 rows of 20 real columns: 20 iterations
  from 20 rows, no tolerance; ours with ``kinds="real"``.

Test log-likelihoods, in nats, stand beside the times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--sets", nargs="*", default=["nltcs", "plants"])
parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "exact.json")
options = parser.parse_args()
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from run import commit, hardware  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402
from torch.nn import functional  # noqa: E402

from equilibria import MADE, ChowLiuTree, LatentTree, Mixture  # noqa: E402
from equilibria.data import load  # noqa: E402

try:
    import spflow
except ImportError:
    spflow = None
torch.set_num_threads(1)
warnings.filterwarnings("ignore", category=UserWarning)  # of iterations that were not the last
Contest = dict[str, Callable[[int], tuple[float, float]]]
"""Contestant → seconds and test log-likelihood of a seed; ours first."""
LONG, SHORT = 800, 400


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def bare_made(rows: torch.Tensor, steps: int, seed: int) -> None:
    """Masks of a random order, ReLU, cross entropy, Adam."""
    torch.manual_seed(seed)
    size, width = rows.shape[1], 500
    rank, degree = torch.randperm(size), torch.randint(size - 1, (width,))
    masks = (degree[:, None] >= rank).float(), (rank[:, None] > degree).float()
    layers = torch.nn.Linear(size, width), torch.nn.Linear(width, size)
    parameters = [x for layer in layers for x in layer.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-3, fused=True)
    order = torch.randperm(len(rows))
    for step in range(steps):
        x = rows[order[(step * 100) % len(rows) :][:100]]
        hidden = functional.relu(functional.linear(x, layers[0].weight * masks[0], layers[0].bias))
        logits = functional.linear(hidden, layers[1].weight * masks[1], layers[1].bias)
        cost = functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
        optimiser.zero_grad()
        cost.sum(1).mean().backward()
        optimiser.step()


def made() -> Contest:
    data = load("mnist-binary")
    rows = torch.from_numpy(data.values.reshape(len(data.values), -1)).float()

    def ours(seed: int) -> tuple[float, float]:
        models = [MADE((500,), steps=n, random_state=seed) for n in (LONG, SHORT)]
        times = [timed(lambda model=model: model.fit(data))[0] for model in models]
        return (times[0] - times[1]) / (LONG - SHORT), float("nan")

    def bare(seed: int) -> tuple[float, float]:
        times = [timed(lambda n=n: bare_made(rows, n, seed))[0] for n in (LONG, SHORT)]
        return (times[0] - times[1]) / (LONG - SHORT), float("nan")

    return {"equilibria": ours, "bare loop": bare}


def fitted(model: Any, train: Any, test: Any) -> tuple[float, float]:
    seconds, _ = timed(lambda: model.fit(train))
    return seconds, model.score(test)


def gaussian() -> Contest:
    draw = np.random.default_rng(0)
    centres = 3 * draw.normal(size=(20, 20))
    rows = centres[draw.integers(20, size=25_000)] + draw.normal(size=(25_000, 20))
    train, test = rows[:20_000], rows[20_000:]

    def peer(seed: int) -> tuple[float, float]:
        how: dict[str, Any] = {"covariance_type": "diag", "max_iter": 20, "tol": 0.0}
        how |= {"init_params": "random_from_data", "random_state": seed}
        return fitted(GaussianMixture(20, **how), train, test)

    return {
        "equilibria": lambda seed: fitted(
            Mixture(20, steps=20, kinds="real", random_state=seed), train, test
        ),
        "scikit-learn": peer,
    }


def binary(name: str) -> dict[str, Contest]:
    train, test = (load(name, split=split).values for split in ("train", "test"))
    one = {
        "mixture": lambda seed: Mixture(20, random_state=seed),
        "tree": lambda seed: ChowLiuTree(random_state=seed),
        "latent tree": lambda seed: LatentTree(16, steps=3, random_state=seed),
    }
    found: dict[str, Contest] = {
        f"{kind}, {name}": {"equilibria": lambda seed, make=make: fitted(make(seed), train, test)}
        for kind, make in one.items()
    }
    if spflow is None:
        print("spflow is not installed: left out")
        return found
    from spflow.learn.expectation_maximization import expectation_maximization
    from spflow.meta import Scope
    from spflow.modules.leaves import Bernoulli
    from spflow.modules.leaves.cltree import CLTree
    from spflow.modules.products import Product
    from spflow.modules.sums import Sum
    from spflow.zoo.hclt.learn import learn_hclt_binary

    X, T = (torch.from_numpy(rows).float() for rows in (train, test))
    scope = Scope(list(range(X.shape[1])))

    def of_twenty() -> Any:
        leaf = Bernoulli(scope=scope, out_channels=20)
        model = Sum(inputs=Product(inputs=leaf), out_channels=1)
        expectation_maximization(model, X, max_steps=60)
        return model

    def hidden() -> Any:
        model = learn_hclt_binary(X, num_hidden_cats=16, init="random")
        expectation_maximization(model, X, max_steps=3)
        return model

    def tree() -> Any:
        model = CLTree(scope=scope, K=2)
        model.maximum_likelihood_estimation(X)
        return model

    works = {"mixture": of_twenty, "tree": tree, "latent tree": hidden}
    for kind, work in works.items():

        def peer(seed: int, work: Callable[[], Any] = work) -> tuple[float, float]:
            torch.manual_seed(seed)
            seconds, model = timed(work)
            with torch.no_grad():
                return seconds, float(model.log_likelihood(T).sum()) / len(T)

        found[f"{kind}, {name}"]["SPFlow"] = peer
    return found


contests: dict[str, Contest] = {"MADE, an update": made(), "Gaussian mixture": gaussian()}
for each in options.sets:
    contests |= binary(each)
results: dict[str, dict[str, Any]] = {}
for title, contest in contests.items():
    seconds, scores = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for turn in range(options.rounds):
        for who, work in contest.items():
            spent, score = work(turn)
            seconds[who].append(spent)
            scores[who].append(score)
    results[title] = {
        who: {
            "seconds": statistics.median(times),
            "log_likelihood": None
            if np.isnan(scores[who]).any()
            else statistics.median(scores[who]),
        }
        for who, times in seconds.items()
    }
    for who, times in seconds.items():
        if who != "equilibria":
            ratios = [own / peer for own, peer in zip(seconds["equilibria"], times, strict=True)]
            spread = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
            results[title][who]["ours over it"] = spread
    print(title, json.dumps(results[title]), flush=True)
versions = {"spflow": metadata.version("spflow") if spflow else None}
record = {"commit": commit(), "hardware": hardware(), "rounds": options.rounds}
record |= {"versions": versions, "protocol": __doc__, "results": results}
options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
