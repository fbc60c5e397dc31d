"""`a3c play`: a game by keyboard, or an agent at play, in the terminal or in a window.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from a3c.errors import EXIT_OK, UsageError
from a3c.settings.flags import Parser, flag_value, whole_number
from a3c.settings.groups import EnvConfig
from a3c.settings.values import Typed, parse_key_value, parse_number, typed

if TYPE_CHECKING:
    from evaluators.showing.stage import Display

_DEFAULT_ENV = "FrozenLakeLevels-v0"


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)

    from a3c.envs.registry import full_id
    from evaluators.showing.player import summary

    options.env = full_id(options.env)
    display = _display(options.window)  # first of all: without one, nothing else matters
    env_id, scores = _person(options, display) if options.watch is None else _agent(options, display)
    print(summary(env_id, scores))
    return EXIT_OK


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "a3c play",
        "Plays a game by keyboard: arrows or WASD move, space fires, q quits. In the terminal, over ssh too, "
        "or in a window.",
    )
    add = parser.add_argument
    add(
        "--env",
        metavar="ID",
        type=Typed,
        default="",
        help=f"the game [default {_DEFAULT_ENV}, or the agent's]",
    )
    add(
        "--env-kwargs", metavar="KEY=VALUE", nargs="*", default=[], type=flag_value(parse_key_value),
        help="settings passed to the game, like p_mistake=0.2",
    )  # fmt: skip
    add(
        "--watch", metavar="RUN", nargs="?", const="",
        help="an agent plays: of this run, checkpoint or package, or released:NAME [default: the newest run]",
    )  # fmt: skip
    add("--greedy", action="store_true", help="the agent takes the likeliest action instead of sampling")
    add("--window", action="store_true", help="in a window instead of the terminal")
    add(
        "--fps", metavar="X", type=flag_value(_rate),
        help="steps per second [default: the game's own; on a board 4, and without limit for a person]",
    )  # fmt: skip
    add("--games", metavar="N", type=whole_number(1, 10_000), help="stop after this many games")
    add(
        "--seed", metavar="N", type=whole_number(0, 2**31 - 1),
        help="seed of the first game, to play the same games again [default: random]",
    )  # fmt: skip
    options = parser.parse(argv)
    if options.watch is not None and options.env_kwargs:
        raise UsageError("--env-kwargs goes with playing yourself; an agent plays as it was trained")
    if options.greedy and options.watch is None:
        raise UsageError("--greedy is about an agent; it goes with --watch")
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(3), "little")
    return options


def _rate(text: str) -> float:
    rate = parse_number(text)
    if not 0 < rate <= 1000:
        raise ValueError("not above 0 and up to 1000")
    return rate


def _display(window: bool) -> Display:
    if not window:
        from evaluators.showing.terminal import Terminal

        return Terminal()
    from evaluators.showing.game_window import GameWindow

    try:
        return GameWindow()
    except UsageError as error:
        raise UsageError(f"--window: {error}; without --window, the game is in the terminal") from error


def _person(options: argparse.Namespace, display: Display) -> tuple[str, list[float]]:
    """The game's id, and the scores of a person."""
    from a3c.envs.registry import RENAMED
    from evaluators.showing.player import play_games
    from evaluators.showing.stage import open_game

    name = options.env or _DEFAULT_ENV
    config = EnvConfig(env=RENAMED.get(name, name), env_kwargs=typed(dict(options.env_kwargs)))
    env = open_game(config, options.seed, text=not options.window)
    try:
        with display:
            return env.spec.env_id, play_games(env, display, options.games, options.fps)
    finally:
        env.close()


def _agent(options: argparse.Namespace, display: Display) -> tuple[str, list[float]]:
    """The game's id, and the scores of an agent."""
    from a3c.trained.find import find_trained, rebuild
    from evaluators.showing.watch import watch

    trained = find_trained(options.watch, env=options.env, flag="--watch")
    agent = rebuild(trained, options.env, options.seed, "cpu", options.greedy)
    seeds = itertools.islice(itertools.count(options.seed), options.games)
    with display:
        games = watch(
            agent.policy, agent.config.env, seeds, display, text=not options.window, fps=options.fps
        )
        return agent.env.env_id, [score for game in games for score in game.scores]
