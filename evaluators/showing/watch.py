"""Watching an agent play."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from a3c.agents.base import Policy
from a3c.envs.batch import Batch
from a3c.settings.groups import EnvConfig
from evaluators.games.episodes import Games, Playthrough, play
from evaluators.showing.film import Film
from evaluators.showing.stage import Display, Left, Stage, open_game

_PAUSE_S = 1.0  # at the end of a game


def watch(
    policy: Policy,
    config: EnvConfig,
    seeds: Iterable[int],
    display: Display,
    *,
    text: bool = False,
    fps: float | None = None,
    film: Film | None = None,
) -> Iterator[Games]:
    """Plays one game after another on a display, until the viewer leaves; yields each that
    was finished.

    Args:
        policy: plays.
        config: of the environment.
        seeds: one per game.
        display: where.
        text: show letters where the game has them.
        fps: steps per second; None: what suits the game.
        film: films them too.

    Raises:
        UsageError: the environment cannot be drawn.
    """
    for number, seed in enumerate(seeds, 1):
        env = open_game(config, seed, text)
        stage = Stage(env, display, "the agent plays, q quits", fps)
        steps = play(policy, Batch.of([env]), (seed,))
        games = Playthrough(film.shoot(steps) if film else steps)
        try:
            for step, played in enumerate(games, 1):
                over = bool(played.over[0])
                stage.show(number, played.scores[0], step, over)
                stage.wait_for_time(_PAUSE_S if over else 0.0)
        except Left:
            return
        finally:
            env.close()
        yield games.games
