"""What the command line says, and to whom."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = ["complain", "first_process", "one_sentence", "say"]


def first_process() -> bool:
    """Whether this is the one process that speaks; ``torchrun`` starts many."""
    return os.environ.get("RANK", "0") == "0"


def say(sentence: object = "") -> None:
    """Print a line on standard output, in the first process only."""
    if first_process():
        print(sentence, flush=True)


def complain(sentence: str) -> None:
    """Print a line on standard error, in one process of each machine: what goes wrong may go wrong on one machine only."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"equilibria: {sentence}", file=sys.stderr, flush=True)


def one_sentence(error: BaseException, spelling: Mapping[str, str]) -> str:
    """The message of an error on one line, with arguments spelled as on the command line.

    Parameters
    ----------
    error : BaseException
        What the library raised.
    spelling : mapping
        Name in Python → name on the command line.

    Examples
    --------
    >>> one_sentence(ValueError("n_iter=0: expected 1 or more"), {"n_iter": "--n-iter"})
    '--n-iter=0: expected 1 or more'
    """
    # Imported here: the pattern is compiled when something has gone wrong, not at every start.
    import re

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename} cannot be used: {error.strerror}"
    text = re.sub(r"=\(([\d., -]+)\)", lambda numbers: "=" + numbers[1].replace(" ", ""), text)  # a tuple is a comma list here
    return re.sub(r"\b[a-z_]+(?==)", lambda name: spelling.get(name[0], name[0]), text)
