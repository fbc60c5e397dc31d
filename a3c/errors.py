"""The errors a user can meet, and the exit code of each.

    A3CError
    |-- UsageError (2)          bad command line, environment or device
    |-- RunDirectoryInUse (3)   another process owns the run directory
    |-- CheckpointError (4)     a checkpoint was refused
    |-- QuorumLost (5)          too few workers left
    |-- StorageError (6)        disk, shared memory or permissions
    `-- Diverged (7)            training went non-finite and did not recover

A message says what is wrong, where, and what to do next, in one line that no terminal takes for a command.
"""

from typing import Any

_LONGEST = 4000  # characters of a message: names in a file may have any length

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_IN_USE = 3
EXIT_CHECKPOINT = 4
EXIT_QUORUM = 5
EXIT_STORAGE = 6
EXIT_DIVERGED = 7
EXIT_SIGNAL = 128  # plus the signal's number, when a second signal forced the stop


def printable(text: Any, lines: bool = False) -> str:
    """Text from a file, an environment or another program, harmless to a terminal: what is not printable,
    such as an escape sequence, is written as in Python.

    Args:
        lines: whether to keep line ends and tabs.
    """
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in str(text))


class A3CError(Exception):
    """Base of every error whose message is written for the user."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        text = printable(message)
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


class UsageError(A3CError):
    """Bad command line, environment, device or combination of settings."""

    exit_code = EXIT_USAGE


class RunDirectoryInUse(A3CError):
    """Another live process holds the run directory's lock."""

    exit_code = EXIT_IN_USE


class CheckpointError(A3CError):
    """A checkpoint is damaged, unsafe, missing, or belongs to something else."""

    exit_code = EXIT_CHECKPOINT


class QuorumLost(A3CError):
    """Too few workers are left to go on."""

    exit_code = EXIT_QUORUM


class StorageError(A3CError):
    """The disk, shared memory or a permission does not allow the work."""

    exit_code = EXIT_STORAGE


class Diverged(A3CError):
    """Non-finite numbers kept coming after a roll-back."""

    exit_code = EXIT_DIVERGED
