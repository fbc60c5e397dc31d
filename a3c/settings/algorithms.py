"""The algorithms, as far as flags and presets need to know them; the rest of each is in its file of
`a3c.agents`, under the same name.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """What may be asked of an algorithm before torch is there."""

    models: tuple[str, ...] = ()  # that it takes; the first is the default for pictures, mlp that for vectors
    epochs: int = 0  # passes over each rollout, where --epochs does not say; 0: it knows no passes
    tabular: bool = False  # it learns a table over numbered states


FACTS = {
    "a3c": Facts(models=("a3c-lstm", "a3c-small", "nature", "mlp"), epochs=1),
    "dqn": Facts(models=("nature", "pixels", "mlp")),
    "ppo": Facts(models=("nature", "mlp"), epochs=4),
    "q-learning": Facts(tabular=True),
    "sarsa": Facts(tabular=True),
    "monte-carlo": Facts(tabular=True),
    "random": Facts(),
}

ALGOS = tuple(FACTS)
MODELS = tuple(dict.fromkeys(model for facts in FACTS.values() for model in facts.models))
WITH_NETWORK = tuple(algo for algo, facts in FACTS.items() if facts.models)
ACTOR_CRITICS = tuple(algo for algo, facts in FACTS.items() if facts.epochs)
TABULAR = tuple(algo for algo, facts in FACTS.items() if facts.tabular)
