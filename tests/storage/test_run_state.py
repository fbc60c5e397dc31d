"""A checkpoint's state by anybody: each field of its kind, and no more asked for than the file can fill."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from a3c.errors import CheckpointError
from a3c.settings.config import resolve
from a3c.storage.run_state import check_size, check_state
from a3c.types import Counters

PACKED = {
    "algo": "a3c",
    "env": {"env_id": "CartPole-v1"},
    "network": {"w": [3]},
    "config": resolve({}).to_dict(),
    "counters": Counters(env_steps=5)._asdict(),
}
STATE = {**PACKED, "elapsed_s": 1.5, "best": {"mean": 3.0, "env_steps": 5}, "agent": {}, "resumes": 0}


def test_what_a_run_writes_is_in_order() -> None:
    check_state(STATE, "it")
    check_state({**STATE, "best": None, "counters": {"env_steps": 5, "rejected": 2}}, "it")
    check_state(PACKED, "it", packed=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algo", ["a3c"]),
        ("env", {"env_id": 5}),
        ("env", "CartPole-v1"),
        ("network", []),
        ("config", {"env": "x"}),
        ("config", None),
        ("counters", "x"),
        ("counters", {}),
        ("counters", {"env_steps": "5"}),
        ("counters", {"env_steps": -1}),
        ("counters", {"env_steps": 10**400}),
        ("counters", {"env_steps": 5, "other": 1}),
        ("counters", {"env_steps": True}),
        ("elapsed_s", float("inf")),
        ("elapsed_s", "1"),
        ("best", {"mean": "abc", "env_steps": 5}),
        ("best", {"mean": 1.0}),
        ("best", 5),
        ("agent", []),
        ("resumes", 1.5),
    ],
)
def test_f83_a_field_of_another_kind_is_one_line(field: str, value: Any) -> None:
    for state in ({**STATE, field: value}, {n: v for n, v in STATE.items() if n != field}):
        with pytest.raises(CheckpointError, match=f"it is damaged: its state has nothing .* as {field}$"):
            check_state(state, "it")


def test_f82_layers_that_the_weights_cannot_fill() -> None:
    weights = {"w": torch.zeros(256, 256), "b": torch.zeros(512)}
    check_size(resolve({"algo": "dqn", "env": "CartPole-v1", "model": "mlp"}), weights, "it")
    for hidden in ((40_000, 40_000), (100_000,)):
        config = resolve({"algo": "dqn", "env": "CartPole-v1", "model": "mlp"}).replace(hidden=hidden)
        with pytest.raises(CheckpointError, match=r"layers of .* more than \d+ weights, .* are 66048"):
            check_size(config, weights, "it")


def test_f82_an_environment_of_any_size() -> None:
    board = {"desc": ["S" + "F" * 300] * 3001}
    config = resolve({"env": "FrozenLake-v1"}).replace(env_kwargs=board)
    with pytest.raises(CheckpointError, match=r"it: its env_kwargs take \d+ bytes, more than"):
        check_size(config, {"q": torch.zeros(900_600, 4)}, "it")
    check_size(config.replace(env_kwargs={"desc": ["S" + "F" * 99] * 100}), {"q": torch.zeros(1)}, "it")
