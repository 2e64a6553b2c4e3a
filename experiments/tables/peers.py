"""CTGAN and TVAE on the rows that ``synthetic.py`` gives the models here: samples as CSV, seconds.

They run in an environment of their own, on one thread, with their default epochs:

    python -m venv PEERS && PEERS/bin/pip install torch ctgan    # a build of torch for CPUs
    OMP_NUM_THREADS=1 EQUILIBRIA_DATA=… PEERS/bin/python experiments/tables/peers.py titanic credit

Both refuse gaps, so they are fitted to the complete rows. Text and whole numbers of ten values or
fewer are said to be discrete. ``synthetic.py --peers DIR`` judges what is written to DIR.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import ctgan
import numpy as np
import pandas as pd
import torch
from tables import TABLES, load

MODELS = {"ctgan": ctgan.CTGAN, "tvae": ctgan.TVAE}
MOST = 10  # values of a whole number that is still discrete


def discrete(frame: pd.DataFrame) -> list[str]:
    """Columns of text, and of whole numbers with few values."""
    found = []
    for name, column in frame.items():
        text = not pd.api.types.is_numeric_dtype(column)
        if text or (column.nunique() <= MOST and (column == column.round()).all()):
            found.append(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.tables:
            rows = load(name).train.dropna().reset_index(drop=True)
            for kind in options.models:
                file = options.out / f"{name}-{kind}-{seed}.csv"
                if file.exists():
                    continue
                np.random.seed(seed)  # noqa: NPY002  # ctgan draws by it
                torch.manual_seed(seed)
                model = MODELS[kind](enable_gpu=False)
                model.set_random_state(seed)
                began = time.process_time()
                model.fit(rows, discrete(rows))
                seconds = round(time.process_time() - began, 1)
                model.sample(max(1000, len(rows))).to_csv(file, index=False)
                about = {"seconds": seconds, "rows": len(rows), "version": ctgan.__version__}
                file.with_suffix(".json").write_text(json.dumps(about) + "\n")
                print(name, kind, seed, about, flush=True)


if __name__ == "__main__":
    main()
