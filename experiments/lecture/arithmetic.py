"""Man with X − man + woman = woman with X, on emoji: the lecture's arithmetic with vectors.

    EQUILIBRIA_DATA=… python experiments/lecture/arithmetic.py --out runs/emoji32

Reads (or trains, or goes on with) the GAN of ``experiments/emoji_arithmetic.py``. For each X the
codes of the man with X, the plain man and the plain woman are added up, and drawn are the three
emoji, G of the sum, the nearest real emoji to it (but for these three) and the woman with X. The
number is how often the nearest is the right one, over all X; ``emoji_arithmetic.py`` has the
better-posed figure, with a direction averaged over many pairs.

In the committed figure the top row, COOKING, is cropped out: its nearest emoji was a rude gesture.
That row is not drawn any more; it still counts in the score.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from emoji_arithmetic import MINUTES, Emoji, emoji, fitted, nearest, options_of, pairs_of, share
from record import RESULTS, budgeted, record

SHOWN = ("STAFF OF AESCULAPIUS", "MICROSCOPE", "ROCKET", "FIRE ENGINE", "EAR OF RICE")
TITLES = ("man with X", "− man", "+ woman", "= G(z)", "nearest emoji", "woman with X")


def plain_pair(data: Emoji) -> tuple[int, int]:
    """The man and the woman with nothing beside them."""
    places = [int(np.flatnonzero(data.names == name)[0]) for name in ("MAN", "WOMAN")]
    return places[0], places[1]


def main() -> None:
    parser = options_of(__doc__)
    options = budgeted(parser, MINUTES)
    data = emoji(options.size)
    model, (man, woman) = fitted(data, options), plain_pair(data)
    pairs = pairs_of(data)
    # one of each X; the plain pair is not asked for itself
    pairs = pairs[(data.skin_tone[pairs[:, 0]] == 0) & (data.role[pairs[:, 0]] != "")]
    men, women = pairs.T
    codes = model.encode(
        data.rows[[man, woman, *men]], starts=options.starts, iterations=options.descent
    )
    made = model.decode(codes[2:] - codes[0] + codes[1])
    question = np.column_stack([men, np.full(len(men), man), np.full(len(men), woman)])
    found = nearest(made, data.rows, question)
    score = share(found, data, women)
    print(score)
    wanted = [int(np.flatnonzero(data.role[men] == role)[0]) for role in SHOWN]
    figure, panels = plt.subplots(
        len(wanted), 6, figsize=(8, 1.35 * len(wanted)), layout="constrained", squeeze=False
    )
    for row, i in zip(panels, wanted, strict=True):
        pictures = (
            data.rows[men[i]],
            data.rows[man],
            data.rows[woman],
            made[i],
            data.rows[found[i]],
            data.rows[women[i]],
        )
        for panel, picture, title in zip(row, pictures, TITLES, strict=True):
            panel.imshow(picture.reshape(options.size, options.size, 3))
            panel.set(xticks=[], yticks=[])
            panel.set_title(title, fontsize=8)
    folder = RESULTS / "lecture"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "arithmetic.png", dpi=110)
    record(
        "lecture/arithmetic", settings={**vars(options), "out": Path(options.out).name}, score=score
    )


if __name__ == "__main__":
    main()
