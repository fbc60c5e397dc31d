"""A Ray cluster on this machine, each node a raylet of its own on loopback, and what runs have started on it.

Tests and measurements share it. They have to run in a network of their own, because Ray binds to a machine's
outer address otherwise; Makefile's `cluster` says how.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.common import ROOT, wait_until

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
"""For everybody who has to do with the cluster."""

SUPERVISOR, KEEPER, ANCHOR, CHILD = "a3c.cluster.node", "ray::NodeActor", "ray::AnchorActor", "spawn_main"
"""In the command lines of what a run starts on a cluster: for each node its supervisor, Ray's actor that
keeps it, and the supervisor's children; and the anchor."""

EXCHANGER = 1
"""The number of a node's exchanger among the children of its supervisor; its workers follow."""

_DEATH_S = 60.0
_LOCKS, _NUMBERS = 10, 2**16
"""Of a3c.processes.guardian: the limit that marks a child, and how many marks a command has."""


class Cluster:
    """The head of a Ray cluster and, with `add`, further nodes; all end with `close`.

    Args:
        within: of the head, a command that runs another one, such as taskset.
        environ: of all nodes; without a token the cluster is open.
    """

    def __init__(self, *within: str, environ: Mapping[str, str] = TOKEN) -> None:
        self._environ = environ
        self.folder = Path(tempfile.mkdtemp(prefix="ray"))  # short, for the sockets in it
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start_again(*within)

    def start_again(self, *within: str) -> None:
        """The head, at the same address."""
        head = ("--head", f"--port={self.port}", f"--temp-dir={self.folder}", "--include-dashboard=false")
        self._start(within, *head)

    def add(self, *within: str, environ: Mapping[str, str] | None = None) -> psutil.Process:
        """One more node; returns its raylet. Raises RuntimeError when the cluster does not take it."""
        return self._start(within, f"--address={self.address}", environ=environ)

    def _start(
        self, within: tuple[str, ...], *flags: str, environ: Mapping[str, str] | None = None
    ) -> psutil.Process:
        before = self._raylets()
        sizes = ("--num-cpus=1", "--object-store-memory=80000000")
        ray = str(Path(sys.executable).parent / "ray")
        done = subprocess.run(
            [*within, ray, "start", *flags, *sizes, "--disable-usage-stats"],
            env={**os.environ, **(environ or self._environ), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        (new,) = [process for process in self._raylets() if process not in before]
        return new

    def _raylets(self) -> list[psutil.Process]:
        return [p for p in self.processes() if "/raylet" in command_of(p)[0]]

    def processes(self) -> list[psutil.Process]:
        """Ray's own."""

        def mine(words: list[str]) -> bool:
            return f"--address={self.address}" in words or any(str(self.folder) in word for word in words)

        return [process for process in psutil.process_iter() if mine(command_of(process))]

    def end(self, raylet: psutil.Process) -> None:
        """As if the machine lost its power."""
        raylet.kill()
        _must(lambda: not alive(raylet), "the end of a raylet")

    def end_all(self) -> None:
        """All that is Ray's, as if it had never been."""

        def ended() -> bool:
            left = [p for p in self.processes() if alive(p)]
            for process in left:
                signal_to(process, signal.SIGKILL)
            return not left

        _must(ended, "the end of Ray")

    def close(self) -> None:
        self.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]


def named(*words: str) -> list[psutil.Process]:
    """Living processes with one of these words in their command line."""
    return [p for p in psutil.process_iter() if any(w in " ".join(command_of(p)) for w in words) and alive(p)]


def of_ours() -> list[psutil.Process]:
    """What runs of this program have started on the nodes of clusters, and is not dead."""
    return named(SUPERVISOR, KEEPER, ANCHOR, CHILD)


def children(supervisor: psutil.Process) -> dict[int, psutil.Process]:
    """Those of a node's supervisor by their number; see EXCHANGER."""
    found = {}
    with suppress(psutil.Error):
        for process in supervisor.children():
            with suppress(OSError):
                if CHILD in " ".join(command_of(process)) and alive(process):
                    found[resource.prlimit(process.pid, _LOCKS)[0] % _NUMBERS] = process
    return found


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it may end between two questions
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def signal_to(process: psutil.Process, signum: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(signum)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _must(condition: Callable[[], bool], what: str) -> None:
    if not wait_until(condition, _DEATH_S):
        raise RuntimeError(f"{what} did not come")
