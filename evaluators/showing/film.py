"""Filming games while they are played: one picture per step of one game at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from a3c.agents.base import Policy
from a3c.envs import EnvBatch, make_env
from a3c.errors import StorageError, UsageError
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec
from evaluators.games.episodes import Games, Played, Playthrough, play_seeds
from evaluators.showing.video import Video


class Pictures(Protocol):
    """What a film is made of: a `Video`, or a `Clip` in the logs."""

    def add(self, picture: np.ndarray) -> None:
        """Takes the next picture [H, W, 3] uint8, always of one size."""
        ...


def picture_rate(spec: EnvSpec) -> float:
    """Steps per second at which a game looks right; 15 for an Atari game that skips 4 frames."""
    return spec.frame_rate / (sum(spec.frame_skip) / 2)


class Film:
    """Films games. Trouble with a picture ends the film, never a game.

    Args:
        pictures: where they go.
        warn: is called with one line when no more pictures can be taken.
        limit: most pictures.
    """

    def __init__(self, pictures: Pictures, warn: Callable[[str], None], limit: float = math.inf) -> None:
        self._pictures, self._warn, self._limit = pictures, warn, limit
        self._size = (0, 0)  # [width, height] of the first picture; the others are made as large
        self.length = 0  # pictures taken

    def play(
        self, policy: Policy, config: EnvConfig, seeds: tuple[int, ...]
    ) -> Generator[Played, None, Games]:
        """`play_seeds`, with the first of the games filmed."""
        return self.shoot(play_seeds(policy, partial(self._make, config), seeds))

    def shoot(self, steps: Generator[Played, None, Games]) -> Generator[Played, None, Games]:
        """The same games, in environments made to be drawn; the first of them is filmed."""
        games, over = Playthrough(steps), False
        for played in games:
            if not over and self.length < self._limit:
                self._take(played.envs)
                over = bool(played.over[0])
            yield played
        return games.games

    def _make(self, config: EnvConfig, seeds: tuple[int, ...]) -> EnvBatch:
        if self.length < self._limit:
            try:
                return make_env(config, seeds, training=False, render=True)
            except UsageError as error:
                self._give_up(error)
        return make_env(config, seeds, training=False)

    def _take(self, envs: EnvBatch) -> None:
        try:
            picture = envs.render(0)
            height, width = picture.shape[:2]
            self._size = self._size if self.length else (width, height)
            if self._size != (width, height):
                picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            self._pictures.add(picture)
            self.length += 1
        except Exception as error:  # of many kinds, from others' code; and a picture is not worth a score
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._limit = self.length
        words = " ".join(str(error).split())
        self._warn(f"no {'more ' * bool(self.length)}pictures: {words}")


@contextmanager
def filming(path: Path, fps: float, warn: Callable[[str], None], limit: float = math.inf) -> Iterator[Film]:
    """A film that is in the file `path` afterwards, if it has any picture; after an exception, nothing is."""
    video = Video(path, fps)
    try:
        yield Film(video, warn, limit)
    except BaseException:
        video.discard()
        raise
    try:
        video.close()
    except StorageError as error:
        warn(str(error))
