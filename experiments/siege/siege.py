"""The whole campaign against damage, in parts that can be stopped and gone on with.

    make siege                                         # hours; run again, it goes on
    python experiments/siege/siege.py --parts kill disk --share 0.1

Each part is a script of this folder, run in pieces, one seed each; what came of a piece is kept in
runs/siege/siege.json before the next begins. At the end the counts are printed and recorded in
experiments/results/siege.json, with every fault and the words that repeat it.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import record

from equilibria import durable


class Part(NamedTuple):
    """A script with its words, trials in all and in a piece, and the outcomes that are no fault."""

    words: tuple[str, ...]
    trials: int
    piece: int
    good: tuple[str, ...]


PROCESSES = ("whole", "resumed", "former", "new")
PARTS = {
    "kill": Part(("processes.py", "kill"), 210, 21, PROCESSES),
    "signal": Part(("processes.py", "signal"), 63, 21, PROCESSES),
    "together": Part(("processes.py", "together"), 25, 5, PROCESSES),
    "disk": Part(("processes.py", "disk"), 420, 21, PROCESSES),
    "damage": Part(("damage.py",), 1000, 250, ("refused", "same", "told")),
    "inputs": Part(("inputs.py",), 5000, 1000, ("accepted", "refused")),
    "arguments": Part(("arguments.py",), 2000, 500, ("refused", "taken", "help")),
}


def play(part: Part, piece: int) -> dict[str, Any]:
    """Run one piece; its counts, and the lines on its faults."""
    script, *words = part.words
    run = [sys.executable, str(Path(__file__).with_name(script)), *words]
    run += ["--count", str(part.piece), "--seed", str(piece)]
    done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=False)
    *lines, last = done.stdout.strip().splitlines() or [""]
    if not last.startswith("{"):
        raise RuntimeError(f"{' '.join(run)} ended with exit code {done.returncode}")
    counts = json.loads(last)
    faults = [f"{script} {line}" for line in lines if not line.startswith("  ")]
    return {"counts": counts, "faults": faults if set(counts) - set(part.good) else []}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--share", type=float, default=1.0, help="of the trials")
    parser.add_argument("--out", type=Path, default=Path("runs/siege"))
    options = parser.parse_args()
    file = options.out / "siege.json"
    options.out.mkdir(parents=True, exist_ok=True)
    done = json.loads(file.read_text()) if file.exists() else {}
    for name in options.parts:
        part = PARTS[name]
        for piece in range(max(1, round(options.share * part.trials / part.piece))):
            if f"{name} {piece}" not in done:
                done[f"{name} {piece}"] = found = play(part, piece)
                durable.replace(file, json.dumps(done, indent=1).encode())
                print(
                    f"{name} {piece}: {found['counts']}", *found["faults"], sep="\n  ", flush=True
                )
    counts = {name: collections.Counter[str]() for name in PARTS}
    for key, found in done.items():
        counts[key.split()[0]].update(found["counts"])
    bad = 0
    for name, part in PARTS.items():
        faults = sum(n for what, n in counts[name].items() if what not in part.good)
        bad += faults
        told = ", ".join(f"{what} {counts[name][what]}" for what in part.good)
        print(f"{name:10} {counts[name].total():6} trials: {told}; faults {faults}")
    record("siege", parts=counts, faults=[line for one in done.values() for line in one["faults"]])
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
