"""Every mode of the ring and the grid, with its share and its width: `GAN` as it comes, over ten
seeds.

    python experiments/ring_and_grid.py [--seeds 10] [--threads 1]

The data and the measures are those of PacGAN (Lin et al. 2018): ring of 8 modes, radius 1, σ .01;
grid of 25, spacing 2, σ .05; 100,000 training points; 2,500 samples, high quality within 3σ, KL of
their histogram over the modes from the uniform one. A perfect sampler has 98.89 %, so a share above
99.5 % means too narrow modes: the width beside it says so. Copies are looked for among the training
points, against as many fresh points. Fits that are in the result file already (same settings, same
defaults of the library, same seed) are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from record import RESULTS, record

from equilibria import GAN
from equilibria.data import load
from equilibria.evaluation import memorisation, modes
from equilibria.random import Stream
from equilibria.recipes.adversarial import presets

PUBLISHED = {
    "source": "Lin et al. 2018, tables 1 and 2: modes, share within 3 sigma, KL",
    "GAN": {"ring": [6.3, 0.982, 0.45], "grid": [17.3, 0.948, 0.70]},
    "PacGAN2": {"ring": [7.9, 0.956, 0.07], "grid": [23.8, 0.913, 0.13]},
    "PacGAN4": {"ring": [7.8, 0.959, 0.07], "grid": [24.8, 0.936, 0.04]},
}
SAMPLES = 2500
DEFAULTS = json.loads(json.dumps(presets(["mlp"], None)))  # as they come back from the file


def fit(name: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One GAN, and what its samples are like."""
    data = load(name)
    began = time.monotonic()
    model = GAN(random_state=seed, **settings).fit(data.values)
    seconds = time.monotonic() - began
    samples = model.sample(SAMPLES)
    found = modes(samples, data.density)
    copying = memorisation(
        samples, data.values, data.density.sample(len(data.values), Stream(seed).child("fresh"))
    )
    print(f"{name} seed {seed}: {found}; {copying}; {seconds:.0f} s", flush=True)
    return {
        "data": name,
        "seed": seed,
        "settings": settings,
        "defaults": DEFAULTS,
        "modes": int(found.value),
        "of": len(data.density.centres),
        "high_quality": found["share of high-quality samples"].value,
        "width": found["sampled width over true width"].value,
        "kl": found["KL over modes"].value,
        "kl_floor": found["KL over modes"].chance,
        "copies": bool(copying.warning),
        "copying": str(copying),
        "seconds": round(seconds, 1),
        "health": model.health_,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds of one kind of data."""
    return {
        "seeds": len(rows),
        "all modes": sum(row["modes"] == row["of"] for row in rows),
        "high quality, least and mean": [
            min(row["high_quality"] for row in rows),
            statistics.mean(row["high_quality"] for row in rows),
        ],
        "width, least and largest": [
            min(row["width"] for row in rows),
            max(row["width"] for row in rows),
        ],
        "mean KL": statistics.mean(row["kl"] for row in rows),
        "KL floor": rows[0]["kl_floor"],
        "copies": sum(row["copies"] for row in rows),
        "seconds, median and largest": [
            statistics.median(row["seconds"] for row in rows),
            max(row["seconds"] for row in rows),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", nargs="+", default=["ring", "grid"])
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        help="parameters other than the defaults, as name=value in JSON",
    )
    parser.add_argument("--name", default="ring_and_grid")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {
        name: json.loads(value) for name, value in (pair.split("=", 1) for pair in options.set)
    }
    path = RESULTS / f"{options.name}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    rows: list[dict[str, Any]] = earlier.get("rows", [])
    seconds = float(earlier.get("seconds_in_all", 0.0))
    for seed in range(options.first, options.first + options.seeds):
        for name in options.data:
            same = [
                row
                for row in rows
                if (row["data"], row["seed"], row["settings"]) == (name, seed, settings)
            ]
            if any(row.get("defaults") == DEFAULTS for row in same):
                continue
            rows = [row for row in rows if row not in same]  # of other defaults
            rows.append(fit(name, seed, settings))
            seconds += rows[-1]["seconds"]
            kinds = {
                data: summary(chosen)
                for data in ("ring", "grid")
                if (chosen := [row for row in rows if row["data"] == data])
            }
            record(
                options.name,
                summary=kinds,
                rows=rows,
                published=PUBLISHED,
                seconds_in_all=round(seconds, 1),
            )
    for data in options.data:
        print(data, json.dumps(summary([row for row in rows if row["data"] == data]), indent=1))


if __name__ == "__main__":
    main()
