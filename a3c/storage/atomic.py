"""Files and folders that are either the old ones or the new ones, whole, whenever the process dies.

The recipe (Pillai et al., OSDI 2014): write under a temporary name, fsync, rename, fsync the folder.
A rename alone is not enough: after a power loss the new name may hold an empty file.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from a3c.errors import StorageError
from a3c.files import FOLDER_MODE, ForeignFile, open_file, open_folder

TEMPORARY = ".tmp-"
"""How the name of a folder begins that is being written or removed; after a crash it is rubbish."""

_HINTS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "check who owns the folder and its permissions",
    errno.EPERM: "check who owns the folder and its permissions",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOENT: "it was moved or deleted",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EIO: "check the disk",
}


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turns the system's refusals into StorageError: "cannot `doing`: why; what to do"."""
    try:
        yield
    except ForeignFile as error:
        raise StorageError(f"cannot {doing}: {error.filename}: {error.strerror}; remove it") from error
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the disk and its permissions")
        raise StorageError(f"cannot {doing}: {error.strerror or error}; {hint}") from error


def write_all(fd: int, data: bytes) -> None:
    """Writes every byte, however often the system takes only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable, where its file system can do that."""
    fd = open_folder(path, links=True)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """Puts a file in the place of the old one. Raises OSError, and then leaves the old one.

    Args:
        data: its content, whole or in pieces.
        durable: whether it must also survive a power loss; without, it is much cheaper.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        _write_file(temporary, data, durable)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(path.parent)


def publish_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Makes a new folder of these files, written in this order, all or nothing. Raises OSError."""
    temporary = _temporary(path)
    try:
        os.mkdir(temporary, FOLDER_MODE)
        os.chmod(temporary, FOLDER_MODE)
        for name, data in files.items():
            _write_file(temporary / name, data, durable=True)
        sync_folder(temporary)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Removes a folder: its name goes at once, its content after that. Raises OSError."""
    temporary = _temporary(path)
    os.rename(path, temporary)
    _remove(temporary)


def remove_leftovers(parent: Path) -> None:
    """Removes what a crash left of folders being written or removed. Raises OSError."""
    for name in os.listdir(parent):
        if name.startswith(TEMPORARY):
            _remove(parent / name)


def read_regular(path: str | Path, limit: int, folder: int | None = None) -> bytes:
    """The content of a real file; never of a link, a device or a pipe.

    Args:
        limit: most bytes it may have.
        folder: descriptor of the folder that `path` is relative to.

    Raises:
        OSError: it cannot be read, or is something else.
        ValueError: it is too large.
    """
    with os.fdopen(open_file(path, folder=folder), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{size} bytes, more than the {limit} allowed")
        return file.read(limit)


def _write_file(path: Path, data: bytes | Iterable[bytes], durable: bool) -> None:
    """A new file; whatever had its name before, which a crash may have left there, is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        fd = open_file(path, flags)
    except FileExistsError:
        os.unlink(path)
        fd = open_file(path, flags)
    try:
        for piece in [data] if isinstance(data, bytes) else data:
            write_all(fd, piece)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)
