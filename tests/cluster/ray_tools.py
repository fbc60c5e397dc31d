"""A Ray cluster on this machine: every node of it is a raylet of its own, on loopback."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from tests.run_tools import PATIENCE_S, ROOT, Run, gone, wait_for

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
OURS = ("a3c.cluster.node", "ray::NodeActor", "ray::AnchorActor", "spawn_main")
"""In the command lines of what a run starts on a cluster."""


LONG_S = 3 * PATIENCE_S
"""For what takes the start of several processes one after the other."""


class Cluster:
    """The head of a Ray cluster and, with `add`, further nodes; all end with `close`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray"))  # short, for the sockets in it
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start_again()

    def start_again(self) -> None:
        """The head, at the same address."""
        self._start("--head", f"--port={self.port}", f"--temp-dir={self.folder}", "--include-dashboard=false")

    def add(self) -> psutil.Process:
        """One more node; returns its raylet."""
        return self._start(f"--address={self.address}")

    def _start(self, *flags: str) -> psutil.Process:
        before = self._found("/raylet")
        sizes = ("--num-cpus=1", "--object-store-memory=80000000")
        command = [str(Path(sys.executable).parent / "ray"), "start", *flags, *sizes, "--disable-usage-stats"]
        environ = {**os.environ, **TOKEN, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (new,) = [process for process in self._found("/raylet") if process not in before]
        return new

    def _found(self, word: str) -> list[psutil.Process]:
        """Of this cluster's processes those with that word in the name of their program."""
        return [p for p in self.processes() if word in command_of(p)[0]]

    def processes(self) -> list[psutil.Process]:
        """Ray's own."""
        return [p for p in psutil.process_iter() if any(str(self.folder) in word for word in command_of(p))]

    def end(self, raylet: psutil.Process) -> None:
        """As if the machine lost its power."""
        raylet.kill()
        wait_for(lambda: gone([raylet]), what="the end of a raylet")

    def end_all(self) -> None:
        """All that is Ray's, as if it had never been."""

        def ended() -> bool:
            left = [p for p in self.processes() if p.status() != psutil.STATUS_ZOMBIE]
            for process in left:
                signal_to(process, signal.SIGKILL)
            return not left

        wait_for(ended, what="the end of Ray")

    def close(self) -> None:
        self.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)


class ClusterRun(Run):
    """A `run.py --cluster`."""

    def __init__(self, folder: Path, cluster: Cluster, *flags: str, **how) -> None:
        given = ["--cluster", cluster.address, *flags]
        super().__init__(folder, *given, env=TOKEN | how.pop("env", {}), **how)

    def nodes(self, *states: str, steps: int = 1, timeout_s: float = LONG_S) -> dict:
        """Waits until the other nodes are in these states, and those that run have made steps."""
        return self.wait_until(
            lambda s: (
                s["pid"] == self.process.pid  # not what an earlier start has left
                and sorted(node["state"] for node in s.get("nodes") or []) == sorted(states)
                and all(node["steps"] > steps for node in s["nodes"] if node["state"] == "running")
            ),
            timeout_s,
            f"nodes {states}",
        )


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]


def of_ours() -> list[psutil.Process]:
    """What runs of this program have started on the nodes of clusters, and are not dead."""
    return [
        p
        for p in psutil.process_iter()
        if any(word in " ".join(command_of(p)) for word in OURS) and p.status() != psutil.STATUS_ZOMBIE
    ]


def named(word: str) -> list[psutil.Process]:
    """Living processes with that word in their command line."""
    return [p for p in psutil.process_iter() if word in " ".join(command_of(p))]


def nobody_left() -> None:
    """Waits until nothing of a run is left on any node."""
    wait_for(lambda: not of_ours(), what="all processes of the run to end")


def signal_to(process: psutil.Process, signum: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(signum)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
