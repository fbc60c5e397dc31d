"""Whether what a checkpoint says of its run can be used: looked at before anything is built of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch

from a3c.errors import CheckpointError
from a3c.settings.config import Config
from a3c.types import Counters

_MOST_ENV_KWARGS_BYTES = 2**15
"""Of a file's: a board of 100 by 100 fields takes 10 kB, and some environments build what they are told."""


def check_state(state: Mapping[str, Any], where: object, packed: bool = False) -> None:
    """Raises CheckpointError unless the fields of a checkpoint's state are of their kinds.

    Args:
        where: what to call it in the message.
        packed: whether it is of a package, which has fewer of them.
    """
    kinds = _OF_A_PACKAGE if packed else {**_OF_A_PACKAGE, **_OF_A_RUN}
    wrong = [name for name, right in kinds.items() if name not in state or not right(state[name])]
    if wrong:
        words = ", ".join(wrong)
        raise CheckpointError(f"{where} is damaged: its state has nothing that can be used as {words}")


def check_size(config: Config, weights: Mapping[str, torch.Tensor], where: object) -> None:
    """Raises CheckpointError when a file's settings ask for more than its weights can fill, before a network
    or an environment of that size is built.

    Args:
        config: the settings.
        weights: what is in the file.
        where: what to call it in the message.
    """
    layers, there = config.dqn.hidden, sum(tensor.numel() for tensor in weights.values())
    least = sum(layers) + sum(inputs * outputs for inputs, outputs in pairwise(layers))
    if (config.learn.algo, config.learn.model) == ("dqn", "mlp") and least > there:
        raise CheckpointError(
            f"{where}: layers of {layers} have more than {least} weights, and there are {there} in the file"
        )
    size = len(json.dumps(config.env.env_kwargs, default=str))
    if size > _MOST_ENV_KWARGS_BYTES:
        raise CheckpointError(
            f"{where}: its env_kwargs take {size} bytes, more than the {_MOST_ENV_KWARGS_BYTES} allowed"
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_env(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("env_id"), str)


def _are_counters(value: Any) -> bool:
    known = {*Counters._fields, "rejected"}
    return (
        isinstance(value, dict)
        and "env_steps" in value
        and value.keys() <= known
        and all(map(_is_count, value.values()))
    )


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(group, dict) for group in value.values())


def _is_record(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and _is_number(value.get("mean")) and _is_count(value.get("env_steps"))


_OF_A_PACKAGE: dict[str, Callable[[Any], bool]] = {
    "algo": lambda value: isinstance(value, str),
    "env": _is_env,
    "network": lambda value: isinstance(value, dict),
    "config": _is_config,
    "counters": _are_counters,
}
_OF_A_RUN: dict[str, Callable[[Any], bool]] = {
    "elapsed_s": _is_number,
    "best": _is_record,
    "agent": lambda value: isinstance(value, dict),
    "resumes": _is_count,
}
