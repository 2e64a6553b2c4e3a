"""Pictures with labels: does a conditional dcgan draw the digit that it is asked for, what do 100
labels teach a critic, and what does bfloat16 change?

    EQUILIBRIA_DATA=… python experiments/labelled_pictures.py [--data mnist] [--minutes 4]

Three fits of the same time, dcgans by default but for what is said: ``labels=True`` (1,000 samples
of each class, read by a logistic regression on a small classifier's features, whose own share of
held-out rows right is the ceiling); ``semi_supervised=True`` with 10 labels a class (test error,
beside a linear SVM on the pixels of the same rows); ``precision="bfloat16"`` (steps in the time and
Fréchet distance, beside float32 in experiments/pictures.py).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from critic_features import error
from pictures import looked_through
from record import budgeted, record
from sklearn.linear_model import LogisticRegression

from equilibria import GAN
from equilibria.data import load
from equilibria.evaluation import frechet
from equilibria.evaluation.statistics import wilson

A_CLASS, LABELS = 1000, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist")
    options = budgeted(parser, minutes=4)
    train, test = load(options.data), load(options.data, split="test")
    seen = looked_through(train, test)
    shared: dict[str, Any] = {"network": "dcgan", "minutes": options.minutes, "random_state": 0}
    shared |= {"device": options.device}
    labels, wanted = np.asarray(train.labels), np.asarray(test.labels)
    reader = LogisticRegression(max_iter=500).fit(seen(train.values[:10_000]), labels[:10_000])

    model = GAN(**shared, labels=True).fit(train)
    asked = np.repeat(np.unique(labels), A_CLASS)
    samples = np.asarray(model.sample(len(asked), y=asked))
    right = int((reader.predict(seen(samples)) == asked).sum())
    table: dict[str, Any] = {
        "conditional": {
            "steps": model.n_steps_,
            "right": right / len(asked),
            "interval": wilson(right, len(asked)),
            "held-out rows": float(reader.score(seen(test.values), wanted)),
            "frechet": frechet(test.values, samples, seen).value,
        }
    }
    print(table, flush=True)

    few = np.concatenate([np.flatnonzero(labels == one)[:LABELS] for one in np.unique(labels)])
    some = np.full(len(labels), -1)
    some[few] = labels[few]
    model = GAN(**shared, labels=True, missing_label=-1, semi_supervised=True).fit(train, some)
    pixels = np.asarray(train.values), np.asarray(test.values)
    table["semi-supervised"] = {
        "steps": model.n_steps_,
        "labels": len(few),
        "error": 1 - float(np.mean(model.predict(test.values) == wanted)),
        "linear SVM on pixels": error(pixels[0][few], labels[few], pixels[1], wanted),
    }
    print(table["semi-supervised"], flush=True)

    model = GAN(**shared, precision="bfloat16").fit(train)
    samples = np.asarray(model.sample(10_000))
    found = frechet(test.values, samples, seen)
    table["bfloat16"] = {"steps": model.n_steps_, "frechet": found.value, "floor": found.chance}
    print(table["bfloat16"], flush=True)
    about = {"data": options.data, "minutes": options.minutes, "features": seen.name}
    record("labelled_pictures", seeds=[0], settings=about, table=table)


if __name__ == "__main__":
    main()
