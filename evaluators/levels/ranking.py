"""How hard levels are: played many thousand times at once, beside the exact optimum and the random agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
from matplotlib.figure import Figure

from a3c.agents.base import Policy
from a3c.envs.levels import (
    ACTIONS,
    CELLS,
    GOAL,
    LEVELS_ID,
    STEP_CAP,
    Level,
    board_picture,
    random_level,
    veer,
)
from a3c.storage.atomic import storage_errors
from a3c.storage.records import write_csv
from evaluators.games.exact import Model, optimal_value, policy_value, transition_model

RANDOM_PLAY = np.full((CELLS, ACTIONS), 1 / ACTIONS)
"""[16, 4]: the random agent."""

_COLUMNS = 5  # of boards in the picture


class Ranked(NamedTuple):
    """A level and how often it was won; rates are from 0 to 1."""

    number: int  # in the order the levels were made, from 1
    level: Level
    wins: float  # share of the plays that the agent won
    exact_wins: float  # what that share tends to with more plays
    optimal_wins: float  # the highest share that any player can reach
    random_wins: float  # share of the plays that the random agent won

    @property
    def difficulty(self) -> float:
        """1 minus the share of the plays that the agent won."""
        return 1 - self.wins


def make_levels(count: int, seed: int, p_mistake: float | None) -> list[Level]:
    """`count` random levels; the first ones are the same however many there are."""
    random = np.random.default_rng(seed)
    return [random_level(random, p_mistake) for _ in range(count)]


def rank(levels: Sequence[Level], policy: Policy | None, plays: int, seed: int) -> list[Ranked]:
    """The levels with the hardest first.

    Args:
        levels: what is played.
        policy: one without memory: its answer depends on the state only. None: the random agent.
        plays: games of each level.
        seed: of all chance; each level has its own.
    """
    ranked = []
    for number, level in enumerate(levels, 1):
        behaviour = RANDOM_PLAY if policy is None else answers(policy, level)
        random = np.random.default_rng([seed, number])
        model = level_model(level)
        ranked.append(
            Ranked(
                number,
                level,
                wins=win_rate(level, behaviour, plays, random),
                exact_wins=policy_value(model, behaviour),
                optimal_wins=optimal_value(model),
                random_wins=win_rate(level, RANDOM_PLAY, plays, random),
            )
        )
    return sorted(ranked, key=lambda row: (-row.difficulty, row.number))


def level_model(level: Level) -> Model:
    """The dynamics for `evaluators.games.exact`, with the limit of 100 steps."""
    env = gymnasium.make(LEVELS_ID, disable_env_checker=True, board=level.text, p_mistake=level.p_mistake)
    return transition_model(env)


def answers(policy: Policy, level: Level) -> np.ndarray:
    """[16, 4]: what a policy does in each cell, as probabilities: asked once, in one batch."""
    return policy.probabilities(level.states(), np.ones(CELLS, bool), policy.initial_state(CELLS))[0]


def win_rate(level: Level, behaviour: np.ndarray, plays: int, random: np.random.Generator) -> float:
    """Share of the games won when all are played at once.

    Args:
        level: what is played.
        behaviour: [16, 4] probabilities of the actions in each cell.
        plays: how many games.
        random: draws actions and slips.
    """
    bounds = behaviour.cumsum(axis=1)[:, :-1]  # [16, 3], between one action and the next
    cells, won = np.zeros(plays, np.int64), 0
    for _ in range(STEP_CAP):
        actions = (random.random((len(cells), 1)) >= bounds[cells]).sum(axis=1)
        cells = level.successors[cells, actions, veer(random.random(len(cells)), level.p_mistake)]
        won += int((cells == GOAL).sum())
        cells = cells[~level.final[cells]]
        if not len(cells):
            break
    return won / plays


# ---------------------------------------------------------------------------------------------------
# Showing


def table(ranked: Sequence[Ranked]) -> str:
    """The ranking in lines."""
    lines = ["  #  level  difficulty   agent  optimum  random   slips  holes  board"]
    lines += [
        f"{place:>3}  {r.number:>5}  {r.difficulty:>10.4f}  {r.wins:>6.4f}  {r.optimal_wins:>7.4f}  "
        f"{r.random_wins:>6.4f}  {r.level.p_mistake:>6.3f}  {r.level.holes:>5}  {r.level.text}"
        for place, r in enumerate(ranked, 1)
    ]
    return "\n".join(lines)


def write_table(path: Path, ranked: Sequence[Ranked]) -> None:
    """The ranking as CSV. Raises StorageError."""
    columns = "rank level difficulty p_mistake holes agent agent_exact optimal random board"
    rows = []
    for place, r in enumerate(ranked, 1):
        rates = [round(rate, 6) for rate in (r.wins, r.exact_wins, r.optimal_wins, r.random_wins)]
        level = r.level
        rows.append(
            [place, r.number, round(r.difficulty, 6), level.p_mistake, level.holes, *rates, level.text]
        )
    with storage_errors(f"write {path}"):
        write_csv(path, columns.split(), rows)


def write_picture(path: Path, ranked: Sequence[Ranked], agent: str) -> None:
    """The boards, hardest first, as a picture. Raises StorageError."""
    rows = -(-len(ranked) // _COLUMNS)
    figure = Figure(figsize=(2.5 * _COLUMNS, 3.2 * rows + 0.5), layout="constrained")
    figure.suptitle(f"Levels by difficulty for {agent}", fontsize=16)
    for place, axes in enumerate(figure.subplots(rows, _COLUMNS, squeeze=False).flat):
        axes.set_axis_off()
        if place >= len(ranked):
            continue
        row = ranked[place]
        axes.imshow(board_picture(row.level))
        axes.set_title(f"{place + 1}.  difficulty {row.difficulty:.2f}", fontsize=14, fontweight="bold")
        words = f"slips {row.level.p_mistake:.0%}\nagent {row.wins:.2f}, optimum {row.optimal_wins:.2f}"
        axes.text(0.5, -0.03, words, transform=axes.transAxes, ha="center", va="top", fontsize=12)
    with storage_errors(f"write {path}"):
        figure.savefig(path, dpi=100)
