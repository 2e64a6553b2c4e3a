"""The contract of a model: which methods it has is its place in the lecture's taxonomy.

A model is a module over encoded rows (:class:`~equilibria.data.Table` makes them). It does not know
how it is trained, nor what a DataFrame is; nothing outside its own file asks what class it is.

==================  ======================================  =====================================
leaf of the tree    has                                     examples
==================  ======================================  =====================================
tractable density   ``log_prob``                            MADE, normalising flow
unnormalised        ``log_prob`` and ``log_normaliser``     restricted Boltzmann machine
lower bound         ``log_prob_bound``                      deep Boltzmann machine, belief network
Markov chain        ``transition``                          generative stochastic network
implicit, direct    none of these                           generator of a GAN
==================  ======================================  =====================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equilibria.random import Stream

__all__ = ["CAPABILITIES", "Model", "Panel", "Progress", "capabilities"]
__all__ += ["class_log_prob_by_scores", "marginals", "taxonomy"]

Progress = Callable[[int, int], None]
"""Told of long work as it goes: (done, total)."""


class Panel(NamedTuple):
    """Something worth looking at inside a model.

    ``kind`` says how it is drawn: ``"pictures"`` are rows of the table's shape, ``"curve"`` and
    ``"bars"`` are numbers by name, ``"margin"`` and ``"pair"`` columns of rows beside samples, as
    :func:`~equilibria.evaluation.differences.differences` has them.
    """

    title: str
    kind: str
    values: Any
    note: str = ""


class Model(nn.Module):
    """Base of all models; a subclass gives ``sample`` and whatever else it can do.

    ====================  =========================================================================
    method                meaning
    ====================  =========================================================================
    ``sample``            (n, stream, given=None) → (n, d) rows; cells of ``given`` that are no NaN
                          are held
    ``log_prob``          (x, given=None) → (n,) exact log-density in nats, NaN cells summed out;
                          of an unnormalised model up to ``log_normaliser``
    ``log_prob_bound``    (x, stream, samples=1) → (n,) a lower bound, in expectation over the
                          stream; a model has this or ``log_prob``, never both
    ``objective``         (batch, stream) → (n,) what training minimises, of each row; by default
                          minus one of the two above
    ``log_normaliser``    (stream, progress=None) → :class:`~equilibria.numbers.Measure` of log Z
    ``transition``        (x, stream) → (n, d) one step of a Markov chain whose distribution
                          is the model's
    ``complete``          (x, observed, stream, n) → (n, rows, d) draws of the missing cells
    ``means``             (x, observed, stream) → (rows, d) conditional means of the missing cells
    ``marginals``         (x, observed, stream, n) → (n, rows, d) equally likely values of each
                          missing cell by itself, where that is cheaper or surer than ``complete``
    ``class_log_prob``    (x, stream) → (rows, classes) log p(class | row)
    ``features``          (x) → (rows, k) a representation
    ====================  =========================================================================

    An instance that lacks what its class has (a machine without a label layer) sets that method to
    None.

    Examples
    --------
    >>> import torch
    >>> class Coin(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.logit = nn.Parameter(torch.zeros(1))
    ...     def sample(self, n, stream, given=None):
    ...         return (stream.uniform((n, 1)) < self.logit.sigmoid()).float()
    ...     def log_prob(self, x, given=None):
    ...         return -nn.functional.softplus((1 - 2 * x[:, 0]) * self.logit)
    >>> sorted(capabilities(Coin))
    ['objective', 'sample', 'score']
    >>> Coin().objective(torch.ones(2, 1), Stream(0)).exp()
    tensor([2., 2.], grad_fn=<ExpBackward0>)
    """

    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` encoded rows, (n, d); cells of ``given`` that are not NaN are held."""
        raise NotImplementedError

    def objective(self, batch: Any, stream: Stream) -> Tensor:
        """What training minimises, (n,): minus the log-density, or minus its bound."""
        x = batch if isinstance(batch, Tensor) else batch.values
        model: Any = self  # which of the two it has is what it is
        if getattr(model, "log_prob_bound", None) is not None:
            return -model.log_prob_bound(x, stream)
        if getattr(model, "log_prob", None) is not None:
            return -model.log_prob(x)
        raise NotImplementedError(f"{type(self).__name__} has no log_prob, bound or objective")

    def describe(self) -> str:
        """One sentence for report and console."""
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"{type(self).__name__} of {count:,} parameters."

    def panels(self, table: Any) -> Iterable[Panel]:
        """What is worth looking at inside the model; nothing by default."""
        return ()


CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "score": ("log_prob", "log_prob_bound"),
    "bound": ("log_prob_bound",),
    "normaliser": ("log_normaliser",),
    "chain": ("transition",),
    "complete": ("complete",),
    "means": ("means",),
    "classify": ("class_log_prob",),
    "features": ("features",),
}
"""Capability → the methods, any of which brings it."""


def capabilities(model: Any) -> frozenset[str]:
    """What a model, or a class of models, can do, read off its methods.

    ``"sample"`` and the keys of :data:`CAPABILITIES`; ``"objective"`` where likelihood training
    (:class:`~equilibria.games.likelihood.Likelihood`) applies.
    """
    found = {
        name
        for name, methods in CAPABILITIES.items()
        if any(callable(getattr(model, method, None)) for method in methods)
    }
    cls = model if isinstance(model, type) else type(model)
    for method in ("sample", "objective"):
        if getattr(cls, method, None) not in (None, getattr(Model, method)):
            found.add(method)
    if "score" in found and "normaliser" not in found:
        found.add("objective")
    return frozenset(found)


def taxonomy(model: Any) -> str:
    """The leaf of the lecture's tree of maximum-likelihood models that a model sits on.

    >>> taxonomy(Model)
    'implicit density, direct'
    """
    can = capabilities(model)
    if "bound" in can:
        return "explicit density, variational bound"
    if "normaliser" in can:
        return "explicit density, Markov chain (unnormalised)"
    if "score" in can:
        return "explicit density, tractable"
    return "implicit density, Markov chain" if "chain" in can else "implicit density, direct"


def marginals(
    model: Any, x: Tensor, observed: Tensor, stream: Stream, n: int, **options: Any
) -> Tensor:
    """n equally likely values of each missing cell given the cells that are there, (n, rows, d).

    They speak of one cell at a time: by a model's own ``marginals`` (quantiles, or states of a few
    chains) those of one row do not belong together, as draws by ``complete`` do.
    """
    ask = getattr(model, "marginals", None) or model.complete
    return ask(x, observed, stream, n, **options)


def class_log_prob_by_scores(model: Any, x: Tensor, classes: int) -> Tensor:
    """log p(class | row), (rows, classes), of a model whose rows end with their class: each class
    is scored."""
    labels = torch.eye(classes, dtype=x.dtype, device=x.device)
    rows = x[:, :-classes]
    each = [torch.cat([rows, one.expand(len(x), -1)], 1) for one in labels]
    return torch.stack([model.log_prob(one) for one in each], 1).log_softmax(1)
