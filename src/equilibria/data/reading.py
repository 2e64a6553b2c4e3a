"""Files of data as they come: regular ones alone, no larger than memory, and whatever a format's
library throws at a damaged one in one sentence that names the file."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import warnings
from collections.abc import Iterator

__all__ = ["opened", "read_bytes", "reading"]

MOST = 1 << 28  # bytes, of a file that is read whole; those of the built-in sets have fewer
_SAID = 200  # characters of what a library says
_GZIP_MAGIC = b"\x1f\x8b"


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """A regular file, open for reading; a pipe, a device, a socket or a folder is refused at once,
    even if it has only just taken the place of a file."""

    def regular(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NONBLOCK)  # or a pipe would wait for its writer
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise ValueError(f"{path}: is no regular file; copy what it holds into one")

    try:
        with open(path, "rb", opener=regular) as file:
            yield file
    except OSError as error:  # also of a disk that fails
        said = error.strerror or str(error)
        raise ValueError(f"{path}: cannot be read ({said}); give a file that can") from error


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], kind: str, remedy: str = "repair it, or fetch it again"
) -> Iterator[None]:
    """Whatever a library throws at a damaged file, as one sentence; its warnings are not shown.

    Only calls of libraries belong inside: a fault of our own must keep its traceback.

    Examples
    --------
    >>> with reading("table.npy", ".npy file"):
    ...     raise EOFError("nothing left")
    Traceback (most recent call last):
    ValueError: table.npy: not a readable .npy file (nothing left); repair it, or fetch it again
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        said = said if len(said) <= _SAID else f"{said[:_SAID]} …"
        raise ValueError(f"{path}: not a readable {kind} ({said}); {remedy}") from error


def read_bytes(path: str | os.PathLike[str], most: int = MOST, *, whole: bool = True) -> bytes:
    """The content of a file, uncompressed if it is a gzip file whatever it is called.

    Of one that holds more than ``most`` bytes the first ones alone, unless it must be ``whole``:
    it is then refused.
    """
    with opened(path) as file:
        if file.peek(2)[:2] == _GZIP_MAGIC:
            with reading(path, "gzip file"), gzip.GzipFile(fileobj=file) as unpacked:
                content = unpacked.read(most + whole)
        else:
            size = os.fstat(file.fileno()).st_size  # a buffer is made for all that is asked for
            content = file.read(min(most + whole, size))
    if len(content) > most:
        what = f"holds more than {most:,} bytes; this is no file of a built-in set"
        raise ValueError(f"{path}: {what}")
    return content
