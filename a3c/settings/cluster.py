"""The settings of a run on several machines. See `a3c.settings.groups`."""

from __future__ import annotations

from dataclasses import dataclass

from a3c.settings.groups import setting


@dataclass(frozen=True)
class ClusterConfig:
    """Several machines, under Ray."""

    cluster: str = setting(
        "",
        "train on every node of a Ray cluster, --workers on each: HOST:PORT of its head, or auto for the one "
        "this machine is in; this machine has to be one of its nodes",
    )
    cluster_insecure: bool = setting(
        False, "take a cluster without a token, in which whoever can reach it can run programs"
    )
    cluster_rule: str = setting(
        "mean",
        "how the shared weights move by what a node has learned: mean, over the nodes; sum; or nesterov, the "
        "mean with momentum (DiLoCo)",
        choices=("mean", "sum", "nesterov"),
    )
    exchange_every: float = setting(
        1.0, "time between two exchanges of a node with the others", low=0.1, kind="duration"
    )
    head_patience: float = setting(
        300.0,
        "how long the other nodes train on without the machine that the run was started on, before they stop",
        low=1,
        kind="duration",
    )
