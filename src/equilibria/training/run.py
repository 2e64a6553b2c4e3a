"""The run folder: the only contract between training and what reads it.

======================  =========================================================================
``config.json``         what was trained and how, with the folder's format and version; sealed
``metrics.jsonl``       one JSON object a line, each with the global ``step`` it was measured at
``checkpoints/``        the last two states to go on from, each a folder ``step-000000123``
``samples/``            pictures drawn during training
``model.safetensors``   the trained tensors; ``model.json`` has their SHA-256 and metadata
``lock``                held by the process that trains
======================  =========================================================================

What belongs together is sealed together: the configuration has a digest of its own and a random
name of the run, which the manifest of each checkpoint and ``model.json`` repeat, beside size and
digest of the metrics until then. So a changed rate, a line of other metrics, or a file of another
run is found before any of it is used. Formats 1 and 2 have no such seals, and are read without.

A run that overwrites another is written into ``.new-NAME`` within the folder, and the former run
stays as it is, until the new one can be gone on with: it has its first checkpoint, or its model.
Then that folder is renamed ``.next-run``, the former run's own files are deleted and the new ones
moved into their place, each step such that whoever locks the run next can finish.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import operator
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from equilibria import __version__, durable
from equilibria.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FORMAT", "PAGE_MARK", "Checkpoint", "Run", "Saved", "is_page", "writing"]

FORMAT = 4  # of a new folder; 1 is that of version 0.1.0, 2 has no seals, 3 other defaults
KEEP = 2  # checkpoints
PAGE_MARK = '<meta name="generator" content="equilibria">'
_CONFIG, _METRICS, _LOCK = "config.json", "metrics.jsonl", "lock"
_MODEL, _RECORD, _PAGE = "model.safetensors", "model.json", "report.html"
_NEXT = ".next-run"  # what is about to replace the run in the folder
_NEW = re.compile(r"\.new-[0-9a-f]{32}")  # what is to
_STEP = re.compile(r"step-(\d{9,})")
_ASIDE = re.compile(r"\.(config\.json|metrics\.jsonl|model\.safetensors|model\.json)\.\d+\.tmp")
_LEFT = (".step-*.tmp", ".step-*.old")  # by a save or a deletion that was cut short
_FOLDERS = ("checkpoints", "samples")
_OWN = (_METRICS, _MODEL, _RECORD, "evaluation.json", "verdict.json")
_PICTURES = f"*-{'[0-9]' * 9}.png"
_EMPTY = durable.fingerprint(b"")
_ENTRIES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("equilibria", "run", "model", "data_digest"), (str,)),
    **dict.fromkeys(("format", "seed"), (int,)),
    **dict.fromkeys(("params", "table", "schema", "kept", "numbers"), (dict,)),
    **dict.fromkeys(("labels", "data"), (dict, type(None))),
    "health": (list,),
    "beside": (dict, list),
}
"""Types of the configuration's entries. What is in them is read by whoever knows it: parameters by
their table, columns by :meth:`Table.from_json`, numbers by :meth:`Measure.from_json`."""


class Checkpoint(NamedTuple):
    """A verified checkpoint: ``skipped`` says of each newer one what is damaged, and ``metrics``
    (None in earlier formats) is the fingerprint of the rows logged until then."""

    step: int
    state: Any
    skipped: list[str]
    metrics: Mapping[str, Any] | None


class Saved(NamedTuple):
    """A verified model: its tensors, on the CPU, its metadata, and the fingerprint of its metrics,
    as a :class:`Checkpoint` has it."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    metrics: Mapping[str, Any] | None


