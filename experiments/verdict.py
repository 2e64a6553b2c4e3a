"""Is the verdict right where the truth is known? How often each planted case gets its sentence.

    python experiments/verdict.py [--seeds 100]

Rows are of three Gaussian kinds in four columns, new ones for each seed: 1,000 to train on, 600
held out. The cases: a perfect sampler (a mixture fitted to 20,000 other rows); one that copies 5 %
of the training rows; one that drops a mode; independent columns; an RBM that knows 100 rows of
random bits by heart; the perfect sampler judged by 60 rows. For each question the share of seeds
with each answer, with Wilson's intervals; a false alarm is a "yes" of the perfect sampler to "can
samples be told" (stated rate 5 %) or "does it leak" (.1 % and 99.9 % intervals).
"""

from __future__ import annotations

import argparse
import collections
import copy
from typing import Any

import numpy as np
import torch
from record import record

from equilibria import RBM, Independent, Mixture, verdict
from equilibria.evaluation.statistics import wilson
from equilibria.random import Stream

CENTRES = np.array([[0.0, 0, 0, 0], [5, 5, 0, 0], [0, 5, 5, 1]])
QUESTIONS = ("density", "told from data", "leak", "odd")


def draw(n: int, stream: Stream) -> np.ndarray:
    which = stream.child("kind").integers((n,), 3).numpy()
    return CENTRES[which] + stream.child("noise").normal((n, 4), torch.float64).numpy()


class Copying(Mixture):
    """A mixture 5 % of whose samples are training rows."""

    train = None  # no parameter: it has no annotation

    def sample(self, n: int = 1, **how: Any) -> Any:
        rows = super().sample(n, **how)
        copies = np.arange(n) % 20 == 0
        rows[copies] = self.train[Stream(1).integers((int(copies.sum()),), len(self.train))]
        return rows


def dropped(world: Mixture) -> Mixture:
    model = copy.deepcopy(world)
    with torch.no_grad():
        chance = model.model_.edges[0, 0].exp()
        chance[chance.argmin()] = 1e-30
        model.model_.edges[0, 0] = (chance / chance.sum()).log()
    return model


def cases(world: Mixture, seed: int) -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """Case → a model, held-out rows, training rows."""
    stream = Stream(seed)
    train, held = draw(1000, stream.child("train")), draw(600, stream.child("held"))
    copying = copy.copy(world)
    copying.__class__ = Copying
    vars(copying)["train"] = train
    bits = stream.uniform((400, 16)).round().numpy()
    rbm = RBM(
        64, n_iter=200, batch_size=20, learning_rate=0.05, momentum=0.9, random_state=seed
    ).fit(bits[:100])
    return {
        "perfect": (world, held, train),
        "copies 5 %": (copying, held, train),
        "drops a mode": (dropped(world), held, train),
        "independent columns": (Independent().fit(train), held, train),
        "overfitted RBM": (rbm, bits[100:], bits[:100]),
        "perfect, 60 rows": (world, held[:60], train[:140]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = Mixture(3, steps=40, random_state=0).fit(draw(20_000, Stream(10**6)))
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for seed in range(options.seeds):
        for name, (model, held, train) in cases(world, seed).items():
            found = verdict(model, held, train=train)
            for question in QUESTIONS:
                counts[f"{name}: {question}"][found[question].short] += 1
        print(seed, flush=True)
    rows = [
        {
            "case": key.partition(": ")[0],
            "question": key.partition(": ")[2],
            "answer": answer,
            "share": number / options.seeds,
            "interval": wilson(number, options.seeds),
        }
        for key, counter in counts.items()
        for answer, number in counter.items()
    ]
    for row in rows:
        print(row)
    record("verdict", seeds=options.seeds, rows=rows, protocol=__doc__)


if __name__ == "__main__":
    main()
