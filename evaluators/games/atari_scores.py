"""What chance and people score in Atari games, and scores on the scale between the two."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import NamedTuple


class AtariScore(NamedTuple):
    """The two ends of the scale of a game."""

    random: float
    human: float

    def normalised(self, score: float) -> float:
        """0 for the score of random play, 1 for a person's: (score - random) / (human - random)."""
        return (score - self.random) / (self.human - self.random)


@cache
def atari_scores() -> dict[str, AtariScore]:
    """Of 57 games by name, "Pong"; atari_scores.json names the source."""
    data = json.loads(resources.files("evaluators.games").joinpath("atari_scores.json").read_text())
    return {game: AtariScore(*pair) for game, pair in data["random_and_human"].items()}


def game_of(env: str) -> str:
    """The game of an environment's id: "Pong" of "PongNoFrameskip-v4" and "ALE/Pong-v5"."""
    return re.sub(r"^ALE/|(NoFrameskip|Deterministic)?-(ram-)?v\d+$", "", env)
