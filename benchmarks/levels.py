"""How near an agent comes to the best that can be done on frozen lakes without seeing how slippery they are.

    python -m benchmarks.levels                         # what can be reached
    python -m benchmarks.levels --agent PATH            # of a run

Over `--boards` random boards (seed 1), each with 8 chances to slip spread from 0 to 2/3: the mean chance to
win within 100 steps, computed exactly. An observation has the board but not its slip, so a player without
memory has one policy for each board. Reached is what the best policy of each board wins, of those that are
optimal for one of 12 slips with a discount of 0.99 or 0.999: a lower bound of the best such player. Optimum
is who sees slip and clock.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from a3c.envs.levels import GOAL, LARGEST_MISTAKE, STEP_CAP, Level, random_level
from a3c.trained.find import find_trained, rebuild
from benchmarks.common import table
from evaluators.levels.ranking import answers

SLIPS = (np.arange(8) + 0.5) / 8 * LARGEST_MISTAKE
PLANS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.45, 0.5, 0.6, 2 / 3)
DISCOUNTS = (0.99, 0.999)


class Boards:
    """Many boards at once. N boards, 16 cells, 4 actions."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self.successors = np.stack([level.successors for level in levels])  # [N, 16, 4, 3]
        self.final = np.stack([level.final for level in levels])  # [N, 16]
        self._row = np.arange(len(levels))[:, None, None, None]
        self._won = (self.successors == GOAL) & ~self.final[:, :, None, None]

    def action_values(self, values: np.ndarray, slip: float, gamma: float = 1.0) -> np.ndarray:
        """[N, 16, 4]: chance to win by each action, then as `values` [N, 16] say."""
        after = np.where(self._won, 1.0, gamma * values[self._row, self.successors])
        after[self.final] = 0.0
        return np.asarray(after @ np.array([slip / 2, 1 - slip, slip / 2]))

    def optimum(self, slip: float) -> np.ndarray:
        """[N]: the highest chance to win, seeing slip and clock."""
        values = np.zeros(self.final.shape)
        for _ in range(STEP_CAP):
            values = self.action_values(values, slip).max(-1)
        return values[:, 0]

    def plan(self, slip: float, discount: float) -> np.ndarray:
        """[N, 16, 4]: the best policy for a slip without a clock; actions that are as good share the
        probability."""
        values = np.zeros(self.final.shape)
        for _ in range(1000):
            before, values = values, self.action_values(values, slip, discount).max(-1)
            if np.abs(values - before).max() < 1e-7:
                break
        q = self.action_values(values, slip, discount)
        best = q >= q.max(-1, keepdims=True) - 1e-6
        return np.asarray(best / best.sum(-1, keepdims=True))

    def wins(self, policy: np.ndarray, slip: float) -> np.ndarray:
        """[N]: the chance to win by a policy [N, 16, 4]."""
        values = np.zeros(self.final.shape)
        for _ in range(STEP_CAP):
            values = (policy * self.action_values(values, slip)).sum(-1)
        return values[:, 0]

    def mean_wins(self, policy: np.ndarray) -> np.ndarray:
        """[N]: the same, averaged over the slips."""
        return np.asarray(np.mean([self.wins(policy, slip) for slip in SLIPS], axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", help="a run, checkpoint or package")
    parser.add_argument("--boards", type=int, default=100)
    options = parser.parse_args()
    random = np.random.default_rng(1)
    levels = [random_level(random) for _ in range(options.boards)]
    boards = Boards(levels)
    plans = {
        (slip, discount): boards.mean_wins(boards.plan(slip, discount))
        for slip, discount in itertools.product(PLANS, DISCOUNTS)
    }
    optimum = float(np.mean([boards.optimum(slip) for slip in SLIPS]))
    (slip, discount), wins = max(plans.items(), key=lambda item: item[1].mean())
    rows = [
        ["", "mean chance to win"],
        ["optimum, seeing slip and clock", f"{optimum:.4f}"],
        ["reached without seeing the slip", f"{np.max(list(plans.values()), axis=0).mean():.4f}"],
        [f"all boards by the plan for a slip of {slip:.2f} and {discount}", f"{wins.mean():.4f}"],
    ]
    if options.agent:
        for greedy, words in ((True, "the likeliest actions"), (False, "sampled actions")):
            agent = rebuild(find_trained(options.agent), "", 1, "cpu", greedy=greedy)
            policy = np.stack([answers(agent.policy, level) for level in levels])
            rows.append([f"{options.agent}, {words}", f"{boards.mean_wins(policy).mean():.4f}"])
    print(table(rows))


if __name__ == "__main__":
    main()
