"""A node's part in a run on a cluster: what its exchanger is given."""

from __future__ import annotations

from dataclasses import dataclass

from a3c.cluster.replica import ReplicaMemory


@dataclass
class Part:
    """Its tensors are shared."""

    address: str  # of the cluster
    run: str  # what the names of the run's actors begin with: other settings, other actors
    node: str  # its name in the run
    incarnation: int
    memory: ReplicaMemory
    leads: bool  # it is the head
