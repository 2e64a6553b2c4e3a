"""The pictures of one run: samples beside real examples, what its hidden units see, samples while it trained."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from equilibria.data import Data
from equilibria.data.columns import missing_cells
from equilibria.random import Stream
from equilibria.report import figures, pixels
from equilibria.report.assessment import CLASS_SHARE
from equilibria.report.story import Story

__all__ = ["curves", "pictures"]

_PICTURES, _POINTS, _COLUMNS = 64, 2000, 30


def pictures(story: Story) -> str:
    """Everything of a run that is to be looked at rather than read, except its curves."""
    schema, panels, columns = story.model.schema_, list[str](), ""
    if not hasattr(story.model, "sample"):
        return _over_time(story)
    if schema.categories is None and schema.shape is not None:
        panels = _samples_beside_examples(story)
    elif schema.categories is None and story.test is not None and story.train is not None:
        if schema.width == 2:
            panels = [_cloud(story, story.test)]
        else:
            columns = _columns(story, story.test)
    return _grid("What it has learnt", [*panels, *_class_bars(story)]) + columns + _filters(story) + _over_time(story)


def curves(story: Story) -> str:
    """How the measures went while it trained."""
    note, panels = figures.curves(story.history)
    return _grid("How it was trained", panels, note)


def _grid(title: str, panels: Sequence[str], note: str = "", kind: str = "grid") -> str:
    if not panels:
        return ""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<h3>{escape(title)}</h3>{below}<div class="{kind}">{"".join(panels)}</div>'


def _samples_beside_examples(story: Story) -> list[str]:
    model, real = story.model, None if story.test is None else _some(story.test.values, _PICTURES)
    samples = model.sample(_PICTURES)
    shape, low, high = model.schema_.shape, model.schema_.low, model.schema_.high
    if low is None or high is None:
        ends = samples if real is None else real
        low, high = float(ends.min()), float(ends.max()) or 1.0
    panels = [pixels.examples(pixels.greys(samples, shape, low, high), "Samples of the model", _origin_of_samples(model))]
    if real is not None:
        unseen = "Never shown to the model." if story.test is not story.train else "The model was trained on these: nothing was held out."
        panels.append(pixels.examples(pixels.greys(real, shape, low, high), "Real examples", unseen))
    return panels


def _origin_of_samples(model: Any) -> str:
    if not hasattr(model, "machine_"):
        return "Fresh noise through the generator; not selected."
    sweeps = inspect.signature(model.sample).parameters["sweeps"].default
    grey = " Greys are probabilities, those of the last step." if model.grey_ else ""
    return f"{sweeps} Gibbs sweeps {'from the chains of the training' if model.chains_ else 'from the base rates'}; not selected.{grey}"


def _cloud(story: Story, real: Data) -> str:
    names = story.model.schema_.columns or real.columns or ("first column", "second column")
    return figures.scatter(_some(real.values, _POINTS), story.model.sample(_POINTS), names)


def _class_bars(story: Story) -> list[str]:
    shares = {
        result.name.removeprefix(CLASS_SHARE): (result.value, result.ideal)
        for result in story.results or ()
        if result.name.startswith(CLASS_SHARE) and result.ideal is not None
    }
    return [figures.class_shares(shares)] if shares else []


def _columns(story: Story, test: Data) -> str:
    """Mean and standard deviation of each column, of real rows and of samples, where rows are no pictures."""
    real, samples = np.asarray(_some(test.values, _POINTS)), np.asarray(story.model.sample(_POINTS))
    names = story.model.schema_.columns or test.columns or [f"column {i}" for i in range(real.shape[1])]
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{_spread(real[:, i])}</td><td>{_spread(samples[:, i])}</td></tr>'
        for i, name in enumerate(names[:_COLUMNS])
    )
    more = f"<p>{len(names) - _COLUMNS} more columns are not shown.</p>" if len(names) > _COLUMNS else ""
    head = "<thead><tr><th>Column</th><th>Real rows</th><th>Samples</th></tr></thead>"
    return f"<h3>Column by column: mean ± standard deviation, or the commonest value</h3><table>{head}<tbody>{rows}</tbody></table>{more}"


def _spread(values: np.ndarray) -> str:
    """Mean and deviation of a column's numbers; of text the commonest and its share."""
    known = values[~missing_cells(values)]
    if known.dtype == object and any(isinstance(cell, str) for cell in known):
        texts, counts = np.unique(known.astype(str), return_counts=True)
        return f"{escape(str(texts[counts.argmax()]))}, {100 * counts.max() / counts.sum():.0f} %"
    numbers = known.astype(float)
    return f"{numbers.mean():.4g} ± {numbers.std():.3g}" if len(numbers) else "none"


def _filters(story: Story) -> str:
    """The weights of the first hidden layer; of a layer above it, their product with the weights in between."""
    model = story.model
    if not hasattr(model, "machine_") or model.schema_.shape is None or model.schema_.categories is not None:
        return ""
    panels, product, shape = [], np.eye(model.schema_.size), model.schema_.shape
    stack = getattr(model, "network_", model.machine_)
    for depth, (below, above) in enumerate(stack.edges, 1):
        product = product @ stack.weight[f"{below}-{above}"].detach().cpu().double().numpy()
        if depth == 1:
            panels.append(pixels.filters(product, shape, "Filters of the first hidden layer", "Each unit's weights to the pixels."))
        else:
            chain = "".join(f"W{i}" for i in range(1, depth + 1))
            what = f"{chain}: what a unit would add to the pixels if the layers between were linear, which they are not."
            panels.append(pixels.filters(product, shape, f"Linear back-projection of hidden layer {depth}", what))
    return _grid("What its hidden units see", panels)


def _over_time(story: Story) -> str:
    return _grid("Samples while it trained", pixels.strip(sorted((story.run.path / "samples").glob("*.png"))), kind="strip")


def _some(values: np.ndarray, most: int) -> np.ndarray:
    """The same random rows for every model of the same data."""
    return np.asarray(values[Stream(0).child("report").permutation(len(values))[:most].numpy()])
