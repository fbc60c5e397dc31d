"""What `--cluster` needs, asked before anything starts; and the head's part in the cluster."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from a3c.cluster.address import check_address
from a3c.cluster.membership import Membership
from a3c.cluster.orders import settings_for_nodes
from a3c.cluster.part import Part
from a3c.cluster.replica import ReplicaMemory
from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.storage.records import records_in
from a3c.training.session import Session

_PROBE_S = 60.0
_TOKEN_FILE = Path("~/.ray/auth_token")  # where Ray looks when no variable names another place


def find_cluster(config: Config) -> Config:
    """The settings with the cluster's address in full.

    Raises:
        UsageError: Ray is not installed, the cluster would be open to everybody, or there is none.
    """
    address = config.cluster.cluster
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:
        raise UsageError('--cluster needs Ray: pip install "a3c[cluster]" on every node')
    if not config.cluster.cluster_insecure and not has_token():
        raise UsageError(
            "--cluster: without a token whoever reaches the cluster runs programs in it. Make one with `ray "
            "get-auth-token --generate`, copy ~/.ray/auth_token to every node, and set RAY_AUTH_MODE=token "
            "there, for `ray start` and for this command; or add --cluster-insecure"
        )
    if address != "auto":
        check_address(address)
    address = probe(address)
    if not config.cluster.cluster_insecure and is_open(address):
        raise UsageError(
            f"--cluster {address}: it takes in whoever comes, with any token or none, to run programs. "
            "Start it again with RAY_AUTH_MODE=token set for `ray start`, on every node; or add "
            "--cluster-insecure"
        )
    return config.replace(cluster=address)


def has_token() -> bool:
    """Whether Ray is told to use a token, and has one."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return os.environ.get("RAY_AUTH_MODE") == "token" and (given or _TOKEN_FILE.expanduser().is_file())


def is_open(address: str) -> bool:
    """Whether the cluster takes in somebody with a wrong token: Ray looks at tokens only if started to."""
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return "address" in _connect_once(address, wrong)


def probe(address: str) -> str:
    """Whether the cluster takes this machine in; returns HOST:PORT. Raises UsageError."""
    answer = _connect_once(address, {})
    if "error" in answer:
        raise UsageError(
            f"--cluster {address}: no Ray cluster takes this machine in: {answer['error']}. It has to be one "
            "of its nodes (`ray start`), with the same token and the same version of Ray"
        )
    return str(answer["address"])


def _connect_once(address: str, environ: dict[str, str]) -> dict[str, Any]:
    """Has another process connect for a moment, since Ray may end the one that does; returns its "address",
    HOST:PORT, or an "error" in words."""
    command = [sys.executable, "-P", "-m", "a3c.cluster.probe", address]
    try:
        process = subprocess.run(
            command, env={**os.environ, **environ},
            capture_output=True, stdin=subprocess.DEVNULL, timeout=_PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_PROBE_S:g} s"}
    answer = {"error": f"Ray ended with exit code {process.returncode}"}
    for record in records_in(process.stdout.splitlines()):
        if record.keys() in ({"address"}, {"error"}):  # Ray prints, too
            answer = record
    return answer


def lead(session: Session) -> Membership:
    """The head's part in a run on a cluster: the other nodes begin with its weights."""
    memory = ReplicaMemory.allocate(session.memory.weights.numel(), session.board.sums)
    memory.lead()
    text = json.dumps(settings_for_nodes(session.config), sort_keys=True)
    run = f"a3c-{session.run_id}-{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    address = session.config.cluster.cluster
    return Membership(Part(address, run, "head", session.resumes, memory, leads=True))
