"""`a3c levels`: ranks levels of the adjustable frozen lake by how often an agent fails them.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from a3c.errors import EXIT_OK, UsageError
from a3c.settings.flags import Parser, flag_value, whole_number
from a3c.settings.values import parse_number

if TYPE_CHECKING:
    from a3c.agents.base import Policy
    from a3c.envs.levels import Level

MAX_LEVELS, MAX_PLAYS = 100, 1_000_000


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)
    start = time.monotonic()

    from evaluators.levels.ranking import rank, table, write_picture, write_table

    levels = _levels(options)
    agent, policy = ("the random agent", None) if options.random else _trained(options.run)
    ranked = rank(levels, policy, options.plays, options.seed)
    print(f"{agent}: {len(levels)} levels, {options.plays} plays of each, seed {options.seed}")
    print(table(ranked))
    write_table(options.out.with_suffix(".csv"), ranked)
    write_picture(options.out.with_suffix(".png"), ranked, agent)
    print("difficulty is 1 - the agent's share of wins; optimum is the highest share anybody can reach")
    print(f"written to {options.out}.csv and {options.out}.png, after {time.monotonic() - start:.1f} s")
    return EXIT_OK


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "a3c levels",
        "Ranks random levels of FrozenLakeLevels-v0 by difficulty: 1 minus the share of plays that the agent "
        "wins, beside the highest share that is possible and that of the random agent.",
    )
    add = parser.add_argument
    add(
        "--count", metavar="N", type=whole_number(1, MAX_LEVELS), default=10,
        help="how many random levels [default 10]",
    )  # fmt: skip
    add(
        "--plays", metavar="N", type=whole_number(1, MAX_PLAYS), default=10_000,
        help="games of each level [default 10000]",
    )  # fmt: skip
    add(
        "--run", metavar="RUN", default="",
        help="the agent's run, checkpoint or package, or released:NAME [default: the newest run]",
    )  # fmt: skip
    add("--random", action="store_true", help="rank by the random agent instead")
    add(
        "--seed", metavar="N", type=whole_number(0, 2**31 - 1), default=1,
        help="seed of the random levels and of the plays [default 1]",
    )  # fmt: skip
    add("--board", metavar="ROWS", help="this board instead of random ones, like SFFF/FHFH/FFFH/HFFG")
    add(
        "--p-mistake", metavar="X", type=flag_value(parse_number),
        help="chance that a move slips [default: random; 2/3 with --board]",
    )  # fmt: skip
    add(
        "--out", metavar="NAME", type=Path, default=Path("levels"),
        help="writes the table to NAME.csv and the boards to NAME.png [default levels]",
    )  # fmt: skip
    options = parser.parse(argv)
    if options.run and options.random:
        raise UsageError("--run names an agent and --random takes none; give only one of them")
    if not options.out.name or not options.out.absolute().parent.is_dir():
        raise UsageError(f"--out {options.out}: name files in a folder that exists")
    return options


def _levels(options: argparse.Namespace) -> list[Level]:
    from a3c.envs.levels import LARGEST_MISTAKE, Level
    from evaluators.levels.ranking import make_levels

    p_mistake: float | None = options.p_mistake
    if p_mistake is not None and not 0 <= p_mistake <= 1:
        raise UsageError(f"--p-mistake {p_mistake:g}: a chance is from 0 to 1")
    if not options.board:
        return make_levels(options.count, options.seed, p_mistake)
    try:
        return [Level.parse(options.board, LARGEST_MISTAKE if p_mistake is None else p_mistake)]
    except ValueError as error:
        raise UsageError(f"--board {error}") from error


def _trained(run: str) -> tuple[str, Policy]:
    """What the agent is called, and the agent."""
    from a3c.envs.levels import LEVELS_ID
    from a3c.settings.algorithms import ACTOR_CRITICS
    from a3c.trained.find import find_trained, rebuild

    try:
        trained = find_trained(run, env=LEVELS_ID, flag="--run")
    except UsageError as error:
        hint = "train one with: a3c run --preset levels-ppo; or rank by random play with --random"
        raise UsageError(f"{error}; {hint}" if run else f"no agent of {LEVELS_ID} yet; {hint}") from error
    if trained.env_id != LEVELS_ID:
        raise UsageError(f"--run {trained.path}: trained in {trained.env_id}; levels need one of {LEVELS_ID}")
    print(f"{trained.path}, {trained.env_steps} steps of training", file=sys.stderr)
    greedy = trained.checkpoint.state["algo"] not in ACTOR_CRITICS  # they learned to win with sampled actions
    rebuilt = rebuild(trained, "", 1, "cpu", greedy)
    return f"the {rebuilt.config.learn.algo} agent", rebuilt.policy
