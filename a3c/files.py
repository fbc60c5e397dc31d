"""Opening files in a folder that others may write to: regular ones only, through no link, without waiting.

A run, a checkpoint or a package may come from anybody, and whoever may write to a run's folder could put a
link or a pipe where a log is about to be. So every file in them is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

FILE_MODE = 0o600
"""Of every file that is made, whatever the umask: who else may read a run is for its owner to say."""

FOLDER_MODE = 0o700

_ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class ForeignFile(OSError):
    """There is something in the place of a file that the run did not put there."""

    def __init__(self, what: str, path: object) -> None:
        super().__init__(errno.EINVAL, what, path)


def open_file(path: str | Path, flags: int = os.O_RDONLY, folder: int | Path | None = None) -> int:
    """A descriptor of a regular file; with O_CREAT, a new one is its owner's alone.

    Args:
        flags: of `os.open`.
        folder: what `path` is relative to: a descriptor, or a folder that may be no link itself.

    Raises:
        ForeignFile: it is a link, a pipe, a device, a folder; or, to be written, a file with two names.
        OSError: it cannot be opened.
    """
    if isinstance(folder, Path):
        parent = open_folder(folder)
        try:
            return open_file(path, flags, parent)
        finally:
            os.close(parent)
    fd = _open(path, flags & ~os.O_TRUNC | _ALWAYS, folder)
    try:
        _refuse_foreign(os.fstat(fd), flags, path)
        if flags & os.O_TRUNC:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_folder(path: str | Path, links: bool = False) -> int:
    """A descriptor of a folder. Raises OSError; ForeignFile for a link, unless those may be followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path, flags if links else flags | os.O_NOFOLLOW)
    except NotADirectoryError:
        if os.path.islink(path):
            raise ForeignFile("it is a link, which is not followed", path) from None
        raise


def make_folder(path: Path) -> None:
    """Creates a folder, its owner's alone, unless it is there. Raises OSError, also for a link."""
    try:
        os.mkdir(path, FOLDER_MODE)
        os.chmod(path, FOLDER_MODE)
    except FileExistsError:
        os.close(open_folder(path))


def _open(path: str | Path, flags: int, folder: int | None) -> int:
    try:
        if not flags & os.O_CREAT:
            return os.open(path, flags, dir_fd=folder)
        try:
            fd = os.open(path, flags | os.O_EXCL, FILE_MODE, dir_fd=folder)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return os.open(path, flags, FILE_MODE, dir_fd=folder)
        os.fchmod(fd, FILE_MODE)
        return fd
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ForeignFile("it is a link, which is not followed", path) from None
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a pipe nobody reads, a socket, a folder
            raise ForeignFile("it is not a regular file", path) from None
        raise


def _refuse_foreign(status: os.stat_result, flags: int, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFile("it is not a regular file", path)
    if flags & (os.O_WRONLY | os.O_RDWR) and status.st_nlink > 1:
        raise ForeignFile("it has another name elsewhere (a hard link)", path)
