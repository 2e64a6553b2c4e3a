"""What a critic has learnt without labels: a linear SVM on its features with 1,000 labels, beside
one on pixels.

    EQUILIBRIA_DATA=… python experiments/critic_features.py [--data mnist fashion-mnist]
    [--minutes 4] [--network dcgan]

The GAN sees all 60,000 training pictures and no label. Then a linear SVM (its C chosen by
cross-validation within the labelled rows) is fitted on what the critic's last layer sees of 1,000
labelled pictures and tested on the 10,000 test pictures; five draws of the 1,000. Radford et al.
2016 (recalled): 82.8 % on CIFAR-10 with all labels, 22.48 % error on SVHN with 1,000, from all
layers of a larger critic.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from record import budgeted, record
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from equilibria import GAN
from equilibria.data import load
from equilibria.random import Stream

LABELS, DRAWS = 1000, 5


def error(train: np.ndarray, labels: np.ndarray, test: np.ndarray, wanted: np.ndarray) -> float:
    """Of a linear SVM."""
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LinearSVC(dual="auto")),
        {"linearsvc__C": [1e-4, 1e-3, 1e-2, 1e-1]},
        cv=5,
    )
    return 1 - float(search.fit(train, labels).score(test, wanted))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--network", default="dcgan")
    parser.add_argument("--channels", type=int, help="the device's own by default")
    options = budgeted(parser, minutes=4)
    settings: dict[str, Any] = {
        "network": options.network,
        "channels": options.channels,
        "minutes": options.minutes,
    }
    rows = []
    for name in options.data:
        train, test = load(name), load(name, split="test")
        began = time.monotonic()
        model = GAN(
            **settings,
            value_range=(0, 255),
            picture_shape=(28, 28),
            device=options.device,
            random_state=0,
        ).fit(train.values)
        took = time.monotonic() - began
        seen = {"pixels": (np.asarray(train.values), np.asarray(test.values))}
        seen["critic"] = (model.transform(train.values), model.transform(test.values))
        labels, wanted = np.asarray(train.labels), np.asarray(test.labels)
        for what, (known, asked) in seen.items():
            errors = []
            for draw in range(DRAWS):
                chosen = Stream(draw).child("labelled").permutation(len(labels))[:LABELS].numpy()
                errors.append(error(known[chosen], labels[chosen], asked, wanted))
            rows.append(
                {
                    "data": name,
                    "features": what,
                    "columns": known.shape[1],
                    "errors": errors,
                    "mean": statistics.mean(errors),
                }
            )
            print(
                f"{name} {what}: error {100 * rows[-1]['mean']:.2f} % over {DRAWS} draws of "
                f"{LABELS} labels",
                flush=True,
            )
        rows[-1] |= {"training_seconds": round(took, 1), "steps": model.n_steps_}
        rows[-1] |= {"health": model.health_}
    record(
        "critic_features",
        settings=settings,
        rows=rows,
        published={"Radford et al. 2016 (recalled)": "CIFAR-10 82.8 %, SVHN 22.48 % error"},
    )


if __name__ == "__main__":
    main()