class Run:
    """A run folder: its ``path`` and its ``config``. :meth:`create` or :meth:`open` give one.

    >>> import tempfile
    >>> run = Run.create(Path(tempfile.mkdtemp()) / "first", {"model": "rbm"})
    >>> run.log({"step": 10, "cost": 0.5})
    >>> Run.open(run.path).metrics()
    [{'step': 10, 'cost': 0.5}]
    """

    def __init__(self, path: Path | str, config: dict[str, Any]):
        self.path, self.config = Path(path), config
        self._home = self.path  # where its files are: aside, until it has replaced a former run
        self._locked = False

    # ---------------------------------------------------------------- create and open

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], overwrite: bool = False) -> Run:
        """Make a run folder, with its parents.

        ``path`` is a folder that does not exist or is empty. With ``overwrite`` it may hold a run
        that no process is training: that run stays until this one has its first checkpoint or its
        model; then its files are deleted. A warning names any others, which stay. ``format``, the
        version (``equilibria``) and a random name (``run``) are added to ``config``.
        """
        name = os.urandom(16).hex()
        config = _plain({**config, "format": FORMAT, "equilibria": __version__, "run": name})
        run = cls(path, config)
        run.begin(overwrite)
        return run

    def begin(self, overwrite: bool) -> None:
        """Write the configuration where :meth:`create` says."""
        where = f"out={str(self.path)!r}"
        try:
            if self.refuse_taken(self.path, overwrite):
                self._stand_aside(where)
            self._home.mkdir(parents=True, exist_ok=True)
            durable.replace(self._home / _CONFIG, self._text())
        except OSError as error:
            what = f"{where} cannot be written ({error})"
            raise RunError(f"{what}: choose a folder that you may write to") from error

    @classmethod
    def refuse_taken(cls, path: Path | str, overwrite: bool = False) -> bool:
        """Refuse what :meth:`create` would; returns whether an earlier run would be deleted."""
        path, where = Path(path), f"out={str(path)!r}"
        if not path.exists():
            above = next(folder for folder in path.absolute().parents if folder.exists())
            if not above.is_dir():
                what = f"{where} cannot be written ({above} is a file)"
                raise RunError(f"{what}: choose a folder that you may write to")
            return False
        if not path.is_dir():
            raise RunError(f"{where} is a file: name a folder")
        if all(_ASIDE.fullmatch(entry.name) for entry in path.iterdir()):
            return False
        try:
            cls.open(path).refuse_unsealed()
        except RunError as error:
            what = f"{where} holds files that are no run of this version, and was left untouched"
            raise RunError(f"{what}: choose a new or an empty folder") from error
        if not overwrite:
            how = f"go on with it (equilibria resume {path}), or overwrite it"
            raise RunError(f"{where} holds a run: choose another folder, {how}")
        return True

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run folder of this version or an earlier one; a RunError says why it is none."""
        path, where = Path(path), f"run={str(path)!r}"
        file = path / _CONFIG
        if (path / _NEXT).is_dir():  # a process replaces the run there, or was killed then
            with contextlib.suppress(RunError), cls(path, {}).lock():
                pass
        if not os.path.lexists(file):
            what = f"is not a run (it has no {_CONFIG})" if path.exists() else "does not exist"
            raise RunError(f"{where} {what}: name the folder that training wrote")
        with _advised("restore it from a copy"):
            data = durable.read(file)
            config = durable.parse(data, file)
        version = config.get("equilibria") if isinstance(config, dict) else None
        ours = isinstance(version, str) and (version == "unknown" or version[:1].isdigit())
        if not ours or type(config.get("format")) is not int:  # other programs have such a file too
            raise RunError(f"{where} is not a run: its {_CONFIG} is not one that equilibria wrote")
        with _advised("restore it from a copy"):
            sealed = "digest" in config
            config = durable.unseal(data, file) if sealed else config
            if config["format"] <= FORMAT:
                _refuse_entries(config, file, sealed)
                return cls(path, config)
        what = f"has format {config['format']}, written by equilibria {version}"
        raise RunError(f"{where} {what}; this version reads up to {FORMAT}: use a newer one")

    def refuse_unsealed(self) -> None:
        """Refuse a folder of an earlier format that nothing but its configuration calls a run."""
        if "run" in self.config or any(map(durable.complete, self._checkpoints().values())):
            return
        durable.read_sealed(self._home / _RECORD)

    @property
    def aside(self) -> bool:
        """Whether it is to replace a run that is still in the folder."""
        return self._home != self.path

    def refuse_replaced(self) -> None:
        """Refuse to write into the folder of a run that another has replaced."""
        there = self.config
        with contextlib.suppress(RunError):
            there = durable.read_sealed(self._home / _CONFIG)
        if there.get("run") != self.config.get("run"):
            raise RunError(f"run={str(self.path)!r} has been replaced by another run; save it anew")

    def update_config(self, **changes: Any) -> None:
        """Set entries of the configuration, in memory and on disk; a run that another has replaced
        has none there."""
        file = self._home / _CONFIG
        self.refuse_replaced()
        self.config = _plain({**self.config, **changes})
        with writing(file):
            durable.replace(file, self._text())

    def write_beside(self, name: str, save: Callable[[Path], Any]) -> None:
        """Have a run within this run saved, ``NAME``; the configuration says which it is."""
        if self._home != self.path and name not in Run.open(self.path).config.get("beside", ()):
            self.refuse_taken(self.path / name)
        known = self.config.get("beside", {})
        self.update_config(beside={**known, name: None})
        save(self._home / name)
        self.update_config(beside={**known, name: Run.open(self._home / name).config["run"]})

    def beside(self, name: str) -> Path:
        """The folder of a run within this run; a RunError refuses another run in its place."""
        path, file = self._home / name, self._home / _CONFIG
        if not _is_folder(path):
            raise RunError(f"{path} is missing, or no folder; restore it from a copy")
        known = self.config.get("beside", {})
        if "run" in self.config and Run.open(path).config.get("run", "") != known.get(name):
            raise RunError(f"{path} is of another run than {file}; restore it from a copy")
        return path

    def _text(self) -> bytes:
        if "run" in self.config:
            return durable.seal(self.config)
        return (json.dumps(self.config, indent=1) + "\n").encode()

    # ---------------------------------------------------------------- in place of a former run

    def written(self) -> list[Path]:
        """What this run wrote, by what it knows of itself, but for configuration and lock: files,
        and after them the folders that may be empty then."""
        home, found = self._home, list[Path]()
        for part in self.config.get("beside", ()):
            within = home / part
            if within.parent == home and _is_folder(within):
                with contextlib.suppress(RunError):
                    run = Run.open(within)
                    found += [*run.written(), within / _LOCK, within / _CONFIG]
                found.append(within)
        if _is_folder(home / "checkpoints"):
            for state in (home / "checkpoints").iterdir():
                left = any(map(state.match, _LEFT))
                if _is_folder(state) and (left or _STEP.fullmatch(state.name)):
                    found += [*(state / name for name in durable.FILES), state]
        if _is_folder(home / "samples"):
            found += home.glob(f"samples/{_PICTURES}")
        found += [home / name for name in (*_FOLDERS, *_OWN)]
        found += [home / _PAGE] if is_page(home / _PAGE) else []
        return [path for path in found if _is_folder(path) or _is_file(path)]

    def strangers(self) -> list[str]:
        """What is in the folder that this run did not write, by its path there."""
        own = {*self.written(), self._home / _CONFIG, self._home / _LOCK}

        def strange(folder: Path) -> Iterator[Path]:
            for path in folder.iterdir():
                if path not in own:
                    yield path
                elif _is_folder(path):
                    yield from strange(path)

        return sorted(str(path.relative_to(self._home)) for path in strange(self._home))

    def _stand_aside(self, where: str) -> None:
        """Be written beside the run in the folder, for now; name what will stay there."""
        former = Run.open(self.path)
        try:
            for name in _FOLDERS:
                self._folder(name)
            with former.lock():
                left = former.strangers()
        except RunError as error:
            raise RunError(f"{where} cannot be overwritten: {error}") from error
        if left:
            what = f"{where}: {', '.join(left)} belong to no run and are left as they are"
            warnings.warn(what, stacklevel=4)
        self._home = self.path / f".new-{self.config['run']}"

    def _replace_former(self) -> None:
        """Take the place of a run that is to be overwritten, since this one can be gone on with."""
        if self._home == self.path:
            return
        with contextlib.nullcontext() if self._locked else self.lock(), writing(self.path):
            durable.sync(self._home)
            os.rename(self._home, self.path / _NEXT)
            self._home = self.path
            self._finish()

    def _finish(self) -> None:
        """Let ``.next-run`` take the place of the run in the folder; killed anywhere, do it again.

        While it has a configuration, the former run is not yet deleted whole.
        """
        following = self.path / _NEXT
        if not _is_folder(following):
            return
        durable.sync(self.path)
        if (following / _CONFIG).exists():
            former = Run(self.path, {})
            with contextlib.suppress(RunError):
                former = Run.open(self.path)
            _remove(former.written())
            os.replace(following / _CONFIG, self.path / _CONFIG)
            durable.sync(self.path)
        _pour(following, self.path)
        durable.sync(self.path)

    # ---------------------------------------------------------------- metrics and pictures

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has the global ``step`` it was measured at, to the metrics.

        Infinities and NaN are written as ``Infinity`` and ``NaN``, which Python's JSON reads.
        """
        path, line = self._home / _METRICS, json.dumps(row) + "\n"
        with writing(path):
            descriptor = durable.opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with open(descriptor, "a") as file:
                file.write(line)

    def metrics(self, sealed: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The logged rows, oldest first: all, or those that a checkpoint or a model has the
        fingerprint of, verified. A last line that a crash cut short is no row."""
        path, rows = self._home / _METRICS, list[dict[str, Any]]()
        for number, line in enumerate(self._logged(sealed).split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
                rows.append({**row, "step": operator.index(row["step"])})
            except durable.MALFORMED as error:
                what = f"{path} is damaged: line {number} is not a row of metrics"
                raise RunError(f"{what}; delete that line") from error
        return rows

    def truncate_metrics(self, step: int, sealed: Mapping[str, Any] | None = None) -> None:
        """Forget the rows after ``step``, or those that are not under a seal, in one go: what a run
        does that goes on from there."""
        if sealed is None:
            rows = [row for row in self.metrics() if row["step"] <= step]
            kept = "".join(json.dumps(row) + "\n" for row in rows).encode()
        else:
            kept = self._logged(sealed)
        with writing(self._home / _METRICS):
            durable.replace(self._home / _METRICS, kept)

    def _logged(self, sealed: Mapping[str, Any] | None) -> bytes:
        """The metrics, or their beginning that has the fingerprint."""
        path = self._home / _METRICS
        data = durable.read(path) if os.path.lexists(path) else b""
        if sealed is None:
            return data
        if sealed["size"] and not data:  # nothing depends on them but what is told of the training
            warnings.warn(
                f"{path} is missing or empty: the run has no history until here", stacklevel=2
            )
            return data
        data = data[: sealed["size"]]
        if durable.fingerprint(data) != sealed:
            advice = "restore it from a copy, or delete it to do without the history"
            raise RunError(f"{path} is damaged: its rows are not those that were logged; {advice}")
        return data

    def _synced(self) -> dict[str, Any]:
        """The fingerprint of the rows logged so far, which the disk has."""
        path = self._home / _METRICS
        try:
            with open(durable.opened(path, os.O_RDONLY), "rb") as file:
                os.fsync(file.fileno())
                return durable.fingerprint(file.read())
        except FileNotFoundError:
            return _EMPTY

    def sample_path(self, step: int, name: str) -> Path:
        """``samples/NAME-<step>.png``; the folder is made."""
        path = self._folder("samples") / f"{name}-{step:09d}.png"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        return path

    # ---------------------------------------------------------------- checkpoints

    def save_checkpoint(self, state: Any, step: int) -> None:
        """Save what :func:`durable.pack` takes, after the disk has the rows logged so far.

        The last two checkpoints are kept. Those of later steps belong to a future that was given up
        by going on from an earlier one, and are deleted.
        """
        name = self.config.get("run")
        with writing(self._folder("checkpoints"), "earlier checkpoints are intact; "):
            aim = self._folder("checkpoints") / f"step-{step:09d}"
            durable.save(aim, state, step, run=name, metrics=self._synced())
        self._replace_former()
        saved, folder = self._checkpoints(), self._folder("checkpoints")
        whole = [s for s in sorted(saved) if s <= step and durable.complete(saved[s], run=name)]
        for s in saved.keys() - whole[-KEEP:]:  # a deletion cut short must not look like damage
            with contextlib.suppress(OSError):
                os.rename(saved[s], folder / f".step-{s:09d}.{os.getpid()}.tmp")
        for left in [path for pattern in _LEFT for path in folder.glob(pattern)]:
            with contextlib.suppress(OSError):
                _remove([*(left / file for file in durable.FILES), left])
            if left.exists():  # it holds what is not ours: not hidden
                with contextlib.suppress(OSError):
                    os.rename(left, folder / left.name.split(".")[1])

    def load_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that is whole; ``skipped`` says what is wrong with newer ones."""
        folder, skipped = self._folder("checkpoints"), list[str]()
        for _, path in sorted(self._checkpoints().items(), reverse=True):
            try:
                if not _is_folder(path):
                    raise RunError(f"{path} is no folder, or a link to one")
                known = durable.manifest(path)
                self._refuse_foreign(known, path)
                self._logged(known.get("metrics"))
                state, step = durable.load(path)
                return Checkpoint(step, state, skipped, known.get("metrics"))
            except RunError as error:
                skipped.append(str(error))
            except durable.MALFORMED as error:
                skipped.append(f"{path} is damaged ({error!r})")
        if not skipped:
            what = f"{folder} holds no checkpoint: the run stopped before its first one"
            raise RunError(f"{what}, so train again from the start")
        what = f"{folder} holds no usable checkpoint: {'; '.join(skipped)}"
        raise RunError(f"{what}. Restore it from a copy, or train again from the start")

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; they are not verified."""
        return sorted(self._checkpoints())

    def _checkpoints(self) -> dict[int, Path]:
        found = [(_STEP.fullmatch(p.name), p) for p in self._folder("checkpoints").glob("step-*")]
        return {int(match[1]): path for match, path in found if match}

    def _folder(self, name: str) -> Path:
        folder = self._home / name
        if os.path.lexists(folder) and not _is_folder(folder):
            raise RunError(f"{folder} is a link or a file, where a folder belongs: move it away")
        return folder

    def _refuse_foreign(self, sealed: Mapping[str, Any], path: Path) -> None:
        if sealed.get("run") != self.config.get("run"):
            raise RunError(f"{path} is of another run than {self._home / _CONFIG}")

    # ---------------------------------------------------------------- the model

    def save_model(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write the trained tensors and their ``metadata`` (what JSON can hold).

        Killed half-way, it leaves the earlier model, with the earlier metadata, or the new one.
        """
        data = durable.encode(tensors)
        record = {**durable.fingerprint(data), "metadata": _plain(metadata)}
        former: dict[str, Any] | None = None
        with contextlib.suppress(RunError):
            former, _ = self._read_model()
        with writing(self._home):
            record |= {"run": self.config.get("run"), "metrics": self._synced()}
            # Two files cannot be swapped at once: while the tensors change, the record knows both.
            durable.replace(self._home / _RECORD, durable.seal({**record, "former": former}))
            durable.replace(self._home / _MODEL, data)
            durable.replace(self._home / _RECORD, durable.seal(record))
        self._replace_former()

    def load_model(self) -> Saved:
        """Tensors, metadata and the fingerprint of the metrics, every byte verified."""
        record, data = self._read_model()
        tensors = durable.decode(data, str(self._home / _MODEL))
        return Saved(tensors, record["metadata"], record.get("metrics"))

    def ended(self) -> bool:
        """Whether the training has ended; a RunError says how to repair a model that is damaged."""
        if not os.path.lexists(self._home / _MODEL):
            return False
        self._read_model()
        return True

    def _read_model(self) -> tuple[dict[str, Any], bytes]:
        path, file = self._home / _MODEL, self._home / _RECORD
        if not os.path.lexists(path):
            what = f"{path} is missing: the training was not finished, or the file was deleted"
            raise RunError(f"{what}; resume the run")
        again = f"delete {path} and resume the run (equilibria resume {self.path})"
        trained = "data_digest" in self.config and self.config.get("format") != 1
        with _advised(again if trained else "restore it from a copy"):
            record = durable.read_sealed(file)
            self._refuse_foreign(record, file)
            former = record.pop("former", None)
            for one in (record, former or record):
                if [type(one[key]) for key in ("size", "sha256", "metadata")] != [int, str, dict]:
                    raise RunError(f"{file} is damaged: it has no size, digest or metadata")
            try:
                return record, durable.read_checked(path, record)
            except RunError:
                if not former:
                    raise
                return former, durable.read_checked(path, former)

    # ---------------------------------------------------------------- what is found of the model

    def write_result(self, name: str, content: Any) -> None:
        """Write the file ``NAME``, sealed with the digest of the model that it is about."""
        self.refuse_replaced()
        with writing(self._home / name):
            sealed = durable.seal({"model": self._model_digest(), "content": content})
            durable.replace(self._home / name, sealed)

    def read_result(self, name: str) -> Any:
        """What :meth:`write_result` wrote, or an earlier version; None where there is no file."""
        file = self._home / name
        if not os.path.lexists(file):
            return None
        data = durable.read(file)
        found = durable.parse(data, file)
        if "run" not in self.config and not (isinstance(found, dict) and "digest" in found):
            return found
        found = durable.unseal(data, file)
        if found.get("model") != self._model_digest():
            raise RunError(f"{file} is about another model than the one in {self.path}")
        return found.get("content")

    def _model_digest(self) -> Any:
        return durable.read_sealed(self._home / _RECORD).get("sha256")

    # ---------------------------------------------------------------- one writer at a time

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while writing to it, so that two processes never train it at once.

        The operating system frees the lock when the process ends, however it ends.
        """
        with contextlib.ExitStack() as stack:
            with writing(self.path / _LOCK):
                descriptor = durable.opened(self.path / _LOCK, os.O_RDWR | os.O_CREAT)
                file = stack.enter_context(open(descriptor, "r+b"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = file.read(99).decode(errors="replace").strip() or "unknown"
                what = f"run={str(self.path)!r} is being trained by process {holder}"
                raise RunError(f"{what}: wait for it, or stop it") from error
            with writing(self.path):
                file.truncate(0)
                file.write(b"%d\n" % os.getpid())
                file.flush()
                self._clear_up()
            if "run" in self.config:  # two may have begun in one folder at once
                self.refuse_replaced()
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
                if self._home != self.path:  # it came to nothing, and the former run stays
                    shutil.rmtree(self._home, ignore_errors=True)

    def _clear_up(self) -> None:
        """Finish, or delete, what a killed writer left."""
        self._finish()
        for name in (*_OWN, _CONFIG, _PAGE):
            durable.sweep(self.path / name)
        for path in self.path.iterdir():
            if _NEW.fullmatch(path.name) and path != self._home:
                shutil.rmtree(path, ignore_errors=True)


def is_page(path: Path) -> bool:
    """Whether a file is a page that :func:`equilibria.report.page.write` wrote."""
    try:
        with open(durable.opened(path, os.O_RDONLY), "rb") as file:
            return PAGE_MARK.encode() in file.read(1000)
    except (OSError, RunError):
        return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _remove(paths: Iterable[Path]) -> None:
    """Delete files, and folders that are empty then."""
    for path in paths:
        if not _is_folder(path):
            path.unlink(missing_ok=True)
        elif not any(path.iterdir()):
            path.rmdir()


def _pour(source: Path, target: Path) -> None:
    """Move what is in a folder into another, and it away."""
    for path in list(source.iterdir()):
        there = target / path.name
        if _is_folder(path) and _is_folder(there):
            _pour(path, there)
        else:
            os.rename(path, there)
    source.rmdir()


def _refuse_entries(config: Mapping[str, Any], file: Path, sealed: bool) -> None:
    """Refuse a configuration whose entries are not what is ever written."""
    for name, value in config.items():
        if type(value) not in _ENTRIES.get(name, (type(value),)):
            raise RunError(f"{file} is damaged: its entry {name!r} is {value!r:.40}")
    if not sealed and (config["format"] > 2 or "run" in config):
        raise RunError(f"{file} is damaged: it lacks the digest of its contents")
    if sealed and "run" not in config:
        raise RunError(f"{file} is damaged: it lacks the name of the run")


@contextlib.contextmanager
def writing(path: Path, meanwhile: str = "") -> Iterator[None]:
    """What to do where a file of a run cannot be written."""
    try:
        yield
    except OSError as error:
        advice = f"{meanwhile}free some space, or see that you may write there"
        raise RunError(f"{path} could not be written ({error}): {advice}") from error


@contextlib.contextmanager
def _advised(advice: str) -> Iterator[None]:
    """What to do about files that are damaged."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{error}; {advice}") from error
    except durable.MALFORMED as error:
        raise RunError(f"the run is damaged ({error!r}); {advice}") from error


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the JSON will have: string keys, lists."""
    return dict(json.loads(json.dumps(dict(value))))
