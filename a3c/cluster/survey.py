"""`python -m a3c.cluster.survey ADDRESS`: what `a3c doctor --cluster` asks of every node of a Ray cluster.

A process of its own, since Ray may end the one that talks to it. It prints a record for each finding, a line
of JSON, between whatever Ray prints.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from a3c.cluster.address import check_address
from a3c.cluster.connection import TROUBLES, connect
from a3c.cluster.joining import has_token, is_open
from a3c.errors import UsageError

_PACKAGES = ("a3c", "ray", "torch", "numpy", "gymnasium", "ale-py")
_MUST_AGREE = ("python", "a3c", "ray")
_ANSWER_S = 60.0
_CALLS = 5  # of which the quickest counts
_BYTES = 8_000_000  # of a probe, more than the weights of the largest network here
_SLOW = 20e6  # bytes a second: such weights every second, there and back
_CLOCK_S = 1.0
_NICE = 5

Finding = tuple[str, str, str]
"""As that of `a3c.console.doctor`: level, text, how to mend it."""


def facts() -> dict[str, Any]:
    """Of the node it is asked on."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "versions": {"python": ".".join(platform.python_version_tuple()[:2]), **versions},
        "clock": time.time(),
        "nice": os.nice(0),
    }


def echo(data: bytes) -> bytes:
    """The same."""
    return data


def survey(address: str) -> Iterator[Finding]:
    """What is found, node by node."""
    if not has_token():
        fix = "a cluster without one is open to whoever reaches it; docs/cluster.md says how to make one"
        yield "warn", "no token (RAY_AUTH_MODE=token)", fix
    try:
        if address != "auto":
            check_address(address)
        connect(address)
        nodes = [node for node in ray.nodes() if node["Alive"]]
    except UsageError as error:
        yield "FAIL", str(error), ""
        return
    except TROUBLES as error:
        fix = "ray start --address HOST:PORT here, with the same token and version of Ray"
        yield "FAIL", f"{address} does not take this machine in: {_line(error)}", fix
        return
    own, here = ray.get_runtime_context().get_node_id(), facts()
    gcs_address = ray.get_runtime_context().gcs_address
    yield "ok", f"{len(nodes)} nodes at {gcs_address}", ""
    if has_token() and is_open(gcs_address):
        fix = "start it again with RAY_AUTH_MODE=token set for `ray start`, on every node"
        yield "warn", "it takes in whoever comes, with any token or none", fix
    for node in sorted(nodes, key=lambda node: node["NodeID"] != own):
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            for level, text, fix in look(node["NodeID"], here):
                yield level, f"{name}: {text}", fix
        except TROUBLES as error:
            fix = "ray stop and ray start there; look at /tmp/ray/session_latest/logs"
            yield "FAIL", f"{name} does not answer: {_line(error)}", fix


def look(node_id: str, here: dict[str, Any]) -> Iterator[Finding]:
    """What is found on one node. Raises one of TROUBLES."""
    place = NodeAffinitySchedulingStrategy(node_id, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": place, "max_retries": 0}
    there, _, _ = timed(ray.remote(facts).options(**options))  # starts a process, which takes seconds
    yield from compare(there["versions"], here["versions"])
    calls = [timed(ray.remote(facts).options(**options)) for _ in range(_CALLS)]
    answer, began, took = min(calls, key=lambda call: call[2])
    yield clock(answer["clock"] - (began + took / 2), took / 2)
    if answer["nice"] > _NICE:
        fix = "RAY_worker_niceness=0 for `ray start` there"
        yield "warn", f"Ray starts programs at priority {answer['nice']}, behind all others", fix
    echoes = [timed(ray.remote(echo).options(**options), bytes(_BYTES))[2] for _ in range(_CALLS)]
    yield line(2 * _BYTES / max(min(echoes) - took, 1e-9), took)


def timed(function: Any, *args: Any) -> tuple[Any, float, float]:
    """The answer of a remote function, when it was asked by this machine's clock, and the seconds it took."""
    began, start = time.time(), time.monotonic()
    answer = ray.get(function.remote(*args), timeout=_ANSWER_S)
    return answer, began, time.monotonic() - start


def compare(there: dict[str, str], here: dict[str, str]) -> Iterator[Finding]:
    """Versions there that are not those of here."""
    for name, version in here.items():
        if there[name] != version:
            level = "FAIL" if name in _MUST_AGREE else "warn"
            yield level, f"{name} {there[name] or 'is missing'}, and {version} here", "install the same there"
    if there == here:
        yield "ok", ", ".join(f"{name} {version}" for name, version in there.items() if version), ""


def clock(ahead_s: float, uncertain_s: float) -> Finding:
    """Of a clock by how much it is ahead of this machine's."""
    if abs(ahead_s) > _CLOCK_S + uncertain_s:
        way = "ahead" if ahead_s > 0 else "behind"
        return (
            "warn",
            f"its clock is {abs(ahead_s):.1f} s {way}",
            "have NTP set both: timedatectl set-ntp true",
        )
    return "ok", f"its clock agrees to {abs(ahead_s) + uncertain_s:.3f} s", ""


def line(bytes_per_s: float, round_trip_s: float) -> Finding:
    """Of what goes there and back."""
    text = f"{bytes_per_s / 1e6:,.0f} MB/s, a call takes {round_trip_s * 1e3:.1f} ms"
    if bytes_per_s < _SLOW:
        return "warn", text, "that is slow for the larger networks: --exchange-every 5s"
    return "ok", text, ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def main(address: str) -> None:
    for finding in survey(address):
        print(json.dumps(dict(zip(("level", "text", "fix"), finding, strict=True))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
