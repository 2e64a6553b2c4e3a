"""The library's own exceptions, whose messages say what was expected, what came and what to do;
and which of others' say that memory did not suffice."""

__all__ = ["DivergedError", "ExtraError", "RunError", "TrainingInterrupted", "too_large"]

ALLOCATORS = ("not enough memory", "can't allocate memory", "out of memory", "with sizes=")
"""What torch says, in a RuntimeError, of memory that there is not."""


class RunError(ValueError):
    """A run folder that cannot be used: foreign, damaged, unfinished or unwritable."""


class ExtraError(ImportError):
    """A library that only some models need is not installed: the message says which, and how."""


class DivergedError(ArithmeticError):
    """Training produced a non-finite cost or parameter; the last good checkpoint is kept."""


class TrainingInterrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived: the state was saved and training stopped.

    Attributes
    ----------
    signal : int
        The signal's number; the command line exits with 128 + signal.
    """

    def __init__(self, signal: int, message: str = ""):
        super().__init__(message)
        self.signal = signal


def too_large(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice.

    >>> too_large(MemoryError()), too_large(RuntimeError("DefaultCPUAllocator: not enough memory"))
    (True, True)
    """
    told = isinstance(error, RuntimeError) and any(one in str(error) for one in ALLOCATORS)
    return isinstance(error, MemoryError) or told
