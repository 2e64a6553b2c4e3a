"""Time and memory of each command on a table of two million rows by fifty columns, as a memory map,
as CSV and as Parquet, beside pandas' own reading and writing. A report of many columns is not
measured. Parquet takes pyarrow.

Each command is a process of its own, whose largest resident memory (ru_maxrss) the kernel tells,
the pages of a memory map that it has read included. The first of each format trains on two
thousand rows: what libraries and a training take that have no data. What is above it is set beside
one copy of the data in its own type (float32; of a CSV file float64; of samples themselves), as
``copies``.
``--source`` is another checkout's ``src``.

    python experiments/large_tables.py --name large-tables
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from record import record

FORMATS = ("npy", "csv", "parquet")
FEW = 2000
WATCH = """import json, os, sys, time
began, words = time.monotonic(), [sys.executable, *sys.argv[2:]]
_, status, used = os.wait4(os.posix_spawn(sys.executable, words, os.environ), 0)
found = {"seconds": time.monotonic() - began, "processor": used.ru_utime + used.ru_stime}
found["megabytes"] = used.ru_maxrss * 1024 / 1e6
json.dump({name: round(value, 1) for name, value in found.items()}, open(sys.argv[1], "w"))
sys.exit(status != 0)"""
BLOCK = 100_000


def rows_of(first: int, count: int, columns: int) -> np.ndarray:
    """Correlated real numbers, float32: ten factors and noise."""
    random = np.random.default_rng(first)
    weights = np.random.default_rng(0).normal(size=(10, columns))
    found = random.normal(size=(count, 10)) @ weights + random.normal(size=(count, columns))
    return found.round(3).astype(np.float32)


def make(folder: Path, rows: int, columns: int) -> None:
    """The table as table.npy, table.csv and table.parquet, and its first rows as few.…"""
    import pandas
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    shape, names = (rows, columns), [f"x{i}" for i in range(columns)]
    made = np.lib.format.open_memmap(folder / "table.npy", "w+", np.float32, shape)
    schema = pyarrow.schema([(name, pyarrow.float32()) for name in names])
    parquet = ParquetWriter(folder / "table.parquet", schema)
    with parquet, open(folder / "table.csv", "w") as file:
        file.write(",".join(names) + "\n")
        for first in range(0, rows, BLOCK):
            block = rows_of(first, min(BLOCK, rows - first), columns)
            made[first : first + len(block)] = block
            np.savetxt(file, block, fmt="%.3f", delimiter=",")
            parquet.write_table(pyarrow.table(list(block.T), schema=schema))
    made.flush()
    few = pandas.DataFrame(made[:FEW], columns=names)
    np.save(folder / "few.npy", made[:FEW])
    few.to_csv(folder / "few.csv", index=False)
    few.to_parquet(folder / "few.parquet", index=False)


def measured(words: list[str], source: str, aside: Path) -> dict[str, float]:
    """Wall and processor seconds and the largest memory, MB, of one process.

    A small one starts it: what its parent takes would count as its own.
    """
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-S", "-c", WATCH, aside, *words], env=environment, check=True)
    return json.loads(aside.read_text())


def commands(folder: Path, samples: int) -> dict[str, list[str]]:
    """Name → what Python is given; a command may need the runs of those before it."""
    base = ["-m", "equilibria"]
    rbm, gan, other = (str(folder / name) for name in ("rbm", "gan", "other"))
    table = {form: str(folder / f"table.{form}") for form in FORMATS}
    npy, csv = table["npy"], table["csv"]
    read = {
        form: f"import sys, pandas; t = pandas.read_{form}(sys.argv[1]); " for form in FORMATS[1:]
    }
    whole = ["--held-out", "0", "--overwrite"]

    def train(data: str, out: str, *how: str) -> list[str]:
        brief = ["--n-iter", "1", "--batch-size", "1000", "--out", out]
        return [*base, "train", "rbm", data, *brief, *(how or whole)]

    found = {f"no data, {form}": train(str(folder / f"few.{form}"), rbm) for form in FORMATS}
    found |= {
        "pandas reads csv": ["-c", read["csv"], csv],
        "pandas reads parquet": ["-c", read["parquet"], table["parquet"]],
        "pandas writes csv": ["-c", read["csv"] + "t.to_csv(sys.argv[2])", csv, csv + ".2"],
        "train rbm, npy": train(npy, rbm),
        "train gan, npy": [*base, "train", "gan", npy, "--steps", "20", *whole, "--out", gan],
        "train rbm, csv": train(csv, other),
        "train rbm, parquet": train(table["parquet"], other),
        "train rbm, a tenth held out, npy": train(npy, other, "--overwrite"),
        "score, npy": [*base, "score", rbm, npy, "--out", str(folder / "scores.csv")],
        "sample": [*base, "sample", gan, "-n", str(samples), "--out", str(folder / "drawn.csv")],
    }
    for name in ("score, npy", "sample"):
        found[name].append("--overwrite")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--source", default=str(Path(__file__).parents[1] / "src"))
    parser.add_argument("--folder", default=None, help="kept; by default a temporary one")
    parser.add_argument("--only", default="", help="commands whose name this matches")
    parser.add_argument("--name", default="", help="of the result; not written without")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="large-"))
    folder.mkdir(exist_ok=True)
    try:
        if not (folder / "table.csv").exists():
            make(folder, options.rows, options.columns)
        results = run(commands(folder, options.samples), options, folder)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    if options.name:
        data = {"rows": options.rows, "columns": options.columns, "samples": options.samples}
        record(options.name, **data, results=results)


def run(
    chosen: dict[str, list[str]], options: argparse.Namespace, folder: Path
) -> dict[str, dict[str, float]]:
    """Every command in turn; ``copies`` of the data are memory above its format's first."""
    size = options.rows * options.columns * 4 / 1e6
    wide = options.samples * options.columns * 4 / 1e6
    results: dict[str, dict[str, float]] = {}
    for name, words in chosen.items():
        if not re.search(options.only, name) and not name.startswith("no data"):
            continue
        found = measured(words, options.source, folder / "used.json")
        form = name.split()[-1] if name.split()[-1] in FORMATS else "npy"
        own = wide if name == "sample" else 2 * size if form == "csv" else size
        base = results.get(f"no data, {form}", found)["megabytes"]
        found["copies"] = round((found["megabytes"] - base) / own, 2)
        results[name] = found
        print(f"{name:34} {found}", flush=True)
    return results


if __name__ == "__main__":
    main()
