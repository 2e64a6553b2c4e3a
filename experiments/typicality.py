"""A likelihood as a detector of foreign rows: low scores, and scores on either side (typicality).

    EQUILIBRIA_DATA=… python experiments/typicality.py

The DBM of Fashion-MNIST (``mnist_dbm.py --data fashion-mnist``) scores 1,000 test rows of its own
kind and 1,000 of MNIST; 4,000 other test rows of its own kind calibrate. Area under the ROC curve
of minus the score, and of the two-sided conformal p-value, at telling MNIST from clothes, and the
shares flagged at p ≤ .05. The other way round a DBM of MNIST judges clothes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from record import RESULTS, record
from sklearn.metrics import roc_auc_score

import equilibria
from equilibria.data import load

KINDS = ("fashion-mnist", "mnist")


def main() -> None:
    torch.set_num_threads(1)
    rows = {name: load(name, split="test").values for name in KINDS}
    table: list[dict[str, Any]] = []
    for own, other in (KINDS, KINDS[::-1]):
        model = equilibria.load(RESULTS / f"{own}-dbm-500-1000")
        asked = np.concatenate([rows[own][:1000], rows[other][:1000]])
        foreign, usual = np.repeat([0, 1], 1000), rows[own][1000:5000]
        row: dict[str, Any] = {"model": own, "foreign": other}
        for two_sided in (False, True):
            p = model.anomaly_pvalue(asked, usual, two_sided=two_sided)
            name = "two-sided" if two_sided else "low scores"
            row |= {
                f"{name}: area": round(float(roc_auc_score(foreign, -p)), 4),
                f"{name}: usual flagged": float((p[:1000] <= 0.05).mean()),
                f"{name}: foreign flagged": float((p[1000:] <= 0.05).mean()),
            }
        table.append(row)
        print(row, flush=True)
    record("typicality", rows=table, protocol=__doc__)


if __name__ == "__main__":
    main()
