"""The same work here, in peers and at the floor, in one run: `make bench`, or `python
benchmarks/run.py --threads 2 --rounds 5`.

Makes its environments under benchmarks/.envs (one for JAX, one for the rest), lets every contestant
run in turn, round after round, and prints medians over rounds. A contestant's seconds are divided
by those of the bare matrix products timed in turn with it in the same process; ratios between
contestants are ratios of these. One that cannot be installed or does not run is left out, with the
reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENTS = HERE / ".envs"
TORCH = "torch==2.13.0"  # of a looser range pip takes a CUDA build of several gigabytes
CONTESTANTS: dict[str, tuple[str, str, list[str]]] = {
    # name: (environment, script, what to install without its dependencies)
    "equilibria": ("main", "ours.py", []),
    "scikit-learn": ("main", "peer_sklearn.py", []),
    "rbms": ("main", "peer_rbms.py", ["rbms==0.6.0"]),
    "learnergy": ("main", "peer_learnergy.py", ["learnergy==2.0.2"]),
    "kaiwu-torch-plugin": ("main", "peer_kaiwu.py", ["kaiwu-torch-plugin==0.3.0"]),
    "thrml": ("thrml", "peer_thrml.py", []),
}
INSTALLS = {
    "main": [
        [TORCH],
        ["-e", f"{ROOT}[fast]"],
        ["tqdm", "h5py", "typing_extensions"],
    ],  # the last for the peers installed bare
    "thrml": [["thrml==0.1.4", "jax==0.10.2", "numpy"]],
}
EPOCH, SMALL = "epoch", "200 updates of ten, 64-100"
WORKS = ("RBM sweep", "DBM sweep", EPOCH)


def main() -> None:
    options = _options()
    reasons = {} if options.no_install else install(options.only)
    lines: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    for turn in range(options.rounds):
        for name in options.only:
            if name not in reasons:
                print(
                    f"round {turn + 1} of {options.rounds}: {name} (load {os.getloadavg()[0]:.2f})",
                    file=sys.stderr,
                    flush=True,
                )
                reason = play(name, options, lines, versions)
                if reason:
                    reasons[name] = reason
    results = summary(lines)
    for sentence in table(results):
        print(sentence)
    for name, reason in reasons.items():
        print(f"left out: {name}: {reason}")
    about = {
        "commit": commit(),
        "hardware": hardware(),
        "threads": options.threads,
        "clock": options.clock,
        "rounds": options.rounds,
    }
    record = {
        **about,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "left_out": reasons,
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(f"written to {options.out}")
    if (
        "equilibria" in options.only and "equilibria" not in reasons
    ):  # bare loops take the peers' place: see benchmarks/README.md
        python, shared = (
            _python("main"),
            ["--threads", str(options.threads), "--clock", options.clock],
        )
        subprocess.run([str(python), str(HERE / "adversarial.py"), *shared], check=True)


def install(names: list[str]) -> dict[str, str]:
    """Make the environments that these contestants need; returns why one cannot play."""
    reasons: dict[str, str] = {}
    for environment in dict.fromkeys(CONTESTANTS[name][0] for name in names):
        python, stamp = _python(environment), ENVIRONMENTS / environment / ".installed"
        if not stamp.exists():
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENTS / environment)],
                check=True,
            )
            pins = ["-c", str(ROOT / "constraints.txt")] if environment == "main" else []
            failures = [_pip(python, *pins, *packages) for packages in INSTALLS[environment]]
            reason = next(filter(None, failures), "")
            reasons |= {
                name: f"its environment: {reason}"
                for name in names
                if reason and CONTESTANTS[name][0] == environment
            }
            if not reason:
                stamp.touch()
        for name in names:
            bare = CONTESTANTS[name][2]
            if (
                CONTESTANTS[name][0] == environment
                and name not in reasons
                and bare
                and not _installed(python, bare)
            ):
                reason = _pip(python, "--no-deps", "--ignore-requires-python", *bare)
                reasons |= {name: reason} if reason else {}
    return reasons


def play(
    name: str, options: argparse.Namespace, lines: dict[str, list[float]], versions: dict[str, str]
) -> str:
    """One round of one contestant into ``lines``, as shares of the floor (seconds where there is
    none); returns why it failed."""
    environment, script, _ = CONTESTANTS[name]
    command = [
        str(_python(environment)),
        str(HERE / script),
        "--threads",
        str(options.threads),
        "--clock",
        options.clock,
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=HERE, timeout=900, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            versions |= said.get("versions", {})
            if "seconds" in said:
                found[said["name"]] = said["seconds"]
    for key, seconds in found.items():
        work = key.partition(" · ")[0]
        lines.setdefault(f"{key} · seconds", []).append(seconds)
        if f"{work} · floor" in found and key != f"{work} · floor":
            lines.setdefault(f"{key} · share", []).append(found[f"{work} · floor"] / seconds)
    return (
        ""
        if done.returncode == 0
        else (done.stderr.strip().splitlines() or ["it stopped without a word"])[-1]
    )


def summary(lines: dict[str, list[float]]) -> dict[str, dict[str, dict[str, float]]]:
    """work → contestant → median seconds, median share of the float32 floor and its range over
    rounds."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for key, values in lines.items():
        work, contestant, kind = key.split(" · ")
        entry = results.setdefault(work, {}).setdefault(contestant, {})
        entry[kind] = statistics.median(values)
        if kind == "share":
            entry |= {"share_low": min(values), "share_high": max(values)}
    return results


