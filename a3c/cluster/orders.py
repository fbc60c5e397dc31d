"""What the head tells the other nodes, and what they make of it."""

from __future__ import annotations

from typing import Any

from a3c.settings.config import Config, from_dict
from a3c.settings.values import typed


def settings_for_nodes(config: Config) -> dict[str, Any]:
    """The head's, but for its files and its cluster's address: what has to be the same on all nodes."""
    own = {"load": "", "run_dir": "", "init_from": "", "partial": False, "track": False, "cluster": ""}
    return config.replace(**own).to_dict()


def settings_of(order: dict[str, Any]) -> Config:
    """Those of the head; the environment was typed there, which is as good as typed here."""
    config = from_dict(order["settings"], "the head's settings")
    return config.replace(env=typed(config.env.env), env_kwargs=typed(config.env.env_kwargs))


def offset(seat: int) -> float:
    """Where the workers of the `seat`-th node lie between those of the head, from 0 to 1: 1/2, 1/4, 3/4, 1/8,
    ... (van der Corput), so that any number of nodes is spread evenly."""
    place, part = 0.0, 0.5
    while seat:
        place += part * (seat % 2)
        seat, part = seat // 2, part / 2
    return place
