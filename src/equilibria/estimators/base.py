"""What every estimator shares: scikit-learn's habits around schema, stages, trainer and run folder."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from equilibria.data import Schema
from equilibria.data.columns import is_frame
from equilibria.errors import RunError
from equilibria.estimators.parameters import pair, usable_device
from equilibria.random import RandomState, Stream, as_seed, as_stream
from equilibria.training import health
from equilibria.training.distributed import Processes, processes
from equilibria.training.progress import Work
from equilibria.training.run import Run
from equilibria.training.stage import Stage
from equilibria.training.trainer import Trainer

__all__ = ["GenerativeEstimator"]


class GenerativeEstimator(BaseEstimator):
    """Base of the estimators; a subclass names its model, game, solver and stages.

    A subclass gives ``_schema_kind``, ``_validate()`` (hyperparameters), ``_stages(X, codes, rank, world)`` (modules and stages),
    ``_finish(stages, progress)`` (what is worked out once at the end), ``_tensors()`` and ``_restore(tensors, metadata)`` (the model
    file), and ``sample``.
    """

    model_name: ClassVar[str] = ""

    # Attributes set by fit; listed for the reader and the type checker.
    schema_: Schema
    seed_: int
    n_features_in_: int
    history_: list[dict[str, Any]]
    health_: list[str]
    _known_schema: Schema | None = None  # of an estimator that is part of another, which knows what the columns are
    _data_origin: dict[str, Any] | None = None  # of the rows, where they can be loaded again

    def fit(self, X: Any, y: Any = None) -> Any:
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The data; rows of pictures are flattened. DataFrames are taken by their values.
        y : array-like of shape (n_samples,), optional
            Labels, for a model that has a use for them; otherwise present for scikit-learn's conventions.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For unusable data or parameters, before any work.
        equilibria.errors.DivergedError
            When training became non-finite.
        equilibria.errors.TrainingInterrupted
            When SIGINT or SIGTERM came; with ``out`` the state has been saved.
        """
        self._validate()
        table = self._table(X, reset=True)
        codes = self._codes(y, len(table), reset=True)
        group = processes(self.device)
        if self.out is not None and group.writes:
            Run.refuse_taken(self.out, self.overwrite)
        self._begin(table, group, X)
        stages = self._stages(table, codes, group.rank, group.world)
        return self._train(stages, self._create_run(table, codes, group), group, resume=False)

    def _begin(self, X: np.ndarray, group: Processes, whole: Any = None) -> None:
        """Forget an earlier fit; find out what the columns are and which seed this one has.

        ``whole`` is what ``X`` was made from: a DataFrame knows the type of each column.
        """
        schema = self._infer(X if not is_frame(whole) or self._schema_kind() != "mixed" else whole)
        self.__dict__.pop("n_steps_", None)
        self.schema_, self.seed_ = schema, as_seed(self.random_state)
        if not isinstance(self.random_state, int | np.integer):  # each process has drawn a seed of its own
            self.seed_ = group.agree(self.seed_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_steps_")

    def _train(self, stages: list[Stage], run: Run | None, group: Processes, resume: bool) -> Any:
        """Play the stages, work out what is worked out once, save."""
        shown = bool(self.verbose) or run is not None
        trainer = Trainer(stages, self._stream().child("train"), run, group, verbose=shown)
        advice = "" if run is None else f"The state is saved; go on with: equilibria resume {run.path}"
        with trainer:  # until the model is written: what is worked out at the end may take minutes
            trainer.fit(resume=resume)
            with Work("log Z", shown and group.writes, advice) as progress:
                self._finish(stages, progress)
            self.n_steps_, self.history_ = trainer.step, trainer.history
            self.health_ = [*trainer.warnings, *health.sentences(self.history_, **self._facts())]
            if run is not None and group.writes:
                self._write(run)
        return self

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the fitted model as a run folder that :func:`equilibria.load` reads.

        Raises
        ------
        RunError
            When ``path`` is taken or cannot be written; the message names the argument ``out``.
        """
        check_is_fitted(self)
        run = Run.create(path, self._config(), overwrite=overwrite)
        for row in self.history_:
            run.log(row)
        self._write(run)

    def _write(self, run: Run) -> None:
        run.update_config(health=self.health_)
        run.save_model(self._tensors(), {**self._metadata(), "steps": self.n_steps_})

    @classmethod
    def _from_run(cls, run: Run, device: str | None = None) -> Any:
        """A fitted estimator from a run folder whose training has ended."""
        estimator = cls._unfitted(run, device)
        tensors, metadata = run.load_model()
        with _damage_named(run):
            estimator.history_, estimator.health_ = run.metrics(), list(run.config.get("health", []))
            estimator._restore(tensors, metadata)
            estimator.n_steps_ = int(metadata["steps"])
        return estimator

    @classmethod
    def _unfitted(cls, run: Run, device: str | None = None) -> Any:
        """The estimator as it was before training: parameters, schema, seed."""
        with _damage_named(run):
            estimator = cls._configured(run)
        estimator.device = estimator.device if device is None else device
        usable_device(estimator.device)
        return estimator

    @classmethod
    def _configured(cls, run: Run) -> Any:
        config = run.config
        known = inspect.signature(cls.__init__).parameters
        unknown = [name for name in config["params"] if name not in known]
        if unknown:
            raise RunError(
                f"run={str(run.path)!r} has parameters that this version does not know: {unknown}; use the version that wrote it"
            )
        estimator = cls(**{name: _from_plain(value) for name, value in config["params"].items()})
        estimator.seed_ = int(config["seed"])
        estimator.schema_ = Schema.from_json(config["schema"])
        estimator.n_features_in_ = estimator.schema_.width
        if estimator.schema_.columns is not None:
            estimator.feature_names_in_ = np.array(estimator.schema_.columns, dtype=object)
        return estimator

    @classmethod
    def _resumed(cls, run: Run, X: Any, y: Any = None) -> Any:
        """Go on with a run that was stopped; the data must be those it was started with."""
        if "data_digest" not in run.config:
            raise RunError(f"run={str(run.path)!r} holds a model that was saved, and no training to go on with: use equilibria.load")
        estimator = cls._unfitted(run)
        X = estimator._table(X, reset=False)
        codes = estimator._codes(y, len(X), reset=False)
        if _digest(X, codes) != run.config["data_digest"]:
            raise ValueError(
                "X: these are not the data that the run was started with (their SHA-256 differs); give it the same rows in the same order"
            )
        group = processes(estimator.device)
        return estimator._train(estimator._stages(X, codes, group.rank, group.world), run, group, resume=True)

    # ---------------------------------------------------------------- data

    def _table(self, X: Any, reset: bool) -> np.ndarray:
        dtype = None if self._schema_kind() in ("categorical", "mixed") else "numeric"  # categories may be text
        finite = "allow-nan" if self._takes_missing else True
        return validate_data(self, X, reset=reset, dtype=dtype, ensure_min_samples=2 if reset else 1, ensure_all_finite=finite)

    def _codes(self, y: Any, rows: int, reset: bool) -> np.ndarray | None:
        """Labels as whole numbers, −1 where missing; None where the model has no use for them."""
        return None

    def _infer(self, X: np.ndarray) -> Schema:
        if self._known_schema is not None:
            return self._known_schema
        low, high = (None, None) if self.value_range is None else pair("value_range", self.value_range)
        shape = self.picture_shape
        if shape is not None and not _is_picture_shape(shape):
            raise ValueError(f"picture_shape={shape!r}: expected (height, width), or (height, width, 3) for colours")
        columns, shape = getattr(self, "feature_names_in_", None), None if shape is None else list(shape)
        try:
            options: dict[str, Any] = {"low": low, "high": high, "shape": shape, "columns": columns, "kinds": getattr(self, "kinds", None)}
            options |= {"kind": self._schema_kind(), "groups": self._groups}
            return Schema.infer(X, allow_missing=self._takes_missing, **options)
        except ValueError as error:
            message = _in_own_words(str(error))
            raise ValueError(message if self._groups is None else re.sub(r"\bgroup(s?)\b", r"tower\1", message)) from error

    def _encode(self, X: np.ndarray, dtype: torch.dtype = torch.float32, *, name: str = "X", allow_missing: bool = False) -> Tensor:
        """Rows as the model's values; what the fitted schema refuses is said of ``name``."""
        try:
            return self.schema_.encode(X, dtype, allow_missing=allow_missing)
        except ValueError as error:  # behind the semicolon a schema advises on training, which is over
            raise ValueError(f"{name}: {str(error).partition(';')[0]}; give rows like those the model was trained on") from error

    def _framed(self, rows: np.ndarray, typed: bool = True) -> Any:
        """Rows under the columns' names, where the model was trained on a DataFrame, in the columns' own types unless they are means."""
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return rows
        try:
            import pandas
        except ImportError:  # a run that was trained elsewhere, on a DataFrame
            return rows
        frame = pandas.DataFrame(rows, columns=names)
        if not typed:
            return frame.infer_objects()
        return frame if self.schema_.dtypes is None else frame.astype(dict(zip(names, self.schema_.dtypes, strict=True)))

    def _pictures(self, values: Tensor, shape: Sequence[int] | None = None) -> np.ndarray:
        """Encoded rows as pictures in [0, 1], for the eye; ``shape`` says theirs where it is not the data's."""
        assert self.schema_.shape is not None
        pictures = values.detach().cpu().float().view(len(values), *(shape or self.schema_.shape))
        return ((pictures + 1) / 2 if self.schema_.kind == "picture" else pictures).clamp(0, 1).numpy()

    # ---------------------------------------------------------------- run folder

    def _stream(self) -> Stream:
        return Stream(self.seed_).child(self.model_name)

    def _draws(self, random_state: RandomState, name: str) -> Stream:
        """The stream of a method: keyed by its own ``random_state``, else by the estimator's seed."""
        return (self._stream() if random_state is None else as_stream(random_state)).child(name)

    def _create_run(self, X: np.ndarray, codes: np.ndarray | None, group: Processes) -> Run | None:
        if self.out is None:
            return None
        if not group.writes:
            return Run(self.out, self._config())
        origin = {"data_digest": _digest(X, codes), "data": self._data_origin}
        return Run.create(self.out, {**self._config(), **origin}, overwrite=self.overwrite)

    def _config(self) -> dict[str, Any]:
        params = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        params.update(random_state=self.seed_, out=None, overwrite=False)
        return {"model": self.model_name, "params": params, "seed": self.seed_, "schema": self.schema_.to_json()}

    # ---------------------------------------------------------------- for subclasses

    def _schema_kind(self) -> str:
        raise NotImplementedError

    def _validate(self) -> None:
        raise NotImplementedError

    @property
    def _takes_missing(self) -> bool:
        """Whether NaN in X is a missing value."""
        return False

    @property
    def _groups(self) -> Any:
        """Columns that are layers of their own, by name; None where the schema groups them."""
        return None

    def _stages(self, X: np.ndarray, codes: np.ndarray | None, rank: int, world: int) -> list[Stage]:
        raise NotImplementedError

    def _finish(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        raise NotImplementedError

    def _tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def _metadata(self) -> dict[str, Any]:
        return {}

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        raise NotImplementedError

    def _facts(self) -> dict[str, Any]:
        """What health should know beside the history."""
        return {}


@contextlib.contextmanager
def _damage_named(run: Run) -> Iterator[None]:
    """What a damaged configuration or model makes go wrong, as one sentence."""
    try:
        yield
    except RunError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(
            f"run={str(run.path)!r} is damaged: its config.json or its model is not what was written ({what}); restore it from a copy"
        ) from error


def _is_picture_shape(shape: Any) -> bool:
    if not isinstance(shape, Sequence | np.ndarray) or len(shape) not in (2, 3):
        return False
    return all(isinstance(side, int | np.integer) and side > 0 for side in shape) and (len(shape) == 2 or shape[2] in (1, 3))


def _in_own_words(message: str) -> str:
    """A schema's message with the estimators' names of its arguments."""
    message = re.sub(r"\blow=([^\s,]+), high=([^\s,:)]+)", r"value_range=(\1, \2)", message)
    return re.sub(r"\bshape=", "picture_shape=", message)


def _digest(X: np.ndarray, codes: np.ndarray | None) -> str:
    digest = hashlib.sha256(f"{X.dtype.str}{X.shape}".encode())
    digest.update(repr(X.tolist()).encode() if X.dtype.hasobject else np.ascontiguousarray(X).view(np.uint8).data)
    if codes is not None:
        digest.update(codes.tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A parameter as JSON knows it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list | range):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):  # in pairs, since JSON knows no keys but text
        return {"pairs": [[_plain(key), _plain(entry)] for key, entry in value.items()]}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _from_plain(value: Any) -> Any:
    """A parameter as it was given, but that a list has become a tuple."""
    if isinstance(value, list):
        return tuple(_from_plain(entry) for entry in value)
    return {_from_plain(key): _from_plain(entry) for key, entry in value["pairs"]} if isinstance(value, dict) else value
