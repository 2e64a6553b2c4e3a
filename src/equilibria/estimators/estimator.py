"""The scikit-learn face of every model, written once: an estimator is parameters and ``build``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from equilibria import check, durable
from equilibria.check import affordable, choice, flag, number, optional, sequence, whole
from equilibria.data.batches import BINARISE
from equilibria.data.columns import (
    Chosen,
    Reader,
    as_frame,
    blocks,
    is_frame,
    mapped,
    missing_cells,
    release,
    slab,
)
from equilibria.data.labels import LabelCoding
from equilibria.data.rows import Rows, digest, fixed_draw, take
from equilibria.data.rules import Rules
from equilibria.data.table import Table
from equilibria.errors import RunError
from equilibria.estimators import all_estimators, face
from equilibria.estimators.cells import LEVEL, Cells
from equilibria.estimators.migrate import migrated, renamed
from equilibria.estimators.params import estimator, param, parameters
from equilibria.estimators.reckoning import refuse_unaffordable
from equilibria.evaluation import likelihood
from equilibria.evaluation.statistics import conformal, wilson
from equilibria.models.model import Model, capabilities
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_seed, as_stream
from equilibria.training import health
from equilibria.training.distributed import Processes, processes
from equilibria.training.progress import Work
from equilibria.training.run import Run
from equilibria.training.stage import Stage
from equilibria.training.trainer import CLOCK, Trainer, share_within

__all__ = ["Estimator", "Plan", "Recipe", "Trained"]

MODELLED = ("binary", "categorical", "real", "quantile", "gap")
TRIAL = 1000  # the length of the training whose updates are timed, where the user gives none
CHUNK = 2000  # rows that are scored at a time
Recipe = Callable[[Rows], list[Stage]]
"""How a model is trained: rows → stages. What it takes from the data (base rates, conditions) it
puts into the model."""


@dataclasses.dataclass
class Plan:
    """What ``build`` returns: a model as the table wants it, and how it is trained.

    Attributes
    ----------
    model : Model
        With its initial parameters; a saved one is loaded into it.
    recipe : callable
        Rows → stages.
    ready : callable, optional
        Called with the rows when training has ended, for what is fitted to held-out rows.
    """

    model: Model
    recipe: Recipe
    ready: Callable[[Rows], None] | None = None


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Around what computes: torch's global state as the library expects it, whatever it is."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def can(capability: str) -> Callable[[Any], bool]:
    """For ``available_if``: the fitted model, or before that its class, has the capability."""

    def available(self: Any) -> bool:
        if capability in self.capabilities_:
            return True
        raise AttributeError(f"a {type(self).__name__} {self.cannot(capability)}")

    return available


CANNOT: Mapping[str, str] = {
    "sample": "predicts, and draws no rows",
    "score": "has no density, and so no score_samples; compare samples by equilibria.evaluation",
    "normaliser": "needs no log Z: its density is normalised, or it has none",
    "complete": "cannot fill cells in given others: use DBM or RBM, or a GAN with condition=",
    "classify": "predicts no classes: construct it with labels=True, and give fit the labels as y",
    "features": "has no representation to transform rows into",
}


@estimator
class Trained(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of everything that is trained into a run: parameters, class attributes and ``build``.

    Attributes
    ----------
    model_ : Model
        The trained model, over encoded rows.
    table_ : Table
        What the columns are: encodes rows, decodes samples.
    numbers_ : dict of str to Measure
        What was worked out when it was first asked for: log Z.
    history_ : list of dict
        What was logged while training.
    health_ : list of str
        What the history speaks for and against.
    """

    name: ClassVar[str] = ""
    """In run folders and on the command line."""
    model: ClassVar[type[Model]] = Model
    takes: ClassVar[frozenset[str]] = frozenset(MODELLED)
    """Kinds of columns that ``build`` knows."""
    numbers: ClassVar[str] = "auto"
    """What a table of numbers alone is taken for, where that is not said."""
    missing: ClassVar[bool] = False
    """Whether cells of training rows may be missing."""
    indicated: ClassVar[bool] = False
    """Whether they may where an indicator of the table tells of them alone."""
    labelled: ClassVar[bool] = True
    """Whether labels may be learnt beside the columns."""
    lengths: ClassVar[tuple[str, ...]] = ("steps",)
    """Parameters that a budget in minutes gives, in the ratio that they have without it."""
    quick: ClassVar[bool] = False
    """Whether it is trained in seconds: a comparison leaves its length as it is."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes that a run keeps beside the parameters and has back before ``build``."""

    if TYPE_CHECKING:  # a dataclass would take them for parameters
        model_: Any
        table_: Table
        numbers_: dict[str, Measure]
        seed_: int

    run_: ClassVar[Run | None] = None  # an instance that has a run folder has its own
    asked_: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # where training set others

    # parameters of Estimator; here they are what they are for everything else
    kinds, value_range, picture_shape = "auto", None, None
    labels, missing_label, binarise, minutes, unknown = False, None, None, None, "refuse"

    validation_fraction: float = param(
        0.0,
        "Share of the rows that is kept from training: by these training is monitored, ratios "
        "are fitted, and the best state is kept where a score without log Z can tell which.",
        number(0, 0.9),
    )
    verbose: int = param(
        0, "Whether to show progress, where standard error is a terminal.", whole(0)
    )
    random_state: Any = param(
        None,
        "Seed of every draw: the same value gives the same model.",
        check.seed(),
    )
    device: str = param("cpu", "Where torch computes.", check.device())
    out: Any = param(
        None, "Run folder to write; nothing is written without it.", optional(check.folder())
    )
    overwrite: bool = param(False, "Whether an earlier run in out may be replaced.", flag())

    # ------------------------------------------------------------ what a subclass gives

    def build(self, table: Table, stream: Stream) -> Plan:
        """The model and its recipe, as the table wants them."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse parameters that do not go together; each by itself has been checked."""

    def decided(self, rows: Rows, group: Processes) -> dict[str, Any]:
        """The parameters that are left to the training rows, by name; once, before ``build``."""
        return {}

    def refuse_two_lengths(self) -> None:
        """Refuse a length beside a budget in minutes, which gives it."""
        name = self.lengths[0]
        default = {field.name: field.default for field in parameters(self)}.get(name)
        if self.minutes is not None and getattr(self, name) != default:
            found = f"it gives {name}, and {name}={getattr(self, name)!r} came too"
            raise ValueError(f"minutes={self.minutes!r}: {found}; give one of the two")

    @classmethod
    def params_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a run of version 0.1.0."""
        return renamed(cls, config["params"])

    @classmethod
    def kept_of(cls, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes in ``kept`` of a run of version 0.1.0."""
        return {}

    def column_kinds(self) -> Any:
        """What :meth:`Table.fit` is told of the columns: of a known range they are binary."""
        ranged = self.value_range is not None and getattr(self, "modalities", None) is None
        return "binary" if ranged and self.kinds == "auto" else self.kinds

    def pictures_or_reals(self) -> Any:
        """The same, of a model of pictures, where range or shape say so, and else of tables."""
        if not isinstance(self.kinds, str) or self.kinds != "auto":
            return self.kinds
        known = self.value_range is not None or self.picture_shape is not None
        return "picture" if known else "auto"

    # ------------------------------------------------------------ training

    def fit(self, X: Any, y: Any = None) -> Any:
        """Train on the rows of ``X``.

        A fit that is refused, or stopped, leaves an earlier one as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), DataFrame, or Data
            The rows; pictures are flattened. ``Data`` (see :func:`equilibria.data.load`) brings its
            labels, its range and its picture shape.
        y : array-like of shape (n_samples,), optional
            Labels, for a model with ``labels=True``; otherwise ignored.

        Returns
        -------
        self

        Raises
        ------
        equilibria.errors.DivergedError
            When training became non-finite.
        equilibria.errors.TrainingInterrupted
            When SIGINT, SIGTERM or SIGHUP came; with ``out`` the state has been saved.
        """
        return self.adopt(self.checked().learn(X, y))

    def learn(self, X: Any, y: Any = None) -> Any:
        """Train this very estimator, whose parameters have been checked."""
        if self.out is not None and processes(self.device).writes:
            Run.refuse_taken(self.out, self.overwrite)
        return self.train(*self.prepared(X, y))

    def prepared(self, X: Any, y: Any = None) -> tuple[Table, Any, np.ndarray | None, Any]:
        """What :meth:`train` takes of data: table, checked rows, class numbers, origin."""
        X, y, origin = self.informed(X).opened(X, y)
        X = self.validated(X, reset=True)
        table = self.tabulate(X, y)
        return table, X, self.codes(table, y, len(X)), origin

    def checked(self) -> Any:
        """A copy that is not fitted, each parameter checked and in Python's own type."""
        good = {
            f.name: f.metadata["check"](f.name, getattr(self, f.name)) for f in parameters(self)
        }
        twin = type(self)(**good)
        twin.refuse_two_lengths()
        if twin.labels and not self.labelled:
            raise ValueError(f"labels=True: a {type(self).__name__} learns no labels; leave it out")
        twin.check()
        return twin

    def tabulate(self, X: Any, y: Any) -> Table:
        """What the columns are, found in the training rows."""
        table = Table.fit(
            X,
            kinds=self.column_kinds(),
            value_range=self.value_range,
            picture_shape=self.picture_shape,
            allow_missing=self.missing,
            modalities=getattr(self, "modalities", None),
            numbers=self.numbers,
            indicated=self.indicated,
        )
        self._refuse_kinds(table)
        self.refuse_untold(table, X)
        if not self.labels:
            return table
        if y is None:
            raise ValueError(
                "y=None: labels=True needs the labels of the rows as y; a label that is not known "
                "may be None or NaN"
            )
        return table.with_labels(LabelCoding.infer(y, self.missing_label))

    def preview(self, X: Any, y: Any = None) -> Table:
        """What ``fit`` would take the columns for; nothing is trained."""
        return self.checked().prepared(X, y)[0]

    def informed(self, X: Any) -> Any:
        """This estimator, with range and picture shape of a ``Data`` unless it has its own."""
        if hasattr(X, "digest"):  # a Data, whose module an array need not load
            if self.value_range is None and X.low is not None:
                self.value_range = (X.low, X.high)
            if self.picture_shape is None:
                self.picture_shape = X.shape
        return self

    def opened(self, X: Any, y: Any) -> tuple[Any, Any, Any]:
        """Rows, labels and origin; a ``Data`` brings them."""
        if not hasattr(X, "digest"):
            return X, y, None
        return X.frame(), (X.labels if y is None else y), X.origin

    def validated(self, X: Any, reset: bool = False, gaps: bool | None = None) -> Any:
        """Rows as scikit-learn wants them, a frame as a frame; ``gaps`` says whether any cells may
        be missing, by default those that may in training."""
        judged = not reset and gaps is None
        gaps = self.missing if gaps is None else gaps
        least, X = (2 if reset else 1), as_frame(X)
        if hasattr(X, "iloc"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            _refuse_few(len(X), least)
            if not gaps and X.isna().to_numpy().any():
                column = X.columns[X.isna().to_numpy().any(0)][0]
                raise ValueError(
                    f"X: column {column!r} has missing cells, and a {type(self).__name__} takes "
                    "none; fill them, or leave those rows out"
                )
            X = X if reset else self.columns.match(X)
        else:
            options: dict[str, Any] = {"dtype": None if _keeps_cells(X) else "numeric"}
            finite = "allow-nan" if gaps else True
            options |= {"ensure_min_samples": least, "ensure_all_finite": finite}
            with np.errstate(invalid="ignore"):  # it adds up infinities of both signs
                if not isinstance(X, Chosen) and mapped(X) is None:
                    X = validate_data(self, X, reset=reset, **options)
                else:  # of a map that is larger than memory, some rows at a time
                    _refuse_few(len(X), least)
                    options["ensure_min_samples"], read = 1, Reader(X)
                    for rows in read.ranges():
                        validate_data(self, X[rows], reset=reset, **options)
                    X = read.table
        if judged:
            self.refuse_untold(self.columns, X)
        return X

    def untold(self, table: Table, X: Any) -> np.ndarray:
        """Missing cells that such a model does not take, bool (n, width)."""
        strange = self.indicated and self.unknown == "missing"
        gaps = table.lost(X) if strange else np.array(missing_cells(X))
        for place in np.flatnonzero(gaps.any(0)).tolist():
            told = not self.indicated or table.gap_of(place) or not table.columns_of(place)
            if self.missing and told:
                gaps[:, place] = False
        return gaps

    def refuse_untold(self, table: Table, X: Any) -> None:
        """Refuse missing cells where no indicator tells of them and the model needs one."""
        found = np.zeros(table.width, dtype=bool)
        for rows in ranges(len(X), table) if self.indicated else ():
            found |= self.untold(table, slab(X, rows)).any(0)
        for place in np.flatnonzero(found)[:1].tolist():
            raise ValueError(
                f"X: {table.column_name(place)} has missing cells, and this "
                f"{type(self).__name__} knows none there; fill them, leave those rows out, or fit "
                "it with kinds='mixed' on rows that have such gaps"
            )

    def codes(self, table: Table, y: Any, rows: int) -> np.ndarray | None:
        """Class numbers, −1 where missing; None where the model learns no labels."""
        if table.labels is None:
            return None
        if y is None:
            raise ValueError("y=None: this model was trained with labels; give them as y")
        codes = table.labels.encode(y)
        if len(codes) != rows:
            raise ValueError(f"y has {len(codes)} labels for {rows} rows of X; expected one each")
        return codes

    def _refuse_kinds(self, table: Table) -> None:
        for layer in table.layers:
            if layer.kind not in self.takes:
                column = table.column_name(layer.source[0])
                raise ValueError(
                    f"kinds: {column} is {layer.kind}, and a {type(self).__name__} knows "
                    f"{', '.join(sorted(self.takes))} columns; say kinds=, or leave it out"
                )

    @settled()
    def train(
        self,
        table: Table,
        X: Any,
        codes: np.ndarray | None = None,
        origin: Any = None,
        run: Run | None = None,
    ) -> Any:
        """Play the recipe's stages on rows under a table; ``run`` is one to go on with."""
        group, resume = processes(self.device), run is not None
        if run is None and self.out is not None and group.writes:
            Run.refuse_taken(self.out, self.overwrite)
        if run is None:
            self.seed_ = as_seed(self.random_state)
            if not isinstance(self.random_state, int):  # each process has drawn a seed of its own
                self.seed_ = group.agree(self.seed_)
        refuse_unaffordable(self, table)
        rows = self._split(table, X, codes, group).graded(self.binarise)
        self.table_, self.numbers_ = rows.table, {}
        began = CLOCK()
        if not resume:
            self._take(self.decided(rows, group))
        if self.minutes is not None and not resume:
            left = max(self.minutes - (CLOCK() - began) / 60, 0.1 * self.minutes)
            self._take(self._lengths_within(left, rows, group))
        plan = self.build(self.table_, self.stream)
        stages = self.stages_of(plan, rows, group)
        self.model_: Any = plan.model
        if run is None:
            run = self._create_run(X, codes, origin, group)
        shown = bool(self.verbose) or run is not None
        how: dict[str, Any] = {"verbose": shown, "seconds": CLOCK() - began}
        with Trainer(stages, self.stream.child("train"), run, group, **how) as trainer:
            trainer.fit(resume=resume)
            if plan.ready is not None:
                plan.ready(rows)
            self.model_.eval()
            self.n_steps_, self.history_ = trainer.step, trainer.history
            self.health_ = [*trainer.warnings, *trainer.told, *health.sentences(self.history_)]
            if run is not None and group.writes:
                self.write(run)
        self.__dict__["run_"] = run
        return self

    def stages_of(self, plan: Plan, rows: Rows, group: Processes) -> list[Stage]:
        """A plan's stages, refused where these processes cannot play them."""
        plan.model.to(self.device)
        stages = plan.recipe(rows)
        for stage in stages:
            group.check(stage.game)
        return stages

    def _take(self, found: dict[str, Any]) -> None:
        """Set parameters, and remember what the user asked for."""
        asked = {name: getattr(self, name) for name in found}
        self.__dict__.update(found, asked_={**asked, **self.asked_})

    def _lengths_within(self, minutes: float, rows: Rows, group: Processes) -> dict[str, int]:
        """The lengths of a training of so many minutes, by the updates of one thrown away.

        Of many processes the first one's clock counts.
        """
        asked = {name: getattr(self, name) for name in self.lengths}
        whole = {name: TRIAL if length is None else length for name, length in asked.items()}
        twin = copy.copy(self)
        twin.__dict__.update(whole)
        plan = twin.build(self.table_, self.stream)
        share, spent = share_within(minutes, self.stages_of(plan, rows, group))
        found = {name: group.agree(round(share * length)) for name, length in whole.items()}
        if found[self.lengths[0]] < 1:
            least = spent + 60 * minutes / max(share * whole[self.lengths[0]], 0.01)
            raise ValueError(
                f"minutes={self.minutes!r}: that is less than {self.lengths[0]}=1 and its checks "
                f"take, perhaps {least / 60:.2g} minutes; give it more, or make the model smaller"
            )
        return {name: max(found[name], 1) if length else 0 for name, length in whole.items()}

    def _split(self, table: Table, X: Any, codes: np.ndarray | None, group: Processes) -> Rows:
        """Training rows, and those of ``validation_fraction``."""
        shared: dict[str, Any] = {"stream": self.stream, "device": self.device}
        shared["shard"] = (group.rank, group.world)
        rows = Rows(table, X, codes, **shared)
        if not self.validation_fraction:
            return rows
        count = round(self.validation_fraction * len(X))
        if not 2 <= count <= len(X) - 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} keeps {count} of {len(X)} rows "
                "from training; expected at least 2, and 2 left"
            )
        return rows.divided(self.stream.child("validation").permutation(len(X)), count)

    def adopt(self, fitted: Any) -> Any:
        """Take over what a copy has learnt; parameters stay as the user gave them."""
        own = {field.name for field in parameters(self)}

        def learnt_by(one: Any) -> dict[str, Any]:
            names = [name for name in vars(one) if name.endswith("_") or name == "_online"]
            return {name: vars(one)[name] for name in names if name not in own}

        for name in learnt_by(self):
            delattr(self, name)
        learnt = learnt_by(fitted)
        self.__dict__.update(learnt, _settings=fitted)
        return self

    @property
    def settings_(self) -> Any:
        """The parameters that the model was trained with, whatever ``set_params`` said since."""
        return self.__dict__.get("_settings", self)

    @property
    def columns(self) -> Table:
        """What the columns are of the rows that the fitted model is given."""
        return self.table_

    @property
    def stream(self) -> Stream:
        """The seed of every draw of this model."""
        return Stream(self.seed_).child(self.name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_steps_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing
        if "features" not in self.capabilities_:
            tags.transformer_tags = None
        return tags

    # ------------------------------------------------------------ what a fitted model is asked

    @property
    def capabilities_(self) -> frozenset[str]:
        """What the model can do; before ``fit`` what its class can, with these parameters."""
        if "model_" in vars(self):
            return capabilities(self.model_)
        found = capabilities(self.model)
        return found if self.labels else found - {"classify"}

    def cannot(self, capability: str) -> str:
        """The end of a sentence that begins with the estimator's name."""
        return CANNOT[capability]

    @available_if(can("sample"))
    @settled()
    def sample(
        self,
        n: int = 1,
        y: Any = None,
        given: Any = None,
        *,
        rules: Any = (),
        unique: Any = (),
        return_share: bool = False,
        random_state: RandomState = None,
        **options: Any,
    ) -> Any:
        """Draw rows from the model, in the data's own scale, types and column names.

        Rows that break a rule are drawn anew until n of them hold (rejection): their law is the
        model's given the rules. A row that repeats a key of a kept row is drawn anew too: given
        the rows kept before it, its law is the model's given the rules and another key. An equation
        of numbers that are not whole is hardly ever met by chance: say ``-.01 < a + b - c < .01``,
        or leave ``c`` out of fit and work it out.

        Parameters
        ----------
        n : int
            Number of rows.
        y : label, or array of shape (n,), optional
            Of which class the rows are to be, where labels were learnt.
        given : array-like or frame of shape (d,) or (n, d), optional
            Cells to hold, NaN (or None) where the model is to fill in; they come back untouched.
            Columns of a frame are matched by name.
        rules : str, callable, or sequence of these
            What each row must meet: comparisons of columns with columns and constants
            (``"start <= end"``, ``"a + b == total and not (sex == 'm' and births > 0)"``), names
            that are no words of Python in backticks, columns without names x0, x1, …; or functions
            of a frame that give True or False for each row. A comparison holds in a row that lacks
            a cell that it speaks of.
        unique : str, or sequence of str and tuples of str
            Keys: columns, or tuples of columns, in which no two rows are alike. Missing cells are
            like no others.
        return_share : bool
            Whether to return (rows, the share of the rows drawn first that held, a Measure).
        random_state : int, numpy generator or None
            None uses the seed of ``fit``, so a fitted model gives the same samples each time.
        **options
            Of the model's own ``sample``: sweeps of a Markov chain, say.

        Returns
        -------
        ndarray of shape (n, d), or DataFrame where ``fit`` had one

        Raises
        ------
        ValueError
            When too few rows hold: after 200 rounds of n draws (100 at least), or 2,000 draws
            without one.

        Examples
        --------
        >>> from equilibria import Independent
        >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> model = Independent(random_state=0).fit(X)
        >>> rows, share = model.sample(100, rules="x0 <= x1", return_share=True)
        >>> bool((rows[:, 0] <= rows[:, 1]).all()), 0.6 < share.value < 0.9
        (True, True)
        """
        check_is_fitted(self)
        self._refuse_options(options)
        if given is None and not rules and not unique and not return_share:
            return self._joined(n, self.sampled(n, y, random_state=random_state, **options))

        def draw(n: int, stream: Stream, held: Tensor | None) -> Tensor:
            with torch.no_grad():
                return self.model_.sample(n, stream, held, **options)

        how = {"rules": rules, "unique": unique, "return_share": return_share}
        return self.rows_by(draw, n, y, given, random_state=random_state, **how)

    @available_if(can("sample"))
    def sampled(
        self, n: int, y: Any = None, *, random_state: RandomState = None, **options: Any
    ) -> Iterator[Any]:
        """The rows of :meth:`sample`, some thousands at a time: more than memory holds."""
        check_is_fitted(self)
        self._refuse_options(options)
        model, table, n = self.model_, self.table_, whole(1)("n", n)  # of this fit to the end
        stream, codes = self.draws(random_state, "sample"), self.held_codes(y, n)
        device = self.settings_.device

        @settled()
        @torch.no_grad()
        def block(part: slice) -> Any:
            count = part.stop - part.start
            held = None
            if table.labels is not None:
                held = _held(table, count, None if codes is None else codes[part]).to(device)
            drawn = model.sample(count, stream.part(part.start, n), held, **options)
            share = table.shares(count, stream.part(part.start, n))
            rows = drawn[:, : table.size].cpu()
            return table.going_on(part.start).decode(rows, share=share)

        return map(block, ranges(n, table))

    def _joined(self, n: int, blocks: Iterator[Any]) -> Any:
        """Blocks of ``n`` decoded rows as one array or frame."""
        affordable("n", n, 2.0 * n * self.table_.width)
        found = _together(blocks, n)
        if is_frame(found):
            found.index = range(n)
        return found

    def rows_by(
        self,
        draw: Callable[[int, Stream, Tensor | None], Tensor],
        n: int,
        y: Any = None,
        given: Any = None,
        *,
        rules: Any = (),
        unique: Any = (),
        return_share: bool = False,
        random_state: RandomState = None,
    ) -> Any:
        """Rows of a way to draw, (n, stream, held cells) → encoded rows; all else as in
        :meth:`sample`."""
        table, n = self.table_, whole(1)("n", n)
        affordable("n", n, float(n) * table.size)
        must = Rules.of(rules, unique, table)
        rows = None if given is None else self.given_rows(given, n)
        if rows is not None and must:
            must.refuse(rows)
        held, stream = self.held_cells(rows, y, n), self.draws(random_state, "sample")

        def encoded(places: np.ndarray, again: int) -> Tensor:
            own = held if held is None or not again else take(held, places)
            key = stream.child("again", again) if again else stream
            drawn = draw(len(places), key, own)[:, : table.size].cpu()
            return torch.cat([drawn, table.shares(len(places), key).to(drawn)], 1)

        def decoded(values: Tensor, places: np.ndarray) -> Any:
            own = None if rows is None else take(rows, places)
            found = table.decode(values[:, : table.size], own, share=values[:, table.size :])
            return found if own is None else table.put_back(found, own)

        every = np.arange(n)
        drawn, at_once = must.kept(n, encoded, decoded) if must else (encoded(every, 0), n)
        found = decoded(drawn, every)  # of all rows, so that identifiers go on without a gap
        if not flag()("return_share", return_share):
            return found
        ends = wilson(at_once, n)
        return found, Measure("share of rows that held at once", at_once / n, *ends, n=n)

    @available_if(can("score"))
    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats, in the data's own scale; a lower bound where the model has
        one.

        Missing cells, and the label where one was learnt, are summed over. Grey rows are made
        binary by a draw that is keyed by the row's own content, so the answer is deterministic and
        does not depend on the rows beside it. Numbers by their ranks that come again and again
        have a draw within their interval likewise: it is then a lower bound in the mean over draws.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.row_scores(X) - self._log_z()

    @available_if(can("score"))
    def row_scores(self, X: Any) -> np.ndarray:
        """:meth:`score_samples` without log Z, which costs nothing: enough to rank rows by."""
        check_is_fitted(self)
        X = self.validated(X)
        return self.over(X, self._unnormalised) + self._log_shares(X)

    def _log_shares(self, X: Any, cells: bool = False) -> np.ndarray:
        """What rare values take from the score of a row, (rows,), or of each cell; or nothing."""
        table = self.table_
        if not table.merged:
            return np.zeros(())
        parts = (table.log_shares(slab(X, rows)) for rows in ranges(len(X), table))
        return np.concatenate([part if cells else part.sum(1) for part in parts])

    @available_if(can("score"))
    def cell_scores(self, X: Any) -> np.ndarray:
        """log p(x_j | the other cells of its row) in nats, shape (n_samples, d).

        It is log p(x) − log p(x without cell j), a column at a time: the cell is summed out by
        being missing where the model does so exactly, and by going through the values of a discrete
        column where it does not. Of a number it is then the difference from a bound, and a model
        that sums out no gaps is refused. NaN where a cell is missing, and in columns that no model
        is told.
        """
        check_is_fitted(self)
        X = self.validated(X)
        return self.over(X, self._cell_scores) + self._log_shares(X, cells=True)

    def _cell_scores(self, values: Tensor) -> np.ndarray:
        table = self.table_
        whole, found = self._unnormalised(values), np.full((len(values), table.width), np.nan)
        summed = self.missing and not self.indicated
        exact = summed and likelihood.is_exact(self.capabilities_, True)
        for place in sorted(set(table.owner)):
            columns = list(table.columns_of(place))  # an indicator goes on saying that it is there
            rows = np.flatnonzero(~values[:, columns].isnan().any(1).numpy())
            states = None if exact else table.states(place)
            if states is None and not summed:
                what = "which is summed out by being missing alone, and this model sums out no gaps"
                kind = type(self).__name__
                raise ValueError(f"X: {table.column_name(place)} is a number, {what} ({kind})")
            others, total = values[rows], list[np.ndarray]()
            for state in [torch.nan] if states is None else states:
                others[:, columns] = state
                total.append(self._unnormalised(others))
            found[rows, place] = whole[rows] - np.logaddexp.reduce(total)
        return found

    @available_if(can("score"))
    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    @available_if(can("score"))
    def log_likelihood(self, X: Any) -> Measure:
        """Mean log p(x) over rows with its interval; it says whether it is a bound."""
        return self.scored(X)[0]

    @available_if(can("score"))
    def scored(self, X: Any) -> tuple[Measure, np.ndarray]:
        """:meth:`log_likelihood` and :meth:`score_samples` for the work of one.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, d)
            The rows.

        Returns
        -------
        Measure
            The mean of log p(x) over the rows, in nats.
        ndarray of shape (n_samples,)
            log p(x) of each.
        """
        check_is_fitted(self)

        def ask(values: Tensor) -> np.ndarray:
            gaps = values[:, : self.table_.size].isnan().any(1).numpy()
            return np.stack([self._log_prob(values), self._log_volume(values), gaps], 1)

        X = self.validated(X)
        scores, volume, gaps = self.over(X, ask).T
        volume = volume - self._log_shares(X)
        normalised = "normaliser" not in self.capabilities_
        exact = likelihood.is_exact(self.capabilities_, bool(gaps.any()))
        log_z = Measure.exact("log Z", 0.0, "") if normalised else self.log_partition_
        found = likelihood.RowBounds(scores, exact, np.zeros(len(scores)))
        return likelihood.mean_of(found, log_z, volume), scores - volume - log_z.value

    @available_if(can("score"))
    def anomaly_pvalue(self, X: Any, calibration: Any, two_sided: bool = False) -> np.ndarray:
        """Conformal p-values, shape (n_samples,): how odd each row is beside rows that are not.

        Of rows that are as the calibration rows are, a share of at most α has p ≤ α, whatever the
        model; a model that is wrong finds fewer of the others. A log-likelihood by itself is no
        such detector: where the density is highest no rows may lie, which ``two_sided`` finds.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, d)
        calibration : array-like or frame of shape (n, d)
            Usual rows that the model has not seen; p is at least 1 / (n + 1).
        two_sided : bool
            Whether rows whose score is too high are odd too.
        """
        known, found = self.row_scores(calibration), self.row_scores(X)
        return conformal(known, found, flag()("two_sided", two_sided))

    @available_if(can("score"))
    def cell_pvalues(self, X: Any, calibration: Any) -> Any:
        """Conformal p-values, shape (n_samples, d): how odd each cell is given the rest of its row.

        The score of a cell is :meth:`cell_scores`, log p(x_j | the others), calibrated with the
        same column of the calibration rows: so columns are comparable, and of the cells of a column
        in rows that are as the calibration rows are a share of at most α has p ≤ α. NaN as there. A
        cell may be odd because another one is wrong: the smallest p of a row is the first suspect.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, d)
        calibration : array-like or frame of shape (n, d)
            Usual rows that the model has not seen.

        Returns
        -------
        ndarray, or a DataFrame with the index and columns of X

        Examples
        --------
        Two columns that agree in 99 of 100 rows:

        >>> import numpy as np
        >>> from equilibria import ChowLiuTree
        >>> usual = np.repeat([[0, 0], [1, 1], [0, 1]], [50, 49, 1], axis=0)
        >>> ChowLiuTree().fit(usual).cell_pvalues([[0, 1], [1, 1]], usual).round(2)
        array([[0.02, 0.02],
               [0.5 , 1.  ]])
        """
        known, found = self.cell_scores(calibration), self.cell_scores(X)
        for own, column in zip(known.T, found.T, strict=True):
            there = ~np.isnan(column)
            column[there] = conformal(own[~np.isnan(own)], column[there])
        if not hasattr(X := as_frame(X), "iloc"):
            return found
        import pandas as pd

        return pd.DataFrame(found, X.index, self.columns.names)

    def verdict(self, X: Any, y: Any = None, train: Any = None) -> Any:
        """What rows that were held out say of this model: :func:`equilibria.verdict`."""
        return face("verdict")(self, X, y, train)

    @property
    def log_partition_(self) -> Measure:
        """log Z in nats with its interval: worked out when it is first asked for, then kept."""
        check_is_fitted(self)
        can("normaliser")(self)
        if "log_partition" not in self.numbers_:
            self._keep("log_partition", self._work_out(None, self.draws(None, "log partition")))
        return self.numbers_["log_partition"]

    @available_if(can("normaliser"))
    def anneal(self, random_state: RandomState = None, **options: Any) -> Measure:
        """Work log Z out again; ``log_partition_`` and all that rests on it are then by this one.

        Parameters
        ----------
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        **options
            Of the model's ``log_normaliser``: ``betas`` temperatures, ``chains`` annealing runs.
        """
        check_is_fitted(self)
        return self._keep(
            "log_partition", self._work_out(options, self.draws(random_state, "log partition"))
        )

    def transform(self, X: Any) -> np.ndarray:
        """The model's representation of each row, shape (n_samples, n_features_out)."""
        check_is_fitted(self)
        X = self.validated(X)
        single = getattr(X, "dtype", None) == np.float32

        def ask(values: Tensor) -> np.ndarray:
            found = self.in_chunks(values, lambda model, rows: model.features(rows)).numpy()
            return found.astype(np.float32) if single else found

        return self.over(X, ask, binary=False)

    @property
    def _n_features_out(self) -> int:
        blank = torch.zeros(1, self.table_.size + self.table_.classes, dtype=torch.float64)
        blank[:, self.table_.size :] = torch.nan
        return int(self.in_chunks(blank, lambda model, rows: model.features(rows)).shape[1])

    @available_if(can("complete"))
    @settled()
    def impute(
        self,
        X: Any,
        n: int = 1,
        how: str = "draw",
        *,
        random_state: RandomState = None,
        **options: Any,
    ) -> Any:
        """Fill in the missing cells (NaN, None) of rows; those that are there are held.

        Parameters
        ----------
        X : array-like or frame of shape (rows, d)
        n : int
            How many completions of each row to draw: their spread is the model's uncertainty.
        how : {"draw", "mean", "mode", "best"}
            Draws from p(missing | observed); or one completion, with ``n=1``, each cell by itself:
            its conditional mean (of binary columns a probability; categories have none); its most
            probable value (of a number the one at its mean score); or the best of each: of a real
            number and of a date the mean, of whole numbers the median, of all else the most
            probable value.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``.
        **options
            Of the model's own ``complete`` and ``means``: ``sweeps`` of a Boltzmann machine.

        Returns
        -------
        ndarray or DataFrame like ``X``; with ``n`` > 1 an ndarray (n, rows, d), or a list of frames
        """
        check_is_fitted(self)
        n = whole(1)("n", n)
        choice("draw", "mean", "mode", "best")("how", how)
        if how != "draw" and n > 1:
            raise ValueError(
                f"n={n!r}: with how={how!r} there is one completion; leave n at 1, or draw several"
            )
        X, stream = self.validated(X, gaps=True), self.draws(random_state, "impute")
        affordable("n", n, 2.0 * n * len(X) * self.table_.width)
        parts = [self._filled(cells, n, how) for cells in self._blocks(X, stream, options)]
        whole_rows = [_together(iter(part), len(X)) for part in zip(*parts, strict=True)]
        if n == 1 or not isinstance(whole_rows[0], np.ndarray):
            return whole_rows[0] if n == 1 else whole_rows
        return np.stack(whole_rows)

    def _filled(self, cells: Cells, n: int, how: str) -> list[Any]:
        """Completions of a block of rows."""
        X, table = cells.X, self.table_
        if how == "draw":
            keys = [cells.stream.child("draw", i) for i in range(n)]
            found = [
                table.decode(one, X, gaps=False, share=table.shares(len(X), key))
                for one, key in zip(cells.draws(n), keys, strict=True)
            ]
            return [table.put_back(one, X) for one in found]
        numbers = None if how == "mode" else cells.numbers(median=how == "best")
        if how == "mean":
            return [table.put_back(table.decode_means(cells.means, X, cells.missing, numbers), X)]
        return [table.put_back(table.decode_modes(cells.means, X, numbers), X)]

    @available_if(can("complete"))
    @settled()
    def impute_proba(self, X: Any, *, random_state: RandomState = None, **options: Any) -> Any:
        """p(category | the row's observed cells) of each missing cell of a discrete column.

        Exact where the model's conditional means are (trees, mixtures; one missing variable of an
        autoregressive model), else by chains or draws.

        Parameters
        ----------
        X : array-like or frame of shape (rows, d)
        random_state, **options
            As in :meth:`impute`.

        Returns
        -------
        dict of column to DataFrame
            Of each discrete column with gaps: a row for each row that lacks it, by its index, a
            column for each category.
        """
        check_is_fitted(self)
        X, stream = self.validated(X, gaps=True), self.draws(random_state, "impute")
        gaps, most = missing_cells(X).sum(0), 0.0
        for place in self.table_.modelled:
            known = self.table_.chances(torch.zeros(0, self.table_.size), place)
            most += 2.0 * int(gaps[place]) * (0 if known is None else len(known[0]))
        affordable("X", f"{len(X)} rows", most)
        parts: dict[int, list[Any]] = {}
        for cells in self._blocks(X, stream, options):
            for place, own in cells.probabilities().items():
                parts.setdefault(place, []).append(own)
        return {
            self.table_.key(place): _together(iter(parts[place]), -1) for place in sorted(parts)
        }

    @available_if(can("complete"))
    @settled()
    def impute_interval(
        self,
        X: Any,
        level: float = 0.9,
        calibration: Any = None,
        *,
        random_state: RandomState = None,
        **options: Any,
    ) -> Any:
        """Where each missing cell lies with a chance of ``level``: an interval, or a set.

        Of a number it is the central interval of 199 equally likely values (of an exact model its
        quantiles), of a category the likeliest ones that reach ``level`` together. That is the
        model's own word. With ``calibration`` it is held to rows: column by column the nominal
        level is taken at which the intervals of known cells hold ``level`` of them, each hidden
        together with what a random row of ``X`` lacks beside it (split-conformal prediction). Such
        intervals hold at least ``level`` of cells that are missing by chance, whatever the model;
        not of those that are missing because of their value. With ties, and where the likeliest
        category alone is right more often, they hold more.

        Parameters
        ----------
        X : array-like or frame of shape (rows, d)
        level : float
            Above 0 and at most 0.99.
        calibration : array-like or frame of shape (n, d), optional
            Rows that the model has not seen, with gaps or without; at least level / (1 − level) of
            them must know each column that is missing in ``X``.
        random_state, **options
            As in :meth:`impute`.

        Returns
        -------
        DataFrame
            A row for each missing cell, indexed by ("row", "column"): ``low`` and ``high`` of a
            number, ``categories`` of a category, a tuple, the likeliest first.
        """
        check_is_fitted(self)
        level = number(0, LEVEL, above=True)("level", level)
        X, stream = self.validated(X, gaps=True), self.draws(random_state, "impute")
        gaps = np.array(missing_cells(X))
        how = {p: (level - 1e-9, 0.0) for p in self.table_.modelled if gaps[:, p].any()}
        if calibration is not None:
            aside = self._cells(self.validated(calibration, gaps=True), stream, options)
            how = {place: aside.nominal(place, level, gaps) for place in how}
        parts = (cells.intervals(how) for cells in self._blocks(X, stream, options))
        return _together(parts, -1).infer_objects()

    def _blocks(self, X: Any, stream: Stream, options: Any) -> Iterator[Cells]:
        """Validated rows beside the model, a block at a time."""
        for rows in ranges(len(X), self.table_):
            key = stream.child("from", rows.start) if rows.start else stream
            yield self._cells(slab(X, rows), key, options, rows.start)
            release(X)

    def _cells(self, X: Any, stream: Stream, options: Any, first: int = 0) -> Cells:
        """Validated rows with gaps beside the model."""
        encoded = self.values(X, binary=False, first=first)
        values = encoded.to(torch.float32).to(self.settings_.device)
        how: Any = {"told": False, "unknown": self.settings_.unknown}
        unknown = self.table_.encode(X, **how).isnan().to(values.device)
        values[:, : self.table_.size].masked_fill_(unknown, torch.nan)
        given = missing_cells(X), values, stream, options, first
        return Cells(self.model_, self.table_, X, *given)

    @available_if(can("classify"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(class | row), shape (rows, classes), in the order of ``classes_``."""
        check_is_fitted(self)
        stream = self.draws(None, "classes")

        def ask(values: Tensor) -> np.ndarray:
            return self.in_chunks(values, lambda m, rows: m.class_log_prob(rows, stream)).numpy()

        return self.over(self.validated(X), ask)

    @available_if(can("classify"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | row), shape (rows, classes), in the order of ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    @available_if(can("classify"))
    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, in the labels' own type."""
        best = self.predict_log_proba(X).argmax(1)
        return self.classes_[best]

    @property
    def classes_(self) -> np.ndarray:
        """The classes in sorted order, where labels were learnt."""
        labels = None if "table_" not in vars(self) else self.table_.labels
        if labels is None:
            raise AttributeError(
                f"this {type(self).__name__} learnt no labels, and has no classes_"
            )
        return labels.classes

    # ------------------------------------------------------------ details of these

    def over(self, X: Any, ask: Callable[[Tensor], np.ndarray], binary: bool = True) -> np.ndarray:
        """Answers to all rows, a block of encoded ones at a time.

        Parameters
        ----------
        X : array or frame of shape (n_samples, d)
            Rows as :meth:`validated` gives them, which may be a memory map.
        ask : callable
            Encoded rows (n, size), in float64 with the label's columns free, → answers (n, …).
        binary : bool
            Whether greys are made binary, and tied scores drawn, first.

        Returns
        -------
        ndarray of shape (n_samples, …)
        """
        found = np.empty(0)
        for rows in ranges(len(X), self.table_):
            part = ask(self.values(slab(X, rows), binary, rows.start))
            if not rows.start:
                found = np.empty((len(X), *part.shape[1:]), part.dtype)
            found[rows] = part
            release(X)
        return found

    def values(self, X: Any, binary: bool = True, first: int = 0) -> Tensor:
        """Encoded rows in float64 with the label's columns free; greys, and scores that are tied,
        as one fixed draw each where the rows are ``binary``. Errors call the first row ``first``.
        """
        how: dict[str, Any] = {"unknown": self.settings_.unknown, "ties": binary, "first": first}
        sharp = self.settings_.binarise if binary else None
        values = fixed_draw(self.table_, X, sharp, self.stream, **how)
        blank = torch.full((len(values), self.table_.classes), torch.nan, dtype=values.dtype)
        return torch.cat([values, blank], 1)

    def _log_prob(self, values: Tensor) -> np.ndarray:
        """Scores up to log Z, in the model's scale; equal rows are worked out once."""
        rows, places = torch.unique(values.nan_to_num(nan=_BLANK), dim=0, return_inverse=True)
        rows = rows.masked_fill(rows == _BLANK, torch.nan)
        stream = self.stream.child("bound")
        bound, samples = "bound" in self.capabilities_, getattr(self.settings_, "bound_samples", 1)

        def score(model: Any, part: Tensor) -> Tensor:
            return model.log_prob_bound(part, stream, samples) if bound else model.log_prob(part)

        return self.in_chunks(rows, score)[places].numpy()

    @settled()
    def in_chunks(self, values: Tensor, ask: Callable[[Any, Tensor], Tensor]) -> Tensor:
        """Answers of the model in float64: a row's does not depend on the rows beside it."""
        precise = _PRECISE.get(self.model_)
        if precise is None:
            precise = _PRECISE[self.model_] = copy.deepcopy(self.model_).double().eval()
        with torch.no_grad():
            parts = [ask(precise, rows.to(self.settings_.device)) for rows in values.split(CHUNK)]
        return torch.cat(parts).cpu().double()

    def forget(self) -> None:
        """Drop what was worked out from parameters that have changed."""
        self.numbers_ = {}
        self.__dict__.pop("run_", None)  # its folder has the model as it was
        _PRECISE.pop(self.model_, None)

    def _unnormalised(self, values: Tensor) -> np.ndarray:
        """Scores up to log Z of encoded rows, in the data's own scale."""
        return self._log_prob(values) - self._log_volume(values)

    def _log_z(self) -> float:
        return self.log_partition_.value if "normaliser" in self.capabilities_ else 0.0

    def _log_volume(self, values: Tensor) -> np.ndarray:
        """What log p is less in the data's own scale: that of a row's observed cells, (rows,)."""
        return self.table_.log_volume(values[:, : self.table_.size]).numpy()

    @settled()
    def _work_out(self, options: Mapping[str, Any] | None, stream: Stream) -> Measure:
        """log Z, with a bar; a signal is met as in training."""
        with Work("log Z", verbose=bool(self.settings_.verbose)) as progress:
            return self.model_.log_normaliser(stream, progress, **(options or {}))

    def _keep(self, name: str, found: Measure) -> Measure:
        """Keep a number that took seconds, in the run folder too where there is one."""
        self.numbers_[name] = found
        if self.run_ is not None:
            numbers = {name: one.to_json() for name, one in self.numbers_.items()}
            with contextlib.suppress(RunError):  # a folder that may only be read
                self.run_.update_config(numbers=numbers)
        return found

    def given_rows(self, given: Any, n: int) -> Any:
        """Given cells as ``n`` rows with the table's columns."""
        if hasattr(given, "to_frame") and given.ndim == 1:  # a row of a frame
            given = given.to_frame().T
        if not hasattr(given, "iloc"):
            given = np.asarray(given, dtype=object if _keeps_cells([given]) else None)
            given = np.broadcast_to(given, (n, len(given))) if given.ndim == 1 else given
        elif len(given) == 1:
            given = given.iloc[[0] * n]
        given = self.table_.match(given, "given")
        if given.shape != (n, self.table_.width):
            width = self.table_.width
            raise ValueError(
                f"given: expected shape ({width},) or ({n}, {width}), found {given.shape}"
            )
        return given

    def held_codes(self, y: Any, n: int) -> np.ndarray | None:
        """Class numbers of ``n`` rows to draw, −1 where missing; None where none are asked for."""
        if y is None:
            return None
        if (labels := self.table_.labels) is None:
            raise ValueError(
                f"y={y!r:.60}: this {type(self).__name__} learnt no labels to draw rows by; leave "
                "y out"
            )
        codes = labels.encode([y] if np.ndim(y) == 0 else y)
        if np.ndim(y) and len(codes) != n:
            raise ValueError(f"y: expected one label, or {n} of them, found {len(codes)}")
        return np.broadcast_to(codes, n)

    def held_cells(self, rows: Any, y: Any, n: int) -> Tensor | None:
        """Encoded cells to hold, NaN where free; the label's columns at the end."""
        table, codes = self.table_, self.held_codes(y, n)
        if rows is None and table.labels is None:
            return None
        if rows is not None and "complete" not in self.capabilities_:
            raise ValueError(f"given: a {type(self).__name__} {self.cannot('complete')}")
        held = _held(table, n, codes)
        if rows is not None:
            how = {"told": False, "unknown": self.settings_.unknown}
            held[:, : table.size] = table.encode(rows, name="given", **how)
        return held.to(self.settings_.device)

    def _refuse_options(self, options: Mapping[str, Any]) -> None:
        known = inspect.signature(self.model_.sample).parameters
        for name in options:
            if name not in known:
                others = ", ".join(list(known)[3:]) or "none"
                raise ValueError(f"{name}: no option of this model's samples; there are: {others}")

    def draws(self, random_state: RandomState, name: str) -> Stream:
        """The stream of a method: by its own ``random_state``, else by the model's seed."""
        return (self.stream if random_state is None else as_stream(random_state)).child(name)

    # ------------------------------------------------------------ run folder

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the fitted model as a run folder that :func:`equilibria.load` reads."""
        check_is_fitted(self)
        run = Run.create(path, self._config(), overwrite=overwrite)
        for row in self.history_:
            run.log(row)
        self.write_beside(run)
        self.write(run)

    @classmethod
    def from_run(cls, run: Run, device: str | None = None) -> Any:
        """A fitted estimator from a run folder whose training has ended."""
        return cls.configured(run, device).restore(run).handed_over()

    @classmethod
    def go_on(cls, run: Run, X: Any, y: Any = None) -> Any:
        """Go on with a run that was stopped; the data must be those it was started with."""
        return cls.configured(run).proceed(run, X, y).handed_over()

    @settled()
    def restore(self, run: Run) -> Any:
        """Build the model and load what a run has of it."""
        with damage_named(run):
            plan = self.build(self.table_, self.stream)
            tensors, metadata, logged = run.load_model()
            _fill(plan.model, self.migrated_tensors(tensors))
            self.model_ = plan.model.to(self.device).eval()
            self.n_steps_ = int(metadata["steps"])
            self.history_, self.health_ = run.metrics(logged), list(run.config.get("health", []))
        self.__dict__["run_"] = run
        return self

    def proceed(self, run: Run, X: Any, y: Any) -> Any:
        """Go on with a training from its last checkpoint; one that has ended is loaded."""
        if "data_digest" not in run.config:
            raise RunError(
                f"run={str(run.path)!r} holds a model that was saved, and no training to go on "
                "with: use equilibria.load"
            )
        X, y, origin = self.opened(X, y)
        X = self.validated(X)
        codes = self.codes(self.table_, y, len(X))
        if digest(X, codes) != run.config["data_digest"]:
            raise ValueError(
                "X: these are not the data that the run was started with (their SHA-256 differs); "
                "give it the same rows in the same order"
            )
        return self.restore(run) if run.ended() else self.train(self.table_, X, codes, origin, run)

    def migrated_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a model file by the names of this version."""
        return tensors

    def attach(self, run: Run) -> None:
        """Take up what a run folder holds beside config and model; nothing by default."""

    def write_beside(self, run: Run) -> None:
        """Write what :meth:`attach` takes up; nothing by default."""

    def handed_over(self) -> Any:
        """The model in an estimator of its own, whose parameters the user may change."""
        given = {field.name: getattr(self, field.name) for field in parameters(self)}
        return type(self)(**{**given, **self.asked_}).adopt(self)

    @classmethod
    def configured(cls, run: Run, device: str | None = None) -> Any:
        """The estimator as it was before training: parameters, table, seed."""
        with damage_named(run):
            config = migrated(cls, run)
            checks = {field.name: field.metadata["check"] for field in parameters(cls)}
            params = config["params"]
            unknown = [name for name in params if name not in checks]
            if unknown:
                raise RunError(
                    f"run={str(run.path)!r} has parameters that this version does not know: "
                    f"{unknown}; use the version that wrote it"
                )
            checks["device"] = lambda name, value: value  # another one may be asked for now
            fitted = cls(**{name: checks[name](name, from_plain(v)) for name, v in params.items()})
            fitted.seed_ = int(config["seed"])
            fitted.table_ = Table.from_json(config["table"])
            for name, value in config.get("kept", {}).items():
                setattr(fitted, name, from_plain(value))
            numbers = config.get("numbers", {})
            fitted.numbers_ = {k: Measure.from_json(value) for k, value in numbers.items()}
            fitted.n_features_in_ = fitted.table_.width
            if fitted.table_.names is not None:
                fitted.feature_names_in_ = np.array(fitted.table_.names, dtype=object)
        fitted.device = check.device()("device", fitted.device if device is None else device)
        fitted.attach(run)
        return fitted

    def _create_run(
        self, X: Any, codes: np.ndarray | None, origin: Any, group: Processes
    ) -> Run | None:
        if self.out is None:
            return None
        if not group.writes:
            return Run(self.out, self._config())
        source = {"data_digest": digest(X, codes), "data": origin}
        run = Run.create(self.out, {**self._config(), **source}, overwrite=self.overwrite)
        self.write_beside(run)
        return run

    def _config(self) -> dict[str, Any]:
        used = self.settings_
        params = {field.name: plain(getattr(used, field.name)) for field in parameters(self)}
        params.update(random_state=self.seed_, out=None, overwrite=False)
        table = self.table_.to_json()
        numbers = {name: found.to_json() for name, found in self.numbers_.items()}
        config = {"model": self.name, "params": params, "seed": self.seed_, "table": table}
        return {**config, "kept": self._kept(), "numbers": numbers}

    def _kept(self) -> dict[str, Any]:
        """What a run keeps beside the parameters, as JSON."""
        return {name: plain(getattr(self, name)) for name in (*self.kept, "asked_")}

    def write(self, run: Run) -> None:
        run.update_config(health=self.health_, kept=self._kept())
        run.save_model(self.model_.state_dict(), {"steps": self.n_steps_})

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "run_"}


# Behind scikit-learn's wrapper for set_output, which would hide that a method is not available.
for _method in ("transform", "fit_transform"):
    setattr(Trained, _method, available_if(can("features"))(getattr(Trained, _method)))


@estimator
class Estimator(Trained):
    """Base of the generative models: what the columns are is found in the data, or said."""

    kinds: Any = param(
        "auto",
        "What the columns are: one of binary, categorical, real, positive, spin, picture for all; "
        "a list or a mapping (by name or place) for some of them; mixed, each by what it holds. "
        "Auto takes a table with text as mixed; else binary where all values are in [0, 1] or "
        "value_range is given, which are then probabilities; else real.",
        check.anything("a kind, or kinds by column"),
    )
    value_range: Any = param(
        None,
        "Smallest and largest value that the data can have, such as (0, 255).",
        optional(sequence(number(), 2, "two numbers", length=2)),
    )
    picture_shape: Any = param(
        None,
        "(height, width), or (height, width, 3) for colours, where rows are flattened pictures.",
        optional(sequence(whole(1), 2, "(height, width), or (height, width, 3) for colours")),
    )
    unknown: str = param(
        "refuse",
        "What a category becomes that fit did not see, in rows that come later: refused, or taken "
        "as a missing cell with a warning. In a column with rare values it is one more of them.",
        choice("refuse", "missing"),
    )
    labels: bool = param(False, "Whether y is learnt too, beside the columns.", flag())
    missing_label: Any = param(
        None, "What stands for a missing label beside NaN and None.", check.anything("a label")
    )
    minutes: Any = param(
        None,
        "A budget in place of a number of steps (RBM: of passes; DBM: of both stages), found once "
        "by timing the first updates, and kept with the run. log Z is not counted.",
        optional(number(0, above=True)),
    )
    binarise: Any = param(
        "resample",
        "How grey values of binary columns become zeros and ones: by a new draw in every batch, by "
        "one fixed draw, by a threshold of .5; None leaves them as they are.",
        optional(choice(*BINARISE)),
    )


_PRECISE: weakref.WeakKeyDictionary[Model, Model] = weakref.WeakKeyDictionary()
"""Models in float64, worked out when they are first asked."""
_BLANK = -(2.0**60)  # in place of NaN, whose rows torch.unique would not find equal


def _held(table: Table, n: int, codes: np.ndarray | None) -> Tensor:
    """Free cells of ``n`` encoded rows, and their label's columns behind them."""
    held = torch.full((n, table.size + table.classes), torch.nan, dtype=torch.float32)
    if codes is not None:
        known = np.flatnonzero(codes >= 0)
        held[known, table.size :] = 0.0
        held[known, table.size + codes[known]] = 1.0
    return held


def _together(blocks: Iterator[Any], n: int) -> Any:
    """Blocks of ``n`` rows, arrays or frames, as one; arrays without a second copy of them all."""
    first = next(blocks)
    if len(first) == n:
        return first
    if is_frame(first):
        import pandas as pd

        return pd.concat([first, *blocks])
    found, begin = np.empty((n, *first.shape[1:]), first.dtype), 0
    for part in itertools.chain([first], blocks):
        found[begin : begin + len(part)] = part
        begin += len(part)
    return found


def ranges(n: int, table: Table) -> Iterator[slice]:
    """Ranges of n rows: chunks that make a million cells of a model, or one chunk."""
    return blocks(n, table.size + table.classes, CHUNK)


def plain(value: Any) -> Any:
    """A parameter as JSON knows it; an estimator by its name and its own parameters."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list | range):
        return [plain(entry) for entry in value]
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, Mapping):  # in pairs, since JSON knows no keys but text
        return {"pairs": [[plain(key), plain(entry)] for key, entry in value.items()]}
    if isinstance(value, Trained):
        own = {field.name: plain(getattr(value, field.name)) for field in parameters(value)}
        return {"estimator": value.name, "params": own}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def from_plain(value: Any) -> Any:
    """The inverse of :func:`plain`, but that a list has become a tuple."""
    if isinstance(value, list):
        return tuple(from_plain(entry) for entry in value)
    if isinstance(value, dict) and "estimator" in value:
        own = {name: from_plain(entry) for name, entry in value["params"].items()}
        return all_estimators()[value["estimator"]](**own)
    if isinstance(value, dict) and "slice" in value:
        return slice(*value["slice"])
    if isinstance(value, dict):
        return {from_plain(key): from_plain(entry) for key, entry in value["pairs"]}
    return value


def _fill(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Load a state whose buffers may have another number of rows (chains, kept conditions)."""
    for path, buffer in list(model.named_buffers()):
        saved = tensors.get(path)
        if saved is not None and saved.shape != buffer.shape:
            owner, _, name = path.rpartition(".")
            setattr(model.get_submodule(owner), name, torch.empty_like(saved, device=buffer.device))
    model.load_state_dict(dict(tensors))


def _refuse_few(rows: int, least: int) -> None:
    if rows < least:
        raise ValueError(f"X: {rows} sample(s) while a minimum of {least} is required")


def _keeps_cells(X: Any) -> bool:
    """Whether an array-like that is no frame has text, or whole numbers that no float can hold."""
    if isinstance(X, np.ndarray | Chosen) and X.dtype != object:
        return X.dtype.kind in "US"
    try:
        cells = np.asarray(X, dtype=object)
    except (TypeError, ValueError):
        return False
    large = (
        isinstance(cell, str) or (type(cell) is int and abs(cell) > 2**53) for cell in cells.flat
    )
    return cells.ndim == 2 and any(large)


@contextlib.contextmanager
def damage_named(run: Run) -> Iterator[None]:
    """What a damaged configuration or model makes go wrong, as one sentence."""
    try:
        yield
    except RunError:
        raise
    except durable.MALFORMED as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(
            f"run={str(run.path)!r} is damaged: its config.json or its model is not what was "
            f"written ({what}); restore it from a copy"
        ) from error
