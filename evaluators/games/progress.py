"""A word now and then on how far games are."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator

from evaluators.games.episodes import Games, Played, Playthrough

EVERY_S = 10.0


def with_progress(steps: Generator[Played, None, Games], total: int) -> Generator[Played, None, Games]:
    """The same games, with a line on standard error every 10 seconds.

    Args:
        steps: games in progress.
        total: how many they are.
    """
    over, step, due = 0, 0, time.monotonic() + EVERY_S
    games = Playthrough(steps)
    for played in games:
        over, step = over + int(played.over.sum()), step + 1
        if time.monotonic() > due:
            due = time.monotonic() + EVERY_S
            print(f"note: step {step}, {over} of {total} games are over", file=sys.stderr, flush=True)
        if played.over.all():  # the next ones begin
            step = 0
        yield played
    return games.games