def table(results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The results as Markdown; the last column is our fastest float32 over the contestant, by
    shares of the floor."""
    sentences = []
    for work, contestants in results.items():
        unit = "s" if work in (EPOCH, SMALL) else "per second"
        ours = [
            entry
            for name, entry in contestants.items()
            if name.startswith("equilibria") and "bfloat16" not in name
        ]
        best = max((entry["share"] for entry in ours if "share" in entry), default=None)
        quickest = min((entry["seconds"] for entry in ours), default=None)
        sentences += [
            f"\n{work}\n",
            f"| | {unit} | share of the float32 floor (range) | equilibria is faster by |",
            "| --- | --- | --- | --- |",
        ]
        for name, entry in contestants.items():
            value = f"{entry['seconds']:.3f}" if unit == "s" else f"{1 / entry['seconds']:.2f}"
            share = (
                f"{entry['share']:.3f} ({entry['share_low']:.3f}–{entry['share_high']:.3f})"
                if "share" in entry
                else ""
            )
            factor = ""
            if best and "share" in entry:
                factor = f"{best / entry['share']:.2f} ×"
            elif quickest and name != "floor":
                factor = f"{entry['seconds'] / quickest:.2f} ×"
            sentences.append(f"| {name} | {value} | {share} | {factor} |")
    return sentences


def commit() -> str:
    """The commit, marked where the tree differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def hardware() -> dict[str, Any]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (
                line.split(":")[1].strip()
                for line in cpuinfo.read_text().splitlines()
                if line.startswith("model name")
            ),
            model,
        )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu, with one thread, on a machine that is busy",
    )
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument(
        "--no-install", action="store_true", help="take the environments as they are"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "boltzmann.json")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != 1:
        parser.error("--clock cpu adds up the time of all threads: use it with --threads 1")
    return options


def _python(environment: str) -> Path:
    return ENVIRONMENTS / environment / "bin" / "python"


def _pip(python: Path, *arguments: str) -> str:
    """Install; returns the last line of what went wrong, or nothing."""
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


def _installed(python: Path, packages: list[str]) -> bool:
    names = [package.partition("==")[0] for package in packages]
    return (
        subprocess.run(
            [str(python), "-m", "pip", "show", "--quiet", *names], capture_output=True, check=False
        ).returncode
        == 0
    )


if __name__ == "__main__":
    main()
