"""Adversarial networks with scikit-learn's face: `GAN`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from equilibria.data import Batch
from equilibria.estimators.conditions import Given
from equilibria.estimators.families import Players
from equilibria.estimators.implicit import Implicit
from equilibria.estimators.parameters import choice, flag, whole
from equilibria.estimators.players import PORTRAITS, AdversarialEstimator
from equilibria.estimators.queries import _put_back
from equilibria.models.generator import Generator
from equilibria.random import RandomState, Stream
from equilibria.training.run import Run
from equilibria.training.stage import Stage

__all__ = ["GAN"]

KEPT = 2000  # rows of the condition that are kept with the model, for samples of which nothing is asked
MEANS = 200  # draws that a conditional mean is the mean of
_BLOCK = 1000


def _classifies(estimator: Any) -> bool:
    if not estimator.semi_supervised:
        raise AttributeError("this GAN's critic knows no classes: construct it with labels=True and semi_supervised=True")
    return True


def _conditional(estimator: Any) -> bool:
    if estimator.condition is None:
        raise AttributeError("this GAN cannot fill cells in given others: construct it with condition=, the columns that will be given")
    return True


class GAN(Implicit, ClassNamePrefixFeaturesOutMixin, TransformerMixin, AdversarialEstimator):
    """Generative adversarial network: a generator against a critic, by Algorithm 1 of Goodfellow et al. (2014).

    The critic learns to tell data from samples, the generator to be mistaken for data; with enough capacity the equilibrium is
    p_g = p_data (*Deep Learning*, section 20.10.4).

    Parameters
    ----------
    hidden : sequence of int, optional
        Widths of the hidden layers of both networks, where they are multilayer perceptrons; by default three of 512 for pictures of at
        least 16 pixels a side, else three of 128.
    network : {"auto", "mlp", "dcgan", "residual"}
        What the players are made of. Auto takes multilayer perceptrons, for pictures with a side above 64 and sides that are multiples of
        4 deep convolutional networks.
    channels : int
        Of the finest feature maps of a network of pictures.
    normalisation : {"generator", "both", None}
        Which players of a dcgan have batch norm. A critic with it sees a batch rather than a row.
    payoff : {None, "non-saturating", "minimax", "maximum-likelihood", "relativistic", "least-squares", "hinge", "wasserstein", "kl", \
"reverse-kl", "pearson", "hellinger", "js", "gan"}
        What each player pays, by default relativistic.
    penalties : mapping of str to float, optional
        On the critic's slope, with their weights: "r1", "r2", "gradient-penalty". By default R1 and R2, of weight 3 for perceptrons, of 1
        for networks of pictures.
    fade : float, optional
        The share of these weights that is left at the end; they fall geometrically. By default .00003 where the critic sees waves (see
        ``bandwidth``), else 1. A smooth critic gives modes their shares, a sharp one their widths.
    bandwidth : float, optional
        The largest frequency, in radians per standard deviation, of the waves that a perceptron's critic sees beside the columns; 0 for
        none. By default 10 where rows are up to 8 real numbers: without them a narrow mode is learnt late.
    packing : int
        Rows that the critic sees side by side.
    instance_noise : float
        Standard deviation of the noise that is added to all that the critic sees.
    labels : bool
        Whether y is learnt too: the generator draws rows of a given class, and the critic knows the class of what it judges.
    semi_supervised : bool
        With ``labels``: the critic has a logit for each class instead, which labelled rows teach it and all rows sharpen, and predicts
        classes; labels may be missing, and samples are of all classes.
    missing_label : int, float or str, optional
        What stands for a missing label besides NaN and None.
    condition : sequence of int or str, optional
        Columns of X (numbers or names) that are given: the others are drawn given them.
    latent_dim : int, optional
        Columns of the noise z; by default 64 for networks of pictures and for pictures of at least 16 pixels a side, else 16.
    prior : {None, "normal", "uniform", "mixed"}
        Law of the noise; ``"mixed"`` is half normal columns and half fair coins, so that separate modes need no bridge between them. By
        default mixed for perceptrons of tables and small pictures, else normal.
    solver : {"alternating", "simultaneous", "extragradient", "optimistic", "lookahead", "consensus"}
        How the players move.
    k : int
        Critic updates for each of the generator's (alternating solver only).
    learning_rate : float, optional
        Adam's rate of the generator; by default .001 for perceptrons, .002 for dcgans and .0002 for residual networks.
    critic_rate : float, optional
        The critic's rate; by default ``learning_rate``, three times it where the critic sees waves (see ``bandwidth``) and a quarter of it
        for dcgans.
    schedule : {None, "constant", "linear", "cosine"}
        How both rates fall to zero; by default not at all for residual networks, else linearly.
    betas : pair of float, optional
        Adam's averaging rates; by default (.5, .999) for dcgans, else (0, .99).
    batch_size : int, optional
        Rows in a batch (all rows, where there are fewer); by default 512 for perceptrons, for those of such pictures 64, else 100.
    steps : int, optional
        Rounds; by default 8,000 for perceptrons of tables and small pictures, else 20,000.
    average : float, optional
        Decay of the generator's averaged weights, which samples come from; 0 turns averaging off. By default .999, but .99 for perceptrons
        of tables and small pictures, whose widths a longer memory would narrow.
    validation_fraction : float
        Share of the rows that is kept from training, to fit at its end what stands between the critic's answer and log p_data/p_g.
    precision : {"float32", "bfloat16"}
        Type of the matrix products and convolutions; parameters and their updates stay in float32.
    units : {"auto", "picture", "real"}
        Pictures have a known range, mapped to [−1, 1] behind a tanh; real numbers are standardised. Auto takes pictures where
        ``value_range`` or ``picture_shape`` is given.
    value_range, picture_shape, verbose, random_state, device, out, overwrite
        As in :class:`~equilibria.RBM`.

    Attributes
    ----------
    generator_ : Generator
        The sampler, averaged where averaging is on. Its batch norm has the statistics of those weights, worked out when training ends.
    critic_ : nn.Module
        Its logit estimates log p_data/p_g.
    network_ : str
        What the players were made of.
    classes_ : ndarray
        With ``labels``, the classes in sorted order.
    ratio_ : LinearRatio or None
        How log p_data/p_g is read off the critic, where it was fitted; see :meth:`log_ratio`.
    schema_, history_, health_
        As in :class:`~equilibria.RBM`.

    References
    ----------
    Goodfellow et al. 2014; Mirza & Osindero 2014 (conditions); Radford, Metz & Chintala 2016 (dcgan); Salimans et al. 2016, section 5
    (classes); Huang et al. 2024 (residual networks).

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

    model_name = "gan"

    generator_: Generator
    critic_: nn.Module
    network_: str
    _given: Given
    conditions_: Tensor | None = None  # rows of the given columns, encoded
    condition_codes_: Tensor | None = None  # the class of each, where rows are drawn by class

    def __init__(
        self,
        hidden: Sequence[int] | None = None,
        *,
        network: str = "auto",
        channels: int = 64,
        normalisation: str | None = "generator",
        payoff: str | None = None,
        penalties: Mapping[str, float] | None = None,
        packing: int = 1,
        instance_noise: float = 0.0,
        labels: bool = False,
        semi_supervised: bool = False,
        missing_label: int | float | str | None = None,
        condition: Sequence[int | str] | None = None,
        fade: float | None = None,
        bandwidth: float | None = None,
        latent_dim: int | None = None,
        prior: str | None = None,
        solver: str = "alternating",
        k: int = 1,
        learning_rate: float | None = None,
        critic_rate: float | None = None,
        schedule: str | None = None,
        betas: tuple[float, float] | None = None,
        batch_size: int | None = None,
        steps: int | None = None,
        average: float | None = None,
        validation_fraction: float = 0.0,
        precision: str = "float32",
        units: str = "auto",
        value_range: tuple[float, float] | None = None,
        picture_shape: tuple[int, ...] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
        device: str = "cpu",
        out: str | None = None,
        overwrite: bool = False,
    ):
        self.hidden = hidden
        self.network = network
        self.channels = channels
        self.normalisation = normalisation
        self.payoff = payoff
        self.penalties = penalties
        self.packing = packing
        self.instance_noise = instance_noise
        self.labels = labels
        self.semi_supervised = semi_supervised
        self.missing_label = missing_label
        self.condition = condition
        self.fade = fade
        self.bandwidth = bandwidth
        self.latent_dim = latent_dim
        self.prior = prior
        self.solver = solver
        self.k = k
        self.learning_rate = learning_rate
        self.critic_rate = critic_rate
        self.schedule = schedule
        self.betas = betas
        self.batch_size = batch_size
        self.steps = steps
        self.average = average
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.units = units
        self.value_range = value_range
        self.picture_shape = picture_shape
        self.verbose = verbose
        self.random_state = random_state
        self.device = device
        self.out = out
        self.overwrite = overwrite

    # ---------------------------------------------------------------- what a user calls

    @available_if(_conditional)
    def impute(self, X: Any, n: int = 1, how: str = "draw", random_state: RandomState = None) -> Any:
        """Draw the missing cells of rows, which are all but the columns ``condition``, given these.

        Parameters
        ----------
        X : array-like of shape (rows, d)
            NaN outside the columns ``condition``.
        n : int
            How many completions of each row to draw.
        how : {"draw", "mean"}
            Draws, or the mean of 200 of them (then ``n=1``).
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.

        Returns
        -------
        ndarray or DataFrame like ``X``; with ``n`` > 1 an ndarray of shape (n, rows, d)
        """
        check_is_fitted(self)
        whole("n", n, 1)
        choice("how", how, ("draw", "mean"))
        if how == "mean" and n > 1:
            raise ValueError(f"n={n!r}: with how='mean' there is one completion; leave n at 1, or draw several")
        table = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        if (np.isnan(table) == np.isin(np.arange(table.shape[1]), self._given.given)).any():
            raise ValueError(f"X: expected numbers in the columns condition={self.condition!r:.60} and NaN in all others")
        seed = self._draws(random_state, "impute")
        draws = (np.asarray(self.sample(len(table), given=table, random_state=seed.child(i))) for i in range(MEANS if how == "mean" else n))
        if how == "mean":  # one after another: 200 copies of a table of pictures may not fit into memory
            return self._framed(functools.reduce(np.add, draws, np.zeros(table.shape)) / MEANS, typed=False)
        return self._framed(next(draws)) if n == 1 else np.stack(list(draws))

    def transform(self, X: Any) -> np.ndarray:
        """The critic's features of each row, shape (n_samples, width): what its last layer sees.

        A critic that knows the class of what it judges (``labels=True`` without ``semi_supervised``) has features for each; they are
        averaged by the classes' shares, since ``X`` has none.
        """
        check_is_fitted(self)
        X = self._table(X, reset=False)
        features = self._answers(self._encode(X, torch.float64), "features")
        return features.cpu().numpy().astype(np.float32 if X.dtype == np.float32 else np.float64)

    @available_if(_classifies)
    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | row) by the critic's class logits, shape (rows, classes), in the order of ``classes_``."""
        check_is_fitted(self)
        values = self._encode(self._table(X, reset=False), torch.float64)
        return self._answers(values, "forward").softmax(1).cpu().numpy()

    @available_if(_classifies)
    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, in the labels' own type."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    @property
    def _n_features_out(self) -> int:
        return int(self._answers(torch.zeros(1, self.schema_.size, dtype=torch.float64), "features").shape[1])

    # ---------------------------------------------------------------- training

    def _validate(self) -> None:
        super()._validate()
        flag("semi_supervised", self.semi_supervised)
        if self.semi_supervised and not self.labels:
            raise ValueError("semi_supervised=True: the classes are those of y; set labels=True too")
        if self.semi_supervised and self.packing > 1:
            raise ValueError(f"packing={self.packing!r} with semi_supervised=True: a pack has no class of its own; use one of the two")
        if self.condition is not None and (isinstance(self.condition, str) or not isinstance(self.condition, Sequence | np.ndarray)):
            raise ValueError(f"condition={self.condition!r}: expected a list of columns, by number or name")

    @property
    def _classes(self) -> int | None:
        return len(self.classes_) if self.semi_supervised else None

    def _players(self) -> Players:
        given = self._given
        numbers = self._label_columns + (0 if given.planes else len(given.given))
        output = "tanh" if self.schema_.kind == "picture" else None
        return Players(self.network_, len(given.drawn), given.shape, numbers, given.planes, output)

    def _networks(self) -> tuple[Generator, nn.Module]:
        return self._build(self._players(), self._stream().child("weights"))

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        self._given = Given.of(self.schema_, self.condition)
        self.network_ = self._network_for(self._given.shape)
        X, codes = self._apart(X, codes)
        seen, kept = self._watched(X, codes, self._view), None if self._kept is None else self._watched(*self._kept, self._view)
        self._note_conditions(X, codes)
        pair, batches = self._networks(), self._batches(X, codes, rank, world, self.network_)
        portraits = None if self.schema_.shape is None else self._portraits(X)
        watched = None if seen is None else (seen, kept)
        stage = self._stage("play", self.network_, pair, batches, self._view, portraits, watched)
        self.generator_, self.critic_ = pair[0], self._packed(pair[1])
        return [stage]

    def _note_conditions(self, X: np.ndarray, codes: np.ndarray | None) -> None:
        """What samples are conditioned on where nothing is asked."""
        self._note_shares(codes)
        self.conditions_ = self.condition_codes_ = None
        if self._given.given:
            rows = self._stream().child("conditions").permutation(len(X))[:KEPT].sort().values.numpy()
            self.conditions_ = self._given.parts(self.schema_.encode(X[rows]))[1].to(self.device)
            self.condition_codes_ = torch.from_numpy(codes[rows]) if codes is not None and self._label_columns else None

    def _view(self, batch: Batch, stream: Stream) -> Batch:
        """A batch's drawn columns, and its given ones and labels as the condition."""
        values, condition = self._shown(batch.values, batch.label)
        return Batch(values, None, batch.label if self.semi_supervised else None, condition)

    def _shown(self, rows: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encoded rows as the players see them: what is drawn, and the given columns and the label's as its condition."""
        values, condition = self._given.parts(rows)
        if codes is not None and self._label_columns:
            condition = torch.cat([condition, self._one_hot(codes).to(condition)], 1)
        return values, condition if condition.shape[1] else None

    def _condition(self, n: int, y: Any, given: Any, stream: Stream) -> tuple[Tensor | None, Tensor | None]:
        """What ``n`` samples are conditioned on: all of it, and the encoded columns of it that are part of a row."""
        codes = self._drawn_classes(n, y, stream)
        held = self._held(n, given, codes, stream)
        parts = [part for part in (held, None if codes is None else self._one_hot(codes).to(self.device)) if part is not None]
        return (torch.cat(parts, 1) if parts else None), (None if held is None else held.cpu())

    def _judged(self, rows: Tensor, codes: np.ndarray | None) -> tuple[Tensor, Tensor | None]:
        """Encoded rows as the critic sees them, which of a labelled GAN needs their labels."""
        return self._shown(rows, torch.from_numpy(self._known(codes)) if self._label_columns else None)

    def _known(self, codes: np.ndarray | None) -> np.ndarray:
        if codes is None or (codes < 0).any():
            raise ValueError("y: this GAN's critic judges a row together with its label; give the label of each row as y")
        return codes

    def _decoded(self, drawn: Tensor, held: Tensor | None, given: Any) -> Any:
        """Rows in the data's own scale and type, from what was drawn and what was given."""
        rows = self.schema_.decode(self._given.joined(drawn.cpu(), held))
        return self._framed(rows if given is None else _put_back(rows, given))

    def _held(self, n: int, given: Any, codes: Tensor | None, stream: Stream) -> Tensor | None:
        """The encoded columns ``condition`` of ``n`` samples of these classes; None where there are none."""
        if self.conditions_ is None:
            if given is not None:
                raise ValueError("given: this GAN draws whole rows; construct it with condition=, the columns that will be given")
            return None
        if given is None:
            return self.conditions_[self._kept_rows(n, codes, stream.child("conditions")).to(self.conditions_.device)]
        table = np.asarray(given, dtype=float)
        table = np.broadcast_to(table, (n, len(table))) if table.ndim == 1 else table
        if table.shape != (n, self.n_features_in_):
            raise ValueError(f"given: expected shape ({self.n_features_in_},) or ({n}, {self.n_features_in_}), found {np.shape(given)}")
        drawn, held = self._given.parts(self._encode(np.ascontiguousarray(table), name="given", allow_missing=True))
        if bool(held.isnan().any()) or not bool(drawn.isnan().all()):
            raise ValueError(f"given: expected numbers in the columns condition={self.condition!r} and NaN in all others")
        return held.to(self.device)

    def _kept_rows(self, n: int, codes: Tensor | None, stream: Stream) -> Tensor:
        """Which of the kept conditions ``n`` samples go with: those of their own class, so that both together are as in the data."""
        assert self.conditions_ is not None
        if codes is None or self.condition_codes_ is None:
            return stream.integers((n,), len(self.conditions_))
        counts, order = torch.bincount(self.condition_codes_, minlength=len(self.classes_)), self.condition_codes_.argsort(stable=True)
        share = stream.uniform((n,), torch.float64)
        place = (counts.cumsum(0) - counts)[codes] + (share * counts[codes]).long()
        anywhere = (share * len(order)).long()  # of a class so rare that none of its rows was kept
        return torch.where(counts[codes] > 0, order[place.clamp(max=len(order) - 1)], anywhere)

    def _portraits(self, X: np.ndarray) -> Callable[[Generator], np.ndarray]:
        """Sample pictures: the same noise and conditions each time, so that the eye can follow; classes in their order."""
        stream = self._stream().child("portraits")

        def draw(generator: Generator) -> np.ndarray:
            condition, held = self._condition(PORTRAITS, self._one_of_each(PORTRAITS), None, stream)
            with torch.no_grad():
                drawn = generator(generator.noise(PORTRAITS, stream), condition)
            return self._pictures(self._given.joined(drawn.cpu(), held))

        return draw

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        self.critic_.eval()
        self._read_ratio()

    # ---------------------------------------------------------------- the critic's answers

    def _answers(self, values: Tensor, what: str) -> Tensor:
        """The critic's features or logits of encoded rows in float64, so that a row's do not depend on the rows beside it."""
        critic = copy.deepcopy(self.critic_).double().eval()
        with torch.no_grad():
            return torch.cat([self._answer(getattr(critic, what), rows.to(self.device)) for rows in values.split(_BLOCK)])

    def _answer(self, ask: Callable[[Tensor, Tensor | None], Tensor], rows: Tensor) -> Tensor:
        if not self._label_columns:
            return ask(*self._shown(rows, None))
        assert self.class_shares_ is not None
        each = [torch.full((len(rows),), code, device=rows.device) for code in range(len(self.classes_))]
        answers = [ask(*self._shown(rows, codes)) for codes in each]
        return torch.stack([share * answer for share, answer in zip(self.class_shares_, answers, strict=True)]).sum(0)

    # ---------------------------------------------------------------- the model file

    @property
    def _drawn_shape(self) -> tuple[int, ...] | None:
        return self._given.shape if hasattr(self, "_given") else None

    def _kinds(self) -> list[str]:
        return [self.network_]

    def _named(self) -> dict[str, nn.Module]:
        return {"generator": self.generator_, "critic": self.critic_}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = super()._tensors() | self._ratio_tensors()
        kept = {"conditions": self.conditions_, "condition_codes": self.condition_codes_}
        return tensors | {name: values for name, values in kept.items() if values is not None}

    def _metadata(self) -> dict[str, Any]:
        return {"network": self.network_, "class_shares": self.class_shares_}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self._given = Given.of(self.schema_, self.condition)
        self.network_ = metadata.get("network", "mlp")  # of a run from before there was a choice
        self.class_shares_ = metadata.get("class_shares")
        self.conditions_ = tensors["conditions"].to(self.device) if "conditions" in tensors else None
        self.condition_codes_ = tensors.get("condition_codes")
        generator, critic = self._networks()
        self.generator_, self.critic_ = generator, self._packed(critic)
        self._take(tensors)
        self.critic_.eval()
        self._restore_ratio(tensors)

    @classmethod
    def _configured(cls, run: Run) -> Any:
        estimator = super()._configured(run)
        if "network" not in run.config["params"]:  # a run from before there was a choice
            estimator.network = "mlp"
        return estimator
