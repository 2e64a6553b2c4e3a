"""Arithmetic on emoji: how often is the nearest real emoji to G(z_man + direction) the woman who
does the same?

    EQUILIBRIA_DATA=… python experiments/emoji_arithmetic.py --out runs/emoji32 [--network dcgan]
    [--minutes 15] [--device cuda]

A GAN is trained on all 3,916 Noto emoji (SIL OFL 1.1) at 32 × 32; run again with the same ``--out``
it goes on from its last checkpoint, and a finished run is only read. Of the 482 pairs that differ
in gender alone both pictures are inverted, and the direction is the mean of z_woman − z_man over
the pairs of *other* roles, so that the answer is nowhere in it. The nearest of all 3,916 in squared
distance of the pixels is the answer. Beside it, with Wilson's intervals:

- pixels: the same arithmetic on the pictures themselves, which a representation should beat;
- nothing: the nearest emoji to G(z_man), the direction left out;
- the ceiling: the nearest emoji to G(z_woman) is the woman herself, so the generator can make her
  at all;
- moved: the man's own picture, moved by what the direction does to the generator's, x_man + G(z_man
  + direction) − G(z_man).

Each is given twice: among all emoji, and "not himself", with the man left out of the answers as the
words of the question are in analogies of words (Mikolov et al. 2013). On pixels a direction over
all roles is too faint to leave the man: 0 of 482 among all.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from record import budgeted, record

from equilibria import GAN, load, resume
from equilibria.evaluation.statistics import wilson

MAN, WOMAN = 1, 2
MINUTES = 15  # of the GAN's training


class Emoji(NamedTuple):
    """Pictures as rows of size · size · 3 bytes, and what they show."""

    rows: np.ndarray
    names: np.ndarray
    gender: np.ndarray
    role: np.ndarray
    skin_tone: np.ndarray


def emoji(size: int = 32) -> Emoji:
    """All emoji, as means over blocks of pixels."""
    folder = os.environ.get("EQUILIBRIA_DATA")
    if not folder:
        raise SystemExit(
            "EQUILIBRIA_DATA is not set: it names the folder that has emoji/emoji64.npz"
        )
    with np.load(Path(folder) / "emoji" / "emoji64.npz") as held:
        small = shrink(held["images"], size).reshape(len(held["images"]), -1)
        return Emoji(small, held["names"], held["gender"], held["role"], held["skin_tone"])


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """(n, h, w, 3) bytes to (n, size, size, 3)."""
    n, side = images.shape[:2]
    if side % size:
        raise SystemExit(f"--size {size}: expected a divisor of {side}")
    k = side // size
    return np.rint(images.reshape(n, size, k, size, k, 3).mean((2, 4))).astype(np.uint8)


def pairs_of(data: Emoji) -> np.ndarray:
    """(pairs, 2): a man and a woman alike in role and skin tone, the first of each where there are
    several."""
    found: dict[tuple[str, int], dict[int, int]] = {}
    for i in np.flatnonzero(np.isin(data.gender, (MAN, WOMAN))):
        found.setdefault((str(data.role[i]), int(data.skin_tone[i])), {}).setdefault(
            int(data.gender[i]), int(i)
        )
    return np.array([(pair[MAN], pair[WOMAN]) for pair in found.values() if len(pair) == 2])


def without_own(differences: np.ndarray, roles: np.ndarray) -> np.ndarray:
    """Of each pair the mean difference over the pairs of all other roles."""
    _, group = np.unique(roles, return_inverse=True)
    sums = np.zeros((group.max() + 1, differences.shape[1]))
    np.add.at(sums, group, differences)
    return (differences.sum(0) - sums[group]) / (len(roles) - np.bincount(group)[group])[:, None]


def nearest(rows: np.ndarray, pictures: np.ndarray, barred: np.ndarray | None = None) -> np.ndarray:
    """The place of the nearest picture to each row by squared distance, the places ``barred``
    (rows, k) left out."""
    a, b = torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(pictures.astype(np.float32))
    distances = torch.cdist(a, b)
    if barred is not None:
        distances.scatter_(1, torch.from_numpy(barred), torch.inf)
    return distances.argmin(1).numpy()


def share(found: np.ndarray, data: Emoji, women: np.ndarray) -> dict[str, object]:
    """How often the answer is the woman: the same role and skin tone, and a woman."""
    right = (
        (data.role[found] == data.role[women])
        & (data.skin_tone[found] == data.skin_tone[women])
        & (data.gender[found] == WOMAN)
    )
    return {
        "right": int(right.sum()),
        "of": len(women),
        "share": float(right.mean()),
        "interval": wilson(int(right.sum()), len(women)),
    }


def fitted(data: Emoji, options: argparse.Namespace) -> GAN:
    """The trained GAN: read, gone on with, or begun."""
    out = Path(options.out)
    if (out / "model.safetensors").exists():
        return load(out, device=options.device)
    if (out / "config.json").exists():
        return resume(out, data.rows)
    settings = {
        "network": options.network,
        "channels": options.channels,
        "latent_dim": options.latent_dim,
        "minutes": options.minutes,
        "random_state": 0,
    }
    if options.gamma is not None:
        settings["penalties"] = {"r1": options.gamma, "r2": options.gamma}
    shape = {"picture_shape": (options.size, options.size, 3), "value_range": (0, 255)}
    return GAN(**settings, **shape, device=options.device, out=str(out), verbose=1).fit(data.rows)


def answers(
    model: GAN, data: Emoji, pairs: np.ndarray, starts: int, steps: int
) -> dict[str, object]:
    """The table: arithmetic on codes, on pixels, no arithmetic, and the ceiling."""
    men, women = pairs.T
    roles = data.role[men]
    codes = [
        model.encode(data.rows[which], return_residuals=True, starts=starts, iterations=steps)
        for which in (men, women)
    ]
    (z_men, _), (z_women, _) = codes
    pixels = data.rows.astype(np.float32)
    there, back = model.decode(z_men + without_own(z_women - z_men, roles)), model.decode(z_men)
    tries = {
        "codes": there,
        "pixels": pixels[men] + without_own(pixels[women] - pixels[men], roles),
        "nothing": back,
        "moved": pixels[men] + there.astype(np.float32) - back.astype(np.float32),
        "ceiling": model.decode(z_women),
    }
    table: dict[str, object] = {
        name: share(nearest(rows, data.rows), data, women) for name, rows in tries.items()
    }
    table |= {
        f"{name}, not himself": share(nearest(rows, data.rows, men[:, None]), data, women)
        for name, rows in tries.items()
    }
    variance = float(
        np.square(2 * (pixels / 255 - (pixels / 255).mean(0))).sum(1).mean()
    )  # of pictures in [−1, 1]
    return table | {
        "residual over variance": float(np.concatenate([r for _, r in codes]).mean()) / variance
    }


def options_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/emoji32", help="run folder of the GAN")
    parser.add_argument("--network", default="dcgan", help="mlp, dcgan or residual")
    parser.add_argument("--channels", type=int, help="the device's own by default")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--latent-dim", type=int, default=128)
    parser.add_argument(
        "--gamma", type=float, help="weight of R1 and R2; the network's own by default"
    )
    parser.add_argument("--starts", type=int, default=4, help="draws that each code is sought from")
    parser.add_argument("--descent", type=int, default=300, help="steps from each")
    return parser


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--pairs", type=int, default=482, help="fewer for a try")
    parser.add_argument("--name", default="emoji_arithmetic", help="of the result")
    options = budgeted(parser, MINUTES)
    data = emoji(options.size)
    model, pairs = fitted(data, options), pairs_of(data)
    asked = pairs[np.linspace(0, len(pairs) - 1, min(options.pairs, len(pairs))).astype(int)]
    table = answers(model, data, asked, options.starts, options.descent)
    for name, row in table.items():
        print(f"{name}: {row}")
    settings = {
        **model.get_params(),
        "out": Path(options.out).name,
    }  # the model's own: one that was trained before was only read
    record(
        options.name,
        settings=settings,
        starts=options.starts,
        descent=options.descent,
        pairs=len(asked),
        table=table,
    )


if __name__ == "__main__":
    main()
