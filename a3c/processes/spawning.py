"""The main process's side of one child: starts it, reads its pipe, knows its log."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

from a3c.errors import UsageError
from a3c.processes.child import CHILD_DEFAULTS, CHILD_ENVIRONMENT, QUIET_SIGNALS, Preparation, run_child
from a3c.processes.child_log import ChildLog
from a3c.processes.notify import NOTIFY_VARIABLES
from a3c.processes.signals import held_back

_SPAWN = multiprocessing.get_context("spawn")  # torch adds what its tensors need when it is imported
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY")
_READ_BYTES = 1_000_000  # from one pipe in one go, and the longest message


class Message(NamedTuple):
    """One line of a child's pipe; type "garbage" when it could not be read."""

    type: str
    body: dict[str, Any]


class Inbox:
    """The reading end of a child's pipe. Never waits: what is not there whole is returned another time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = b""
        os.set_blocking(connection.fileno(), False)

    def receive(self) -> list[Message]:
        """The messages that arrived since the last call."""
        data = self._rest + self._read()
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > _READ_BYTES:
            lines, self._rest = [*lines, b""], b""
        return [_parse(line) for line in lines]

    def _read(self) -> bytes:
        data = b""
        with suppress(OSError):  # nothing more at the moment
            while len(data) < _READ_BYTES and (part := os.read(self._connection.fileno(), 65_536)):
                data += part
        return data

    def close(self) -> None:
        self._connection.close()


def _parse(line: bytes) -> Message:
    try:
        type_, body = json.loads(line)
        return Message(str(type_), dict(body))
    except (ValueError, TypeError, RecursionError):
        return Message("garbage", {})


@dataclass
class ChildProcess:
    """A process that was started."""

    process: SpawnProcess
    inbox: Inbox
    log: ChildLog
    heard: set[str] = field(default_factory=set)  # types of its messages

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def waited_s(self) -> float:
        """For how long its main thread was ready to run and had no CPU, since it was started; 0 where the
        system does not tell (Linux does)."""
        with suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def release(self) -> None:
        """Frees its descriptors; the process has ended or is abandoned."""
        self.inbox.close()
        self.log.close()
        with suppress(ValueError):
            self.process.close()


def spawn_child(
    name: str, target: Callable[..., None], args: tuple[Any, ...], log_path: Path, env: Mapping[str, str]
) -> ChildProcess:
    """Starts `target(*args, link)` in a fresh interpreter, with one thread per library, without secrets in
    its environment, with its output in a log, and bound to die with the calling thread.

    Raises:
        OSError, MemoryError, RuntimeError: the process could not be created (RuntimeError: torch could
            not pass its shared memory on).
    """
    log = ChildLog(log_path, name)
    reader, writer = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(
        target=run_child, name=name, args=(Preparation(log.writer), writer, target, args), daemon=True
    )
    try:
        with child_environment(env), held_back(*QUIET_SIGNALS):
            process.start()
    except BaseException:
        reader.close()
        log.close()
        raise
    finally:
        writer.close()
        log.writer.close()
    return ChildProcess(process, Inbox(reader), log)


@contextmanager
def child_environment(extra: Mapping[str, str]) -> Iterator[None]:
    """This process's environment is, for the moment of a spawn, what a child's should be."""
    hidden = [name for name in os.environ if name in NOTIFY_VARIABLES or _is_secret(name)]
    defaults = {name: os.environ.get(name, value) for name, value in CHILD_DEFAULTS.items()}
    wanted = defaults | CHILD_ENVIRONMENT | dict(extra)
    former = {name: os.environ.get(name) for name in (*hidden, *wanted)}
    for name in hidden:
        del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _is_secret(name: str) -> bool:
    return name.upper().startswith("HF_") or any(word in name.upper() for word in _SECRET_WORDS)


def ensure_open_files(children: int) -> None:
    """Raises the soft limit of open files to what so many children need.

    Raises:
        UsageError: the hard limit is lower than that.
    """
    needed = 128 + 16 * children
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"{children} processes need {needed} open files, but the limit is {hard}: "
            f"use fewer workers or raise it with `ulimit -n {needed}`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
