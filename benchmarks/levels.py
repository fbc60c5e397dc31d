"""How near an agent comes to the best that can be done on frozen lakes without seeing how slippery they are.

    python -m benchmarks.levels                         # what can be reached
    python -m benchmarks.levels --agent PATH            # of a run

Over `--boards` random boards (of `--seed`, 1), each with 8 chances to slip spread from 0 to 2/3: the mean
chance to win within 100 steps, computed exactly. An observation has the board but not its slip, so a player
without memory has one policy for each board. Reached is what gradient ascent on that very chance finds, a
policy for each board: a lower bound of the best such player. Optimum is who sees slip and clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from a3c.envs.levels import ACTIONS, CELLS, GOAL, LARGEST_MISTAKE, STEP_CAP, Level, random_level
from a3c.trained.find import find_trained, rebuild
from benchmarks.common import table
from evaluators.levels.ranking import answers

SLIPS = (np.arange(8) + 0.5) / 8 * LARGEST_MISTAKE
MIDDLE = LARGEST_MISTAKE / 2
ASCENT_STEPS = 300


def chances(slip: np.ndarray | float) -> np.ndarray:
    """[..., 3], of slips [...]: that a move veers to the left, goes straight, veers to the right."""
    return np.stack([slip / 2, 1 - slip, slip / 2], axis=-1)


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
        return np.asarray(after @ chances(slip))

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

    def ascent(self, steps: int = ASCENT_STEPS) -> np.ndarray:
        """[N, 16, 4]: the policy that `steps` of Adam on the mean chance to win find, from a uniform one."""
        playing = torch.from_numpy(~self.final)[:, :, None, None, None]
        ends = F.one_hot(torch.from_numpy(self.successors), CELLS) * playing
        outcomes = torch.from_numpy(chances(SLIPS))
        moves = torch.einsum("bcavn,sv->sbcan", ends.double(), outcomes)  # [slips, N, 16, 4, 16]
        wins = torch.einsum("bcav,sv->sbca", torch.from_numpy(self._won).double(), outcomes)
        logits = torch.zeros(*self.final.shape, ACTIONS, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.1)
        for _ in range(steps):
            policy = logits.softmax(-1)
            move = torch.einsum("bca,sbcan->sbcn", policy, moves)
            win = torch.einsum("bca,sbca->sbc", policy, wins)[..., None]
            after, value = move, win  # where one is after t steps, and the chance to have won by then
            for bit in f"{STEP_CAP:b}"[1:]:  # t doubles, and grows by one where the bit is 1
                after, value = after @ after, value + after @ value
                if bit == "1":
                    after, value = move @ after, win + move @ value
            loss = -value[:, :, 0].mean(0).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return logits.detach().softmax(-1).numpy()

    def mean_wins(self, policy: np.ndarray) -> np.ndarray:
        """[N]: the same, averaged over the slips."""
        return np.asarray(np.mean([self.wins(policy, slip) for slip in SLIPS], axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", help="a run, checkpoint or package")
    parser.add_argument("--boards", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(options.seed)
    levels = [random_level(random) for _ in range(options.boards)]
    boards = Boards(levels)
    optimum = float(np.mean([boards.optimum(slip) for slip in SLIPS]))
    plan = boards.plan(MIDDLE, 0.99)
    rows = [
        ["", "mean chance to win"],
        ["optimum, seeing slip and clock", f"{optimum:.4f}"],
        ["reached without seeing the slip", f"{boards.mean_wins(boards.ascent()).mean():.4f}"],
        ["every board as if it slipped with 1/3", f"{boards.mean_wins(plan).mean():.4f}"],
    ]
    if options.agent:
        for greedy, words in ((True, "the likeliest actions"), (False, "sampled actions")):
            agent = rebuild(find_trained(options.agent), "", 1, "cpu", greedy=greedy)
            policy = np.stack([answers(agent.policy, level) for level in levels])
            rows.append([f"{options.agent}, {words}", f"{boards.mean_wins(policy).mean():.4f}"])
    print(table(rows))


if __name__ == "__main__":
    main()
