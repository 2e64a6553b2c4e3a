"""The generator as a representation: codes of rows, ways between them, directions from labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data.schema import Schema
from equilibria.estimators.parameters import whole
from equilibria.inference import inversion
from equilibria.models.generator import Generator
from equilibria.random import RandomState, Stream

__all__ = ["Codes"]


class Codes:
    """Methods of an estimator with a ``generator_`` and a ``schema_``; a code is a row of noise, ``(latent_dim,)``."""

    generator_: Generator
    schema_: Schema
    device: str

    if TYPE_CHECKING:  # what the estimator brings, and Implicit

        def _encode(self, X: np.ndarray, dtype: torch.dtype = ..., *, name: str = ..., allow_missing: bool = ...) -> Tensor: ...
        def _table(self, X: Any, reset: bool) -> np.ndarray: ...
        def _framed(self, rows: np.ndarray, typed: bool = True) -> Any: ...
        def _draws(self, random_state: RandomState, name: str) -> Stream: ...
        def _condition(self, n: int, y: Any, given: Any, stream: Stream) -> tuple[Tensor | None, Tensor | None]: ...
        def _judged(self, rows: Tensor, codes: np.ndarray | None) -> tuple[Tensor, Tensor | None]: ...
        def _asked_about(self, X: Any, y: Any) -> tuple[Tensor, Tensor | None]: ...
        def _decoded(self, drawn: Tensor, held: Tensor | None, given: Any) -> Any: ...
        def _parts(self, x: Tensor, condition: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]: ...
        def _frozen(self) -> AbstractContextManager[None]: ...

    def encode(
        self,
        X: Any,
        y: Any = None,
        *,
        return_residuals: bool = False,
        starts: int = 8,
        steps: int = 300,
        weight: float = 0.0,
        random_state: RandomState = None,
    ) -> Any:
        """The code of each row: the noise whose sample comes nearest to it, argmin ‖G(z) − x‖².

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows in the data's own scale.
        y : array-like of shape (n,), optional
            Labels, of a model that draws rows of a given class. Columns ``condition`` are taken from ``X``.
        return_residuals : bool
            Whether to return the residuals too.
        starts, steps : int
            Draws of the prior that each row is sought from, and Adam's steps from each.
        weight : float
            Of the prior, ‖z‖² times it: codes stay where noise is common, at the cost of residuals.
        random_state : int, numpy generator or None
            Of the starts; None uses the seed of ``fit``.

        Returns
        -------
        codes : ndarray of shape (n, latent_dim)
        residuals : ndarray of shape (n,), where asked for
            ‖G(z) − x‖² in the model's scale (columns standardised; pictures in [−1, 1]): large where the generator cannot make the row.

        Examples
        --------
        >>> from equilibria import GAN
        >>> X = np.random.RandomState(0).normal(size=(100, 2))
        >>> model = GAN(hidden=(8,), latent_dim=2, steps=20, random_state=0).fit(X)
        >>> rows = model.sample(3)
        >>> codes, residuals = model.encode(rows, return_residuals=True)
        >>> codes.shape, bool(np.allclose(model.decode(codes), rows, atol=1e-2)), bool(residuals.max() < 1e-3)
        ((3, 2), True, True)
        """
        values, condition = self._asked_about(X, y)
        stream = self._draws(random_state, "encode")
        with self._frozen():
            found = inversion.invert(self.generator_, values, stream, condition=condition, starts=starts, steps=steps, weight=weight)
        codes = found.noise.cpu().numpy()
        return (codes, found.residuals.cpu().numpy()) if return_residuals else codes

    def decode(self, codes: Any, y: Any = None, given: Any = None) -> Any:
        """The rows that codes stand for, G(z), in the data's own scale and type.

        Parameters
        ----------
        codes : array-like of shape (n, latent_dim)
            Also sums and differences of codes: ``decode(encode(a) - encode(b) + encode(c))``.
        y, given : optional
            As in ``sample``.
        """
        check_is_fitted(self)
        z = self._codes_table("codes", codes)
        condition, held = self._condition(len(z), y, given, self._draws(None, "decode"))
        with torch.no_grad(), self._frozen():
            drawn = torch.cat([self.generator_(*part) for part in self._parts(z, condition)])
        return self._decoded(drawn, held, given)

    def interpolate(self, a: Any, b: Any, steps: int = 8) -> np.ndarray:
        """Codes on the way from one code to another, both included, ``(steps, latent_dim)``.

        Normal noise is followed along the great circle, uniform noise along the line, coins change half-way.
        """
        check_is_fitted(self)
        whole("steps", steps, 2)
        first, last = (self._codes_table(name, np.reshape(code, (1, -1)))[0] for name, code in (("a", a), ("b", b)))
        return inversion.interpolate(first, last, steps, self.generator_).cpu().numpy()

    def direction(self, X: Any, y: Any, **options: Any) -> np.ndarray:
        """What to add to a code to go from one label to the other, ``(latent_dim,)``: the difference of the labels' mean codes.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)
            Two different labels; the way is from the first in sorted order to the second.
        **options
            Of :meth:`encode`, but for ``return_residuals``.
        """
        if "return_residuals" in options:
            raise ValueError("return_residuals: a direction is a difference of mean codes and has none; call encode for them")
        labels, places = np.unique(np.asarray(y), return_inverse=True)
        if len(labels) != 2:
            raise ValueError(f"y has the labels {labels.tolist()[:5]}: expected two different ones, between which the direction is")
        if len(places) != len(X):
            raise ValueError(f"y has {len(places)} labels for the {len(X)} rows of X; give one for each")
        codes = torch.from_numpy(self.encode(X, **options))
        return inversion.directions(codes, torch.from_numpy(places)).numpy()

    def _codes_table(self, name: str, codes: Any) -> Tensor:
        table = np.asarray(codes)
        width = self.generator_.latent_dim
        if table.ndim != 2 or table.shape[1] != width or table.dtype.kind not in "fiu" or not np.isfinite(table).all():
            raise ValueError(f"{name} has shape {table.shape} of {table.dtype}: expected a table of finite numbers, (n, {width})")
        return torch.as_tensor(table).to(next(self.generator_.parameters()))
