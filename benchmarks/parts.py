"""A measurement in parts, each in processes of its own and under a time limit of its own, so that one that
fails or hangs takes nothing from the others, and what it had found is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_LEAVE_S = 6.0  # between SIGINT and SIGKILL
_LEAST_S = 5.0  # a part is not begun with less

DONE = "done"


class Part(NamedTuple):
    """A part of a measurement.

    Its command gets two further arguments: the file of its `Findings`, and for how many seconds it may run.
    """

    name: str
    limit_s: float
    command: Sequence[str]


class Findings:
    """What a part has found so far, in a file that is whole at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Keeps and prints it."""
        self._found[name] = value
        print(f"{name}: {value}", flush=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._found))
        os.replace(part, self._path)


def run_parts(
    parts: Sequence[Part],
    seconds: float,
    keep: Callable[[Mapping[str, Any]], object],
    environ: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Runs them one after the other, as long as there is time; `keep` gets all results after each. All is
    over after `seconds`, with what it takes to end a part that has to be cut off.

    Returns:
        By part: "state" (DONE, or in words what happened), "seconds", and what it found.
    """
    deadline = time.monotonic() + seconds - _LEAVE_S
    results: dict[str, dict[str, Any]] = {}
    for part in parts:
        limit_s = min(part.limit_s, deadline - time.monotonic())
        print(f"-- {part.name}, {max(limit_s, 0):.0f} s at most", flush=True)
        results[part.name] = _run(part, limit_s, environ) if limit_s > _LEAST_S else {"state": "no time left"}
        print(f"-- {part.name}: {results[part.name]['state']}", flush=True)
        keep(results)
    return results


def _run(part: Part, limit_s: float, environ: Mapping[str, str] | None) -> dict[str, Any]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        arguments = [str(path), f"{limit_s:.1f}"]
        process = subprocess.Popen([*part.command, *arguments], env=environ, start_new_session=True)
        try:
            code = process.wait(limit_s)
            state = DONE if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            state = f"cut off after {limit_s:.0f} s"
        finally:
            _end(process)
        found = json.loads(path.read_text()) if path.exists() else {}
    return {"state": state, "seconds": round(time.monotonic() - began, 1), **found}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it and all it started, also what is in other sessions; asks first."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVE_S)
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    with suppress(ProcessLookupError):  # those whose parents were gone
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
