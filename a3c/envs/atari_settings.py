"""What makes an Atari environment: the settings of its id, joined with those of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from a3c.errors import UsageError
from a3c.settings.groups import EnvConfig

FRAME_SKIP = 4
"""Frames per step where the id has no skip of its own."""

LEAST_FRAME_CAP = 100
"""No-op starts and FIRE must fit into a game."""


@dataclass(frozen=True)
class AtariSettings:
    """Everything that makes an Atari environment, checked."""

    env_id: str
    game: str  # as the emulator spells it: "space_invaders"
    sticky: float  # probability that a frame repeats the previous frame's action
    frame_skip: tuple[int, int]  # fewest and most frames per step
    full_action_space: bool
    frame_cap: int  # frames after which a game is truncated
    mode: int | None
    difficulty: int | None
    classic: bool  # the protocol: classic, else machado
    size: int  # height and width of the picture
    stack: int  # pictures in an observation
    crop: bool
    step_cap: int  # steps after which a game is truncated; 0: none

    @classmethod
    def resolve(cls, config: EnvConfig, registered: Mapping[str, Any]) -> AtariSettings:
        """Joins the id's registered settings with --env-kwargs and the flags.

        Raises:
            UsageError: a setting is unknown or out of bounds, or frames would be skipped twice.
        """
        own = {**registered, **_checked(config.env_kwargs)}
        return cls(
            env_id=config.env,
            game=own["game"],
            sticky=float(own["repeat_action_probability"]),
            frame_skip=_frame_skip(config, own["frameskip"]),
            full_action_space=own["full_action_space"],
            frame_cap=own["max_num_frames_per_episode"],
            mode=own.get("mode"),
            difficulty=own.get("difficulty"),
            classic=config.protocol == "classic",
            size=config.frame_size or 84,
            stack=config.frame_stack or 4,
            crop=bool(config.crop),
            step_cap=config.max_episode_steps or 0,
        )


def _frame_skip(config: EnvConfig, own: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Fewest and most frames per step, skipped once: by the id or by --frame-skip."""
    if own == 1:
        skip = config.frame_skip or FRAME_SKIP
        return skip, skip
    low, high = (own, own) if isinstance(own, int) else (own[0], own[1] - 1)
    if config.frame_skip is not None:
        frames = f"{low}" if low == high else f"{low} to {high}"
        raise UsageError(
            f"--frame-skip {config.frame_skip}: {config.env} skips {frames} frames a step itself, and frames "
            "are skipped once only; leave the flag out, or take a NoFrameskip id or --env-kwargs frameskip=1"
        )
    return low, high


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_skip(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) == 2 and _whole(value[0], 1) and _whole(value[1], value[0] + 1)
    return _whole(value, 1)


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "repeat_action_probability": (_is_probability, "from 0 to below 1"),
    "frameskip": (_is_skip, "a number of frames, or [least,bound] to draw from, bound excluded"),
    "full_action_space": (lambda value: isinstance(value, bool), "true or false"),
    "max_num_frames_per_episode": (
        lambda value: _whole(value, LEAST_FRAME_CAP),
        f"{LEAST_FRAME_CAP} or more; without a cap some games never end",
    ),
    "mode": (lambda value: _whole(value, 0), "the number of a mode of the game"),
    "difficulty": (lambda value: _whole(value, 0), "the number of a difficulty of the game"),
}
"""What --env-kwargs may change, in Gymnasium's names: which values are right, and how to say that."""


def _checked(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    for key, value in kwargs.items():
        if key not in _RULES:
            known = ", ".join(_RULES)
            raise UsageError(f"--env-kwargs {key}: not a setting of Atari games; those are {known}")
        holds, meaning = _RULES[key]
        if not holds(value):
            raise UsageError(f"--env-kwargs {key}={value}: must be {meaning}")
    return kwargs
