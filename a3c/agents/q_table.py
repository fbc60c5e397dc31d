"""Tabular agents: one table q [S, A], learned by Q-learning, Sarsa or Monte Carlo (Sutton & Barto 2018).

S states, A actions, T steps and B environments of a rollout. The gradient of a cell is minus its error
(target minus q), so a store that applies plain SGD with lr = alpha makes exactly the textbook update.
A *cell* is a position in the flat table: state * A + action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from a3c.agents.base import ActsAtOnce, Algorithm, Lesson
from a3c.settings.config import Config
from a3c.stores.parameters import Parameters
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, Rows, State


class Exploration(NamedTuple):
    """Probability of a random action: falls exponentially from `start` to `final` with the episodes."""

    start: float = 1.0
    final: float = 0.05
    decay: float = 0.0005  # per episode, over all workers

    def epsilon(self, episodes: int) -> float:
        return self.final + (self.start - self.final) * math.exp(-self.decay * episodes)


class QTablePolicy:
    """Takes a best action of the table, ties broken at random, or with probability `epsilon` any action.

    Args:
        num_states: S.
        num_actions: A.
        seed: of the random choices.
        initial_q: value of every cell at first; above what can be reached, it makes the policy try all.
    """

    def __init__(self, num_states: int, num_actions: int, seed: int, initial_q: float = 0.0) -> None:
        self.parameters = Parameters({"q": (num_states, num_actions)})
        self.table = self.parameters.views["q"].numpy()  # [S, A], the same memory
        self.table.fill(initial_q)
        self.rng = np.random.default_rng(seed)
        self.epsilon = 0.0

    def refresh(self) -> None:
        """Nothing to do: `table` is the parameters."""

    def initial_state(self, batch: int) -> State:
        return ()

    def probabilities(
        self, observation: np.ndarray, first: np.ndarray, state: State
    ) -> tuple[np.ndarray, State]:
        q = self.table[observation]  # [B, A]
        best = q == q.max(axis=1, keepdims=True)
        greedy = best / best.sum(axis=1, keepdims=True)
        return (1 - self.epsilon) * greedy + self.epsilon / q.shape[1], ()

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        q = self.table[observation]  # [B, A]
        noise = self.rng.random((q.shape[0], q.shape[1] + 1))
        candidates = q == q.max(axis=1, keepdims=True)
        candidates |= noise[:, -1:] < self.epsilon
        return ActorOutput(np.where(candidates, noise[:, :-1], -1.0).argmax(axis=1), ())


class QTableAgent(ActsAtOnce):
    """A `QTablePolicy` that learns.

    Args:
        policy: acts and holds the table.
        algo: "q-learning", "sarsa" or "monte-carlo".
        gamma: discount per step.
        lr: alpha, the store's learning rate.
        exploration: how random the behaviour is.
    """

    fresh = False

    def __init__(
        self, policy: QTablePolicy, *, algo: str, gamma: float, lr: float, exploration: Exploration
    ) -> None:
        self.policy, self.parameters = policy, policy.parameters
        self.learner: Learner = LEARNERS[algo](gamma, lr)
        self.exploration = exploration

    def refresh(self) -> None:
        self.policy.refresh()

    def initial_state(self, batch: int) -> State:
        return self.policy.initial_state(batch)

    def begin_rollout(self, counters: Counters) -> None:
        self.policy.epsilon = self.exploration.epsilon(counters.episodes)

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        return self.policy.act(observation, first, state)

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        return [partial(self.gradients, rollout)]

    def gradients(self, rollout: Rollout) -> tuple[Gradients | None, dict[str, float]]:
        """Minus the errors of the cells to be learned from the rollout; None when there are none."""
        cells, errors = self.learner.errors(self.policy.table, rollout)
        metrics = {"td_error": 0.0, "epsilon": self.policy.epsilon}
        if not len(cells):
            return None, metrics
        metrics["td_error"] = float(np.abs(errors).mean())
        states, actions = np.divmod(cells, self.policy.table.shape[1])
        index = (torch.from_numpy(states), torch.from_numpy(actions))
        return {"q": Rows(index, torch.from_numpy(-errors))}, metrics

    def get_state(self) -> dict[str, Any]:
        """The random generator; episodes under way start anew with the environments."""
        return {"rng": self.policy.rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self.policy.rng.bit_generator.state = state["rng"]


class Errors(NamedTuple):
    """How far cells of the table are from their targets; no cell comes twice."""

    cells: np.ndarray  # [K] int64
    errors: np.ndarray  # [K] float32


NO_ERRORS = Errors(np.zeros(0, np.int64), np.zeros(0, np.float32))


class Learner(Protocol):
    """One way to make targets."""

    def errors(self, q: np.ndarray, rollout: Rollout) -> Errors:
        """Errors of the cells of q [S, A] to be learned from a rollout."""
        ...


class Steps(NamedTuple):
    """The transitions of a rollout, [T, B] each."""

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    discounts: np.ndarray
    learn: np.ndarray  # bool: something is to be learned from it


def real_steps(rollout: Rollout) -> Steps:
    states, valid = rollout.observations[:-1], rollout.valid()
    return Steps(states, rollout.actions, rollout.rewards, rollout.discounts, valid)


class QLearning:
    """Off-policy TD (Watkins 1989): target r + gamma max_a q(s', a)."""

    def __init__(self, gamma: float, lr: float) -> None:
        self.gamma, self.lr = gamma, lr

    def errors(self, q: np.ndarray, rollout: Rollout) -> Errors:
        discounts = self.gamma * rollout.discounts

        def target(q: np.ndarray, t: int, b: np.ndarray) -> np.ndarray:
            following = q[rollout.observations[t + 1, b]].max(axis=1)
            return np.asarray(rollout.rewards[t, b] + discounts[t, b] * following)

        return sweep(q, self.lr, real_steps(rollout), target)


class Sarsa:
    """On-policy TD (Rummery & Niranjan 1994): target r + gamma q(s', a') for the action a' taken next.

    A rollout's last step waits for the next rollout, which begins with its a'. Where a time limit cut
    the episode, a' is what the policy chose for the final observation.
    """

    def __init__(self, gamma: float, lr: float) -> None:
        self.gamma, self.lr = gamma, lr
        self._waiting: Steps | None = None  # [1, B], the last step of the previous rollout

    def errors(self, q: np.ndarray, rollout: Rollout) -> Errors:
        steps = self._join(rollout)  # [T + 1, B]
        following, chosen = steps.states[1:], steps.actions[1:]
        discounts = self.gamma * steps.discounts

        def target(q: np.ndarray, t: int, b: np.ndarray) -> np.ndarray:
            return np.asarray(steps.rewards[t, b] + discounts[t, b] * q[following[t, b], chosen[t, b]])

        return sweep(q, self.lr, Steps(*(part[:-1] for part in steps)), target)

    def _join(self, rollout: Rollout) -> Steps:
        """The waiting step, if there is one, and those of the rollout, the last of which waits next."""
        new = real_steps(rollout)
        waiting, self._waiting = self._waiting, Steps(*(part[-1:].copy() for part in new))
        if waiting is None:
            return new
        waiting.learn[rollout.firsts[:1]] = False  # the environments were made anew
        return Steps(*(np.concatenate(pair) for pair in zip(waiting, new, strict=True)))


class MonteCarlo:
    """Every-visit Monte Carlo: the target is the return of the whole episode from that step on.

    The return of an episode cut by a time limit goes on with q(s, a) of its final observation s and the
    action a the policy chose there.
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self._open: list[list[tuple[int, float]]] = []  # per environment: (cell, reward) so far

    def errors(self, q: np.ndarray, rollout: Rollout) -> Errors:
        flat, valid = q.reshape(-1), rollout.valid()
        cells = rollout.observations[:-1] * q.shape[1] + rollout.actions  # [T, B]
        self._open = self._open or [[] for _ in range(cells.shape[1])]
        done: list[tuple[int, float]] = []  # (cell, return)
        for b, episode in enumerate(self._open):
            if rollout.firsts[0, b]:
                episode.clear()  # the environments were made anew
            columns = (part[:, b].tolist() for part in (cells, rollout.rewards, rollout.discounts, valid))
            for cell, reward, discount, real in zip(*columns, strict=True):
                if real:
                    episode.append((cell, reward))
                if not real or discount == 0:
                    done += self._returns(episode, 0.0 if real else float(flat[cell]))
                    episode.clear()
        if not done:
            return NO_ERRORS
        visited = np.array([cell for cell, _ in done])
        returns = np.array([value for _, value in done], dtype=np.float32)
        return mean_by_cell(visited, returns - flat[visited])

    def _returns(self, episode: list[tuple[int, float]], following: float) -> list[tuple[int, float]]:
        """(cell, return) of every visit, where what comes after the episode is worth `following`."""
        returns = []
        for cell, reward in reversed(episode):
            following = reward + self.gamma * following
            returns.append((cell, following))
        return returns


LEARNERS: dict[str, Callable[[float, float], Learner]] = {
    "q-learning": QLearning,
    "sarsa": Sarsa,
    "monte-carlo": lambda gamma, lr: MonteCarlo(gamma),
}


def sweep(
    q: np.ndarray,
    lr: float,
    steps: Steps,
    target: Callable[[np.ndarray, int, np.ndarray], np.ndarray],
) -> Errors:
    """Errors of one pass of TD updates backwards through the steps, so that a reward reaches all of them.

    The pass works on a copy of q; what it returns, applied with the same lr, makes the same table. A cell
    that several environments visit at the same time gets their mean error: one update, not many.

    Args:
        q: [S, A].
        lr: alpha.
        steps: [T, B].
        target: of (q, t, b): the targets [n] of step t in the environments b [n].
    """
    if len(steps.actions) > 1:
        q = q.copy()
    flat, updates = q.reshape(-1), []
    for t in reversed(range(len(steps.actions))):
        b = np.flatnonzero(steps.learn[t])
        if not len(b):
            continue
        cells = steps.states[t, b] * q.shape[1] + steps.actions[t, b]
        update = mean_by_cell(cells, target(q, t, b) - flat[cells])
        if len(steps.actions) > 1:
            flat[update.cells] += lr * update.errors
        updates.append(update)
    if len(updates) < 2:
        return updates[0] if updates else NO_ERRORS
    cells, total, _ = group(*(np.concatenate(part) for part in zip(*updates, strict=True)))
    return Errors(cells, total.astype(np.float32))


def mean_by_cell(cells: np.ndarray, errors: np.ndarray) -> Errors:
    """The mean of the errors [N] of each cell that occurs in cells [N]."""
    if len(cells) == 1:
        return Errors(cells, errors)
    unique, total, count = group(cells, errors)
    return Errors(unique, (total / count).astype(np.float32))


def group(cells: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells that occur, ascending, and for each the sum and the number of its errors."""
    count = np.bincount(cells)
    unique = np.flatnonzero(count)
    return unique, np.bincount(cells, errors)[unique], count[unique]


# ---------------------------------------------------------------------------------------------------
# From settings


def make_policy(config: Config, spec: EnvSpec, seed: int, device: str, greedy: bool) -> QTablePolicy:
    """A fresh table, played greedily in any case."""
    return QTablePolicy(spec.num_states, spec.num_actions, seed, config.table.initial_q)


def make_agent(config: Config, spec: EnvSpec, seed: int, device: str, place: float) -> QTableAgent:
    """The agent of a worker."""
    explore = config.explore
    return QTableAgent(
        make_policy(config, spec, seed, device, greedy=False),
        algo=config.learn.algo,
        gamma=config.learn.gamma,
        lr=config.optim.lr,
        exploration=Exploration(explore.epsilon_start, explore.epsilon_final, explore.epsilon_decay),
    )


TABLES = tuple(Algorithm(name, ("td_error", "epsilon"), make_policy, make_agent) for name in LEARNERS)
