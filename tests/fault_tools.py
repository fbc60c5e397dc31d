"""Tools that break things on purpose: system calls that fail or kill, and a very small disk."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_DIED, _DIED_WRITING = 77, 78
CALLS = ("open", "write", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "chmod", "fchmod")


class WatchedCalls:
    """While active, calls `hook(number, name, arguments)` before every call in `CALLS`, counted from 0.

    The hook may raise, kill the process, or look at the disk.
    """

    def __init__(self, hook: Callable[[int, str, tuple[Any, ...]], None]) -> None:
        self.hook = hook
        self.count = 0
        self.real = {name: getattr(os, name) for name in CALLS}

    def __enter__(self) -> WatchedCalls:
        for name in CALLS:
            setattr(os, name, self._wrap(name))
        return self

    def __exit__(self, *error: object) -> None:
        for name, real in self.real.items():
            setattr(os, name, real)

    def _wrap(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            number, self.count = self.count, self.count + 1
            self.hook(number, name, args)
            return self.real[name](*args, **kwargs)

        return call


def die_at_every_call(
    action: Callable[[Path, Callable[[str], None]], None], before: Path, places: Path
) -> None:
    """Runs `action(folder, done)` in child processes on copies `places/K` of the folder `before`; child K
    dies right before its K-th system call. Where that is a write, another dies in the middle of it
    (`places/K-torn`).

    What a child reported through `done` is in `places/K.done`. Ends when a child outlives its action.
    """
    for number in range(10_000):
        code = _run_and_die(action, before, places / f"{number}", number, torn=False)
        if code == _DIED_WRITING:
            _run_and_die(action, before, places / f"{number}-torn", number, torn=True)
        elif code != _DIED:
            assert code == 0, f"the action failed by itself with code {code}"
            return


def _run_and_die(action: Any, before: Path, place: Path, fatal: int, torn: bool) -> int:
    shutil.copytree(before, place)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def hook(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number == fatal:
            if torn:
                calls.real["write"](args[0], bytes(args[1])[: len(args[1]) // 2])
            os._exit(_DIED_WRITING if name == "write" else _DIED)

    with open(f"{place}.done", "w", buffering=1) as report, WatchedCalls(hook) as calls:
        try:
            action(place, lambda what: print(what, file=report))
        except BaseException:
            os._exit(1)
    os._exit(0)


def run_python(code: str, *args: object, small_disk: Path | None = None, timeout: float = 300.0) -> Any:
    """Runs `code` in a fresh interpreter with `sys.argv[1:] = args` and returns what it printed as JSON.

    With `small_disk`, that folder is a file system of 1 MB for this interpreter alone; skips the test where
    the system does not let an ordinary user do that.
    """
    command = [sys.executable, "-c", code, *map(str, args)]
    if small_disk:
        mount = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
        namespace = ["unshare", "-Urm", "sh", "-c"]
        possible = subprocess.run(
            [*namespace, 'mount -t tmpfs -o size=1m tmpfs "$0"', small_disk], capture_output=True
        )
        if possible.returncode:
            pytest.skip("this system does not allow user namespaces")
        command = [*namespace, mount, str(small_disk), *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def poison(pid: int) -> int:
    """Overwrites the shared tensors of a running run with NaN, through the main process's descriptors."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # a status or a log that was open for a moment
            if "torch_" in os.readlink(link) and link.stat().st_size > 10_000:  # not the scoreboard
                with link.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                    memory[:4096] = b"\xff" * 4096
                    found += 1
    return found
