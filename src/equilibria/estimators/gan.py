"""Generative adversarial networks with scikit-learn's face."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.check import choice, column, flag, optional, sequence, whole
from equilibria.data.rows import Rows, fixed_draw
from equilibria.data.table import Table
from equilibria.estimators.adversarial import Adversarial
from equilibria.estimators.critic import REFINEMENTS, Critic, parts, still
from equilibria.estimators.estimator import MODELLED, Plan, settled
from equilibria.estimators.params import estimator, param
from equilibria.inference import inversion
from equilibria.inference.refine import Refined
from equilibria.models import adversarial
from equilibria.models.generator import Generator
from equilibria.random import RandomState, Stream
from equilibria.recipes.adversarial import HELD, choose, conditional, headed, play, presets

__all__ = ["GAN"]

_CANNOT = {
    "score": "has no density, and so no score_samples; critic_.log_ratio(X) says how much more "
    "common a row is among the data",
    "complete": "draws whole rows, and cannot fill cells in given others: construct it with "
    "condition=, the columns that will be given",
    "classify": "predicts no classes: construct it with labels=True and semi_supervised=True",
}


_BY_NO_CLASS = "this GAN is not conditional on labels"


@estimator
class GAN(Adversarial):
    """Generative adversarial network: a generator against a critic (Goodfellow et al. 2014).

    By Algorithm 1 the critic learns to tell data from samples, the generator to be mistaken for
    data; with enough capacity the equilibrium is p_g = p_data (*Deep Learning*, section 20.10.4).

    Attributes
    ----------
    model_ : Adversarial
        The trained model; ``generator_`` is its generator, averaged where averaging is on. Its
        batch norm has the statistics of those weights.
    critic_ : Critic
        Answers log_ratio, fit_ratio, jsd, calibration and features; ``critic_.network`` is the
        module.
    network_ : str
        What the players are made of; ``presets_`` are its presets, of the version that trained it.
    resolved_ : SimpleNamespace
        Every parameter of the training, presets filled in.

    References
    ----------
    Goodfellow et al. 2014; Mirza & Osindero 2014 (conditions); Radford, Metz & Chintala 2016
    (dcgan); Salimans et al. 2016, section 5 (classes); Huang et al. 2024 (residual networks).

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import GAN
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> GAN(hidden=(16,), latent_dim=2, steps=20, random_state=0).fit(X).sample(5).shape
    (5, 2)

    The second column given the first:

    >>> model = GAN(hidden=(16,), condition=[0], latent_dim=2, steps=20, random_state=0).fit(X)
    >>> bool((model.sample(5, given=[1.5, np.nan])[:, 0] == 1.5).all())
    True
    """

    name = "gan"
    model = adversarial.Adversarial
    takes = frozenset({*MODELLED, "picture"})
    numbers = "real"
    missing = indicated = True
    kept = ("network_", "presets_")

    semi_supervised: bool = param(
        False,
        "With labels: the critic has a logit for each class instead, which labelled rows teach "
        "it and all rows sharpen, and predicts classes; labels may be missing, and samples are "
        "of all classes.",
        flag(),
    )
    condition: Any = param(
        None,
        "Columns of X that are given: the others are drawn given them.",
        optional(sequence(column(), 1, "a list of columns, by number or name")),
    )

    def check(self) -> None:
        super().check()
        if self.semi_supervised and not self.labels:
            classes = "the classes are those of y; set labels=True too"
            raise ValueError(f"semi_supervised=True: {classes}")
        if self.semi_supervised and self.packing > 1:
            own = "a pack has no class of its own; use one of the two"
            raise ValueError(f"packing={self.packing!r} with semi_supervised=True: {own}")

    def column_kinds(self) -> Any:
        return self.pictures_or_reals()

    def build(self, table: Table, stream: Stream) -> Plan:
        known, shape = vars(self), adversarial.Given.of(table, self.condition).shape
        self.network_ = known.get("network_") or choose(self.network, shape)
        rows = presets([self.network_], shape, self.device, mixed=headed(table))
        self.presets_ = {**rows, **known.get("presets_", {})}
        model, pair = conditional(self, self.network_, self.presets_, table, stream)
        self.resolved_ = pair.how
        return Plan(model, play(model, [pair], HELD), self.fit_held)

    def migrated_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        blank, codes = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        none = {"condition_codes": codes, "conditions": blank.reshape(0, 0)}
        none |= {"ratio.how": codes, "ratio.weights": blank.double()}
        return {**none, **super().migrated_tensors(tensors)}

    def fit_held(self, rows: Rows) -> None:
        """Fit the ratio on the rows that were kept from training."""
        if rows.held is not None:
            labels = self.classes_[rows.held_codes] if self.model_.by_class else None
            self._critic().fit_ratio(rows.held, labels)

    @property
    def capabilities_(self) -> frozenset[str]:
        found = super().capabilities_
        if "model_" in vars(self):
            return found
        lacking = set() if self.semi_supervised else {"classify"}
        return found - lacking - (set() if self.condition is not None else {"complete", "means"})

    def cannot(self, capability: str) -> str:
        return _CANNOT.get(capability) or super().cannot(capability)

    # ------------------------------------------------------------ samples

    @settled()
    def sample(
        self,
        n: int = 1,
        y: Any = None,
        given: Any = None,
        *,
        refine: str | None = None,
        rules: Any = (),
        unique: Any = (),
        return_share: bool = False,
        random_state: RandomState = None,
    ) -> Any:
        """Draw rows from the generator, in the data's own scale and type.

        Parameters
        ----------
        n : int
            Number of rows.
        y : label, or array of shape (n,), optional
            Their classes; by default, and where missing, drawn by their shares in training.
        given : array-like or frame of shape (d,) or (n, d), optional
            The columns ``condition``, which are held, NaN elsewhere; by default those of training
            rows (some 2,000 are kept with the model), of the class that is drawn.
        refine : {None, "reject", "mh", "sir", "langevin"}
            How the critic's ratio refines the samples; :meth:`refined` also says how it went.
        rules, unique, return_share
            What rows must meet: as in :meth:`Estimator.sample`.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        """
        how = {"rules": rules, "unique": unique, "return_share": return_share}
        if refine is not None:
            return self.refined(n, refine, y, given, random_state=random_state, **how)[0]
        return super().sample(n, y, given, random_state=random_state, **how)

    @settled()
    def refined(
        self,
        n: int,
        method: str = "mh",
        y: Any = None,
        given: Any = None,
        *,
        rules: Any = (),
        unique: Any = (),
        return_share: bool = False,
        random_state: RandomState = None,
        **options: Any,
    ) -> tuple[Any, Refined]:
        """Samples that the critic's ratio has refined, and a report of acceptance and sample size.

        ``method`` is rejection (exact while the ratio's bound holds), independence chains, a choice
        among candidates, or Langevin moves in the noise; ``options`` are of the function of that
        name in :mod:`equilibria.inference.refine` or :mod:`equilibria.inference.langevin`. Where
        rows are drawn anew for a rule's sake, the report is of the first draw.
        """
        check_is_fitted(self)
        method, reports = choice(*REFINEMENTS)("refine", method), list[Refined]()

        def draw(n: int, stream: Stream, held: Tensor | None) -> Tensor:
            drawn, report = self.critic_.refined(n, method, held, stream, **options)
            reports.append(report)
            return drawn

        how = {"rules": rules, "unique": unique, "return_share": return_share}
        return self.rows_by(draw, n, y, given, random_state=random_state, **how), reports[0]

    def held_codes(self, y: Any, n: int) -> np.ndarray | None:
        if y is not None and self.settings_.semi_supervised:
            raise ValueError(f"y={y!r:.60}: {_BY_NO_CLASS}, which its critic predicts; leave y out")
        return super().held_codes(y, n)

    def _back(self, drawn: Tensor, given: Any) -> Any:
        """Encoded rows in the data's own scale and type; given cells as they came."""
        share = self.table_.shares(len(drawn), self.draws(None, "decode"))
        rows = self.table_.decode(drawn.cpu(), like=given, share=share)
        return rows if given is None else self.table_.put_back(rows, given)

    # ------------------------------------------------------------ the critic

    @property
    def generator_(self) -> Generator:
        """The sampler."""
        return self.model_.generator

    @property
    def critic_(self) -> Critic:
        """What the trained critic can be asked."""
        check_is_fitted(self)
        return self._critic()

    def _critic(self) -> Critic:
        return Critic(self.model_, self.resolved_, self.judged, self.stream)

    def judged(self, X: Any, y: Any = None) -> tuple[Tensor, Tensor | None]:
        """Encoded rows as the critic sees them, and their conditions.

        A critic that judges a row together with its label needs ``y``.
        """
        X = self.validated(X, reset=False)
        unknown, codes = self.settings_.unknown, None
        values = fixed_draw(self.table_, X, None, self.stream, unknown=unknown).float()
        if self.model_.by_class:
            found = None if y is None else self.codes(self.table_, y, len(values))
            if found is None or (found < 0).any():
                judges = "this GAN's critic judges a row together with its label"
                raise ValueError(f"y: {judges}; give the label of each row as y")
            codes = torch.from_numpy(found).to(self.device)
        elif y is not None:
            raise ValueError(f"y={y!r:.60}: {_BY_NO_CLASS}; leave y out")
        return self.model_.shown(values.to(self.device), codes)

    # ------------------------------------------------------------ codes

    @settled()
    def encode(
        self,
        X: Any,
        y: Any = None,
        *,
        return_residuals: bool = False,
        starts: int = 8,
        iterations: int = 300,
        weight: float = 0.0,
        random_state: RandomState = None,
    ) -> Any:
        """The code of each row: the noise whose sample comes nearest to it, argmin ‖G(z) − x‖².

        Parameters
        ----------
        X, y
            Rows, and their labels where rows are drawn by class; columns ``condition`` as in X.
        return_residuals : bool
            Whether to return ‖G(z) − x‖² too, in the model's scale (columns standardised; pictures
            in [−1, 1]): it is large where the generator cannot make the row.
        starts, iterations : int
            Draws of the prior that each row is sought from, and Adam's steps from each.
        weight : float
            Of ‖z‖²: codes stay where noise is common, at the cost of residuals.
        random_state : int, numpy generator or None
            Of the starts; None uses the seed of ``fit``.

        Examples
        --------
        >>> from equilibria import GAN
        >>> X = np.random.RandomState(0).normal(size=(100, 2))
        >>> model = GAN(hidden=(8,), latent_dim=2, steps=20, random_state=0).fit(X)
        >>> rows = model.sample(3)
        >>> codes = model.encode(rows)
        >>> codes.shape, bool(np.allclose(model.decode(codes), rows, atol=1e-2))
        ((3, 2), True)
        """
        check_is_fitted(self)
        values, condition = self.judged(X, y)
        how: dict[str, Any] = {"starts": starts, "steps": iterations, "weight": weight}
        stream = self.draws(random_state, "encode")
        with still(self.generator_):
            found = inversion.invert(self.generator_, values, stream, condition=condition, **how)
        codes = found.noise.cpu().numpy()
        return (codes, found.residuals.cpu().numpy()) if return_residuals else codes

    @settled()
    def decode(self, codes: Any, y: Any = None, given: Any = None) -> Any:
        """The rows that codes stand for, G(z), in the data's own scale and type.

        ``codes`` (n, latent_dim) may be sums and differences of codes:
        ``decode(encode(a) - encode(b) + encode(c))``. ``y`` and ``given`` are as in :meth:`sample`.
        """
        check_is_fitted(self)
        z = self._noise("codes", codes)
        rows = None if given is None else self.given_rows(given, len(z))
        held, stream = self.held_cells(rows, y, len(z)), self.draws(None, "decode")
        condition, part = self.model_.condition(len(z), held, stream)
        with torch.no_grad(), still(self.generator_):
            drawn = torch.cat([self.generator_(*some) for some in parts(z, condition)])
        return self._back(self.model_.given.joined(drawn, part), rows)

    @settled()
    def interpolate(self, a: Any, b: Any, n: int = 8) -> np.ndarray:
        """``n`` codes on the way from one code to another, both included, ``(n, latent_dim)``.

        Normal noise is followed along the great circle, uniform noise along the line, Rademacher
        columns change half-way.
        """
        check_is_fitted(self)
        first, last = self._noise("a", np.atleast_2d(a))[0], self._noise("b", np.atleast_2d(b))[0]
        path = inversion.interpolate(first, last, whole(2)("n", n), self.generator_)
        return path.cpu().numpy()

    @settled()
    def direction(self, X: Any, y: Any, **options: Any) -> np.ndarray:
        """What to add to a code to go from one label to the other: the difference of mean codes.

        ``y`` (n,) holds two different labels; the way is from the first in sorted order to the
        second, (latent_dim,). ``options`` are of :meth:`encode`.
        """
        labels, places = np.unique(np.asarray(y), return_inverse=True)
        if len(labels) != 2 or len(places) != len(X):
            found = f"y has {len(places)} labels for {len(X)} rows of X, with the values"
            expected = "expected one each, and two different ones"
            raise ValueError(f"{found} {labels.tolist()[:5]}: {expected}")
        codes = torch.from_numpy(self.encode(X, **options, return_residuals=False))
        return inversion.directions(codes, torch.from_numpy(places)).numpy()

    def _noise(self, name: str, codes: Any) -> Tensor:
        values, width = np.asarray(codes), self.generator_.latent_dim
        good = values.ndim == 2 and values.shape[1] == width and values.dtype.kind in "fiu"
        if not good or not np.isfinite(values).all():
            found, expected = f"{values.shape} of {values.dtype}", f"finite numbers, (n, {width})"
            raise ValueError(f"{name} has shape {found}: expected {expected}")
        return torch.as_tensor(values).to(next(self.generator_.parameters()))
