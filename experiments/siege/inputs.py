"""Damaged, hostile and impossible files of data: each must load, or be refused in one sentence.

One good file of every format is mutated (bits, cuts, blocks swapped, huge numbers in headers,
types, bombs), or in its place is no file (a pipe, a device, a link to itself, a folder), or it has
a hostile name. ``load`` and, of what loads as a table, the fit of a table and of a model then run
in this process, five seconds at most. A mutation is a pure function of seed, format and number, so
that each can be repeated alone.

    python experiments/siege/inputs.py --count 5000 --seed 0
    python experiments/siege/inputs.py --only npz:17 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from equilibria import Independent
from equilibria.data import Table, load

__all__ = ["FORMATS", "attempt", "case", "main"]

SECONDS = 5.0
MEMORY = 8 << 30  # bytes, so that a bomb ends this process and not its neighbours
HUGE = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1)
NUMBERS = (b"1000000000000", b"-1", b"1e400", b"007", b"99999999999999999999", b"0x10", b"nan", b"")
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF"}
PICTURES |= {".webp": "WEBP", ".ppm": "PPM"}
NAMES = ("new\nline", "-rf", "x" * 240, b"\xff\xfe", "\x1b[31mred", " ", "=cmd|' c'!A0", "{}%s\\n")
BINARY = ("cwebkb", "valid", (558, 839))  # of a set whose SHA-256 nobody published


class Late(BaseException):
    """The time is over; no ``except Exception`` catches it."""


# ---------------------------------------------------------------------- one good file of each


def good(suffix: str) -> bytes:
    """A small file of a format, the same each time."""
    rng = np.random.default_rng(0)
    values, out = rng.normal(size=(40, 6)).astype(np.float32), io.BytesIO()
    frame = pd.DataFrame(values, columns=list("abcdef"))
    if suffix == ".csv":
        frame.round(3).to_csv(out, index=False)
    elif suffix in ("mixed.csv", ".parquet"):
        frame["n"] = pd.array([*range(39), None], dtype="Int64")
        frame["who"] = [f'a "{i % 3}", b\nc' for i in range(40)]
        frame["when"] = [f"2026-01-{1 + i % 28:02}" for i in range(40)]
        frame["yes"] = [bool(i % 2) for i in range(40)]
        frame.to_parquet(out) if suffix == ".parquet" else frame.to_csv(out, index=False)
    elif suffix == ".npz":
        np.savez_compressed(out, X=values, y=np.arange(40) % 3)
    elif suffix == ".npy":
        np.save(out, values)
    elif suffix in ("idx3-ubyte", ".gz"):
        body = bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 6, 5) + rng.bytes(600)
        out.write(gzip.compress(body, mtime=0) if suffix == ".gz" else body)
    elif suffix in PICTURES:
        picture = Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8))
        picture.save(out, PICTURES[suffix])
    else:
        rows, width = BINARY[2]
        cells = rng.integers(0, 2, (rows, width))
        out.write(b"\n".join(b",".join(b"%d" % cell for cell in row) for row in cells))
    return out.getvalue()


FORMATS = (
    ".csv",
    "mixed.csv",
    ".npz",
    ".npy",
    "idx3-ubyte",
    ".gz",
    *PICTURES,
    "binary",
    ".parquet",
)


def _known() -> Iterator[str]:
    for suffix in FORMATS:
        if suffix != ".parquet":
            yield suffix
            continue
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            continue
        yield suffix


# ---------------------------------------------------------------------- what is done to it


def _bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _near_ends(data: bytearray, rng: random.Random) -> None:
    """Bytes of the header, or of the directory at the end, become others."""
    for _ in range(rng.choice((1, 2, 4))):
        place = rng.randrange(min(150, len(data)))
        data[place if rng.random() < 0.7 else -1 - place] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(data))
    del data[first : first + rng.choice((1, 7, 100, len(data)))]


def _swap(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 4, 16, max(1, len(data) // 4)))
    one, other = (rng.randrange(max(1, len(data) - size)) for _ in range(2))
    first, second = data[one : one + size], data[other : other + size]
    data[one : one + size], data[other : other + size] = second, first


def _insert(data: bytearray, rng: random.Random) -> None:
    place, size = rng.randrange(len(data)), rng.choice((1, 8, 500))
    junk = rng.choice((bytes(size), rng.randbytes(size), bytes(data[:size]), b'"' * (size | 1)))
    data[place:place] = junk


def _number(data: bytearray, rng: random.Random) -> None:
    """A number in binary, early in the file more often than not, becomes a huge one."""
    number, form = rng.choice(HUGE), rng.choice(("<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    place = rng.randrange(min(len(data), rng.choice((64, 64, len(data)))))
    data[place : place + size] = struct.pack(form, number % 256**size)


def _digits(data: bytearray, rng: random.Random) -> None:
    """A number in digits becomes another, where there is one."""
    places = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    place = rng.choice(places or [0])
    end = place
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    data[place:end] = rng.choice(NUMBERS)


def _letters(data: bytearray, rng: random.Random) -> None:
    """Types and marks become others: a letter, a quote, a separator."""
    places = [
        i for i, byte in enumerate(data[:200]) if chr(byte) in "<>|=fiubOUSVcmM'(),{}[]:\",;\n"
    ]
    for _ in range(rng.choice((1, 2, 5))):
        data[rng.choice(places or [0])] = rng.choice(b"<>|=fiubOUSVcmM'(),{}[]:\",;\n\r\t\0")


def _empty(data: bytearray, rng: random.Random) -> None:
    del data[rng.choice((0, 1, 2, 4)) :]


def _other(data: bytearray, rng: random.Random) -> None:
    """The content of another format."""
    data[:] = good(rng.choice([one for one in _known() if one != "binary"]))


CONTENTS = (_bits, _bits, _near_ends, _near_ends, _cut, _swap, _insert)
CONTENTS += (_number, _number, _digits, _letters, _letters, _empty, _other)


def bomb(suffix: str, rng: random.Random) -> bytes:
    """Little that asks for much, of a format that has such; else a header of 10¹² rows."""
    rows = rng.choice((10**8, 10**12, 10**18))
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (rows, 6)}
    np.lib.format.write_array_header_1_0(header, shape)
    out = io.BytesIO()
    if suffix == ".npz":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", header.getvalue() + bytes(10**6))
        data = out.getvalue()
        real = struct.pack("<I", len(header.getvalue()) + 10**6)
        return data.replace(real, b"\xff\xff\xff\xfe") if rng.random() < 0.5 else data
    if suffix in ("idx3-ubyte", ".gz"):
        sides = rng.choice(((10, 5, 5), (2**32 - 1,) * 3, (2**20, 32, 32)))
        body = bytes([0, 0, 8, 3]) + struct.pack(">3I", *sides)
        return gzip.compress(body + bytes(10**7), 1, mtime=0) if suffix == ".gz" else body
    if suffix == ".png":
        side = rng.choice((20_000, 60_000, 2**31 - 1))

        def chunk(kind: bytes, body: bytes) -> bytes:
            whole = kind + body
            return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        rest = chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + head + rest
    if suffix == ".ppm":
        return b"P6 60000 60000 255 "
    if suffix.endswith(".csv"):
        return rng.choice((b"a" + b",a" * 10**5, b'a\n"' + b"x" * 10**6, b"a,b\n" + b"1," * 10**5))
    return header.getvalue()


def _in_place(path: Path, data: bytes, rng: random.Random) -> None:
    """Something that is no file, or a link, where the file should be."""
    kind = rng.choice(("fifo", "device", "socket", "loop", "dangling", "folder", "link"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            here = os.open(path.parent, os.O_RDONLY)
            try:
                one.bind(f"/proc/self/fd/{here}/{path.name}")
            finally:
                os.close(here)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (path.parent.parent / "elsewhere").write_bytes(data)
        path.symlink_to(path.parent.parent / "elsewhere")
    else:
        devices = ("/dev/zero", "/dev/null", "/dev/urandom", "/dev/stdin", "/proc/self/mem")
        targets = {"device": rng.choice(devices), "loop": path, "dangling": path.parent / "gone"}
        path.symlink_to(targets[kind])


def case(suffix: str, number: int, seed: int, home: Path) -> tuple[Any, dict[str, Any], str]:
    """One input in a new folder ``home``: what to load, how, and what was done."""
    rng, data = random.Random(f"{seed} {suffix} {number}"), bytearray(good(suffix))
    ending, how = ("" if suffix == "binary" else suffix), dict[str, Any]()
    name: Any = f"table{'' if ending.startswith('.') else '.'}{ending}"
    inside = home / "in"
    if suffix == "binary":
        inside, name, how = home / "debd" / BINARY[0], f"{BINARY[0]}.valid.data", {"split": "valid"}
        os.environ["EQUILIBRIA_DATA"] = str(home)
    inside.mkdir(parents=True)
    draw, done = rng.random(), "content"
    if draw < 0.08:
        done, path = "place", inside / name
        _in_place(path, bytes(data), rng)
    else:
        if draw < 0.14:
            done, data = "bomb", bytearray(bomb(suffix, rng))
        else:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                act: Callable[[bytearray, random.Random], None] = rng.choice(CONTENTS)
                done += f" {act.__name__}"
                act(data, rng) if data else None
        if draw > 0.94 and suffix != "binary":
            odd = rng.choice(NAMES)
            done += f" as {odd!r}"
            name = os.fsdecode(
                odd + os.fsencode(ending) if isinstance(odd, bytes) else odd + ending
            )
        path = inside / name
        path.write_bytes(data)
    if suffix == "binary":
        return BINARY[0], how, done
    if suffix in PICTURES:
        (inside / "whole.png").write_bytes(good(".png"))
        how = {"size": 8} if rng.random() < 0.5 else {}
        return inside, {**how, "colour": rng.choice(("grey", "rgb"))}, done
    if suffix.endswith(".csv"):
        how = {"text": rng.random() < 0.7}
    return path, how, done


# ---------------------------------------------------------------------- what comes of it


def _late(*_: Any) -> None:
    raise Late


def attempt(source: Any, how: dict[str, Any]) -> str:
    """``"accepted"``, ``"refused"``, or what else happened."""
    before, found = signal.signal(signal.SIGALRM, _late), ""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                data = load(source, **how)
                found, X = "loaded", data.frame()
                if X.shape[1] < 100 and data.shape is None:
                    Table.fit(X)
                    if len(data) > 1:
                        Independent(random_state=0).fit(X)
                found = "accepted"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except ValueError as error:
            said = str(error)
            fault = _unclear(said, source, found == "loaded")
            if fault:
                return f"unclear ({fault}): {said[:300]!r}"
            return "refused" if not shown else f"a warning beside the sentence: {shown[0].message}"
        except Late:
            return "late"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)
            own = [one for one in where if "equilibria" in one.filename][-1:] or where[-1:]
            return f"{type(error).__name__}: {str(error)[:150]} ({own[0].filename}:{own[0].lineno})"
        finally:
            signal.signal(signal.SIGALRM, before)
    return found if not shown else f"a warning: {shown[0].message}"


def _unclear(said: str, source: Any, loaded: bool) -> str:
    """What a sentence lacks; the name of a file may be long, and have line breaks of its own."""
    names = (str(source), repr(str(source)), str(getattr(source, "name", source)))
    named = any(name in said for name in names)
    for name in (NAMES[0], *names):
        said = said.replace(name, "")
    if not said or len(said) > 700 or "\n" in said:
        return "several lines" if "\n" in said else f"{len(said)} characters"
    return "" if loaded or named else "names no file"


def run(
    suffix: str, numbers: range, seed: int
) -> tuple[collections.Counter[str], list[tuple[str, int, str, str]]]:
    """Counts of outcomes, and every one that is neither accepted nor refused."""
    counts, odd = collections.Counter[str](), list[tuple[str, int, str, str]]()
    kept = os.environ.get("EQUILIBRIA_DATA")
    for number in numbers:
        home = Path(tempfile.mkdtemp(prefix="siege"))
        try:
            source, how, done = case(suffix, number, seed, home)
            outcome = attempt(source, how)
        finally:
            shutil.rmtree(home, ignore_errors=True)
            os.environ.pop("EQUILIBRIA_DATA", None)
            os.environ.update({} if kept is None else {"EQUILIBRIA_DATA": kept})
        usual = outcome in ("accepted", "refused")
        counts[outcome if usual else "other"] += 1
        if not usual:
            odd.append((suffix, number, done, outcome))
    return counts, odd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000, help="inputs, of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one format, or one input such as npz:17")
    options = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    wanted, _, one = (options.only or "").partition(":")
    formats = [suffix for suffix in _known() if wanted in ("", suffix, suffix.lstrip("."))]
    each = -(-options.count // len(formats))
    print(f"{'format':12}{'accepted':>10}{'refused':>10}{'other':>8}")
    total, every = collections.Counter[str](), list[tuple[str, int, str, str]]()
    for suffix in formats:
        numbers = range(int(one), int(one) + 1) if one else range(each)
        counts, odd = run(suffix, numbers, options.seed)
        total, every = total + counts, every + odd
        print(f"{suffix:12}{counts['accepted']:10}{counts['refused']:10}{counts['other']:8}")
    print(f"{'all':12}{total['accepted']:10}{total['refused']:10}{total['other']:8}")
    for suffix, number, done, outcome in every:
        print(f"--only {suffix.lstrip('.')}:{number} --seed {options.seed} ({done}): {outcome}")
    print(json.dumps(total))


if __name__ == "__main__":
    main()
