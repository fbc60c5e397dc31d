"""Talking to Ray: only the exchanger, the probe and Ray's own actors do."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "a3c"

TROUBLES = (ray.exceptions.RayError, OSError, RuntimeError, ValueError, LookupError)
"""What Ray raises when a cluster, a node or an actor is gone, or does not answer."""


def connect(address: str) -> None:
    """Joins the cluster as a driver. Raises one of TROUBLES."""
    ray.init(
        address=address,
        namespace=NAMESPACE,
        logging_level=logging.ERROR,
        log_to_driver=False,
        configure_logging=False,
    )


def lasting_actor(kind: type, name: str, node_id: str, bound: bool, *args: Any) -> Any:
    """A handle on the actor of this name, which is made where there is none: it outlives who made it and is
    restarted whenever it dies.

    Args:
        bound: whether it lives on that node or nowhere.
    """
    place = NodeAffinitySchedulingStrategy(node_id, soft=not bound)
    options = {"name": name, "get_if_exists": True, "lifetime": "detached", "max_restarts": -1, "num_cpus": 0}
    return ray.remote(kind).options(**options, scheduling_strategy=place).remote(*args)


def take_usual_priority() -> None:
    """Within an actor: Ray makes its processes nicer than those of the run beside them, by 15 unless
    RAY_worker_niceness says otherwise; only root may take that back."""
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), 0)


def end_this_actor() -> None:
    """From within an actor: it ends and is not restarted."""
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
