"""The algorithms, as far as flags and presets need to know them; the rest of each is in its file of
`a3c.agents`, under the same name.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """What may be asked of an algorithm before torch is there."""

    models: tuple[str, ...] = ()  # that it takes; the default is the first that takes the observation
    epochs: int = 0  # passes over each rollout, where --epochs does not say; 0: it knows no passes
    tabular: bool = False  # it learns a table over numbered states
    fresh: bool = False  # fresh weights were measured to teach it more where many workers play at a time


FACTS = {
    "a3c": Facts(
        models=("a3c-lstm", "a3c-small", "a3c-ff", "nature", "minatar", "mlp", "mlp-deep"),
        epochs=1,
        fresh=True,
    ),
    "dqn": Facts(models=("nature", "pixels", "minatar", "mlp")),
    "ppo": Facts(models=("nature", "minatar", "mlp", "mlp-deep"), epochs=4),
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

VECTOR_MODELS = ("mlp", "mlp-deep")
"""Networks for vectors; the others take pictures."""

LEAST_SIDE = {"a3c-small": 36, "a3c-ff": 36, "nature": 36, "pixels": 29, "minatar": 3}
"""Height and width in pixels that a network for pictures needs at least; a3c-lstm takes 80x80 alone."""


def check_observation(model: str, shape: tuple[int, ...]) -> None:
    """Makes sure that a network takes observations of a shape, [F] or [C, H, W].

    Raises:
        ValueError: it does not, in words that fit behind "--model NAME: ".
    """
    if model in VECTOR_MODELS:
        if len(shape) != 1:
            raise ValueError(f"it takes a vector, not an observation of shape {shape}")
        return
    if len(shape) != 3:
        raise ValueError(f"it takes images, not an observation of shape {shape}")
    _, height, width = shape
    if model == "a3c-lstm":
        if (height, width) != (80, 80):
            what = f"it takes 80x80 images, not {height}x{width}"
            raise ValueError(f"{what}; take --model nature or, for Atari, --frame-size 80")
    elif min(height, width) < LEAST_SIDE[model]:
        raise ValueError(f"it takes images of {LEAST_SIDE[model]} pixels or more, not {height}x{width}")


def default_model(algo: str, shape: tuple[int, ...]) -> str | None:
    """The first of an algorithm's networks that takes observations of a shape, or None."""
    for model in FACTS[algo].models:
        try:
            check_observation(model, shape)
        except ValueError:
            continue
        return model
    return None
