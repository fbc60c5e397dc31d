"""The exact value of a tabular policy, from the environment's own transition table.

Toy-text environments of Gymnasium publish their dynamics as `env.unwrapped.P`; with it a policy's
expected return is computed, not sampled. Values are those of the episode as it is played: its time
limit is the horizon, and the return is not discounted unless a gamma is given.

Dimensions: S states, A actions, K the most outcomes one state and action can have.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from a3c.envs.transitions import read_transitions
from a3c.errors import UsageError

MAX_SWEEPS = 100_000  # of value iteration where no time limit ends it
TIE = 1e-9  # computed action values closer than this are equal


class Model(NamedTuple):
    """The dynamics of a tabular environment; see `transition_model`."""

    successors: np.ndarray  # [S, A, K] int64
    continuing: np.ndarray  # [S, A, K] probability of that successor with the episode going on
    rewards: np.ndarray  # [S, A] expected
    start: np.ndarray  # [S] distribution of the first state
    horizon: int  # steps after which an episode is cut; 0: never


class ExactScore(NamedTuple):
    """How good a policy is, in undiscounted return."""

    exact_value: float  # mean over the start states
    optimal_value: float  # of the best policy that may also watch the clock: nothing is better
    regret: float  # optimal_value - exact_value
    worst_regret: float  # the same from the start state where it is largest


def transition_model(env: gymnasium.Env[Any, Any], horizon: int | None = None) -> Model:
    """Reads a model from an environment with a transition table.

    Args:
        env: made by `gymnasium.make`; its own settings (slippery, rainy, map) are in its table.
        horizon: steps after which an episode is cut; default: the environment's own time limit.

    Raises:
        UsageError: the environment has no transition table, or one that is not all of its dynamics.
    """
    table = read_transitions(env)
    if horizon is None:
        horizon = (env.spec.max_episode_steps if env.spec else None) or 0
    continuing = np.where(table.terminal, 0.0, table.probabilities)
    rewards = (table.probabilities * table.rewards).sum(axis=2)
    return Model(table.successors, continuing, rewards, table.start, horizon)


def action_values(model: Model, values: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """[S, A]: expected reward of each action plus the value [S] of what follows (Bellman's backup)."""
    following = (model.continuing * values[model.successors]).sum(axis=-1)
    return np.asarray(model.rewards + gamma * following)


def greedy_policy(q: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """[S, A] probabilities of acting greedily on a table q [S, A], ties broken uniformly at random.

    A state whose actions all tie (nothing was learned there) gets the uniform policy, not action 0.
    """
    best = q >= q.max(axis=1, keepdims=True) - tolerance
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def policy_values(model: Model, policy: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """[S]: exact expected return of a policy from each state at the start of an episode.

    Args:
        policy: [S, A] probabilities.

    Raises:
        UsageError: neither the policy nor a time limit ends the episode.
    """
    return _values(model, lambda q: np.asarray((policy * q).sum(axis=1)), gamma)


def policy_value(model: Model, policy: np.ndarray, gamma: float = 1.0) -> float:
    """`policy_values`, averaged over the start states."""
    return float(model.start @ policy_values(model, policy, gamma))


def optimal_values(model: Model, gamma: float = 1.0) -> np.ndarray:
    """[S]: the highest expected return from each state, by backward induction.

    Under a time limit it takes a policy that watches the clock to reach it.
    """
    return _values(model, lambda q: np.asarray(q.max(axis=1)), gamma)


def optimal_value(model: Model, gamma: float = 1.0) -> float:
    """`optimal_values`, averaged over the start states."""
    return float(model.start @ optimal_values(model, gamma))


def _values(model: Model, choose: Callable[[np.ndarray], np.ndarray], gamma: float) -> np.ndarray:
    """[S]: values with `horizon` steps to go, where `choose` turns [S, A] action values into [S]."""
    values = np.zeros(len(model.start))
    tolerance = 0.0 if model.horizon else 1e-13
    for _ in range(model.horizon or MAX_SWEEPS):
        longer = choose(action_values(model, values, gamma))
        if np.abs(longer - values).max() <= tolerance:
            return longer  # one more step to go changes nothing, nor will any further one
        values = longer
    if not model.horizon:
        raise UsageError("the policy may never end an episode, so it has no value; give --max-episode-steps")
    return values


def best_stationary_policy(model: Model) -> np.ndarray:
    """[S, A]: the best policy found among those that do not watch the clock.

    Starts from the greedy policy for gamma = 1 - 1/horizon and then changes one state at a time along
    the exact policy gradient (Sutton et al. 1999), as long as the exact value rises. What is left
    cannot be improved to first order by any change, random mixtures included.
    """
    endless, gamma = model._replace(horizon=0), 1 - 1 / (model.horizon or 10**6)
    policy = greedy_policy(action_values(model, optimal_values(endless, gamma), gamma), TIE)
    if not model.horizon:
        return policy
    optimum, value = optimal_value(model), policy_value(model, policy)
    while optimum - value > TIE:
        better = _improved_in_one_state(model, policy, value)
        if better is None:
            break
        policy, value = better
    return policy


def _improved_in_one_state(model: Model, policy: np.ndarray, value: float) -> tuple[np.ndarray, float] | None:
    gradient = _policy_gradient(model, policy)
    gain = gradient.max(axis=1) - (policy * gradient).sum(axis=1)
    for state in np.argsort(-gain)[: np.count_nonzero(gain > TIE)]:
        changed = policy.copy()
        changed[state] = np.eye(policy.shape[1])[gradient[state].argmax()]
        changed_value = policy_value(model, changed)
        if changed_value > value + TIE:
            return changed, changed_value
    return None


def _policy_gradient(model: Model, policy: np.ndarray) -> np.ndarray:
    """[S, A]: derivative of the policy's value: visits at each time times the action values then."""
    values = [np.zeros(len(model.start))]
    for _ in range(model.horizon - 1):
        values.append((policy * action_values(model, values[-1])).sum(axis=1))
    flow = policy[:, :, None] * model.continuing
    visits, gradient = model.start, np.zeros(policy.shape)
    for to_go in reversed(values):
        gradient += visits[:, None] * action_values(model, to_go)
        leaving = (visits[:, None, None] * flow).ravel()
        visits = np.bincount(model.successors.ravel(), leaving, minlength=len(visits))
    return gradient


class Judge:
    """Scores tables of one environment; what does not depend on the table is computed once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._optima = optimal_values(model)

    @cached_property
    def best_stationary(self) -> float:
        """Value of the best policy found that, like a table, does not watch the clock."""
        return policy_value(self.model, best_stationary_policy(self.model))

    def __call__(self, q: np.ndarray) -> ExactScore:
        """Exact score of acting greedily on a table q [S, A], beside the optimum."""
        start, values = self.model.start, policy_values(self.model, greedy_policy(q))
        lost = np.maximum(self._optima - values, 0.0)  # below 0 by rounding only
        return ExactScore(
            exact_value=float(start @ values),
            optimal_value=float(start @ self._optima),
            regret=float(start @ lost),
            worst_regret=float(lost[start > 0].max()),
        )


def published_seeds(env_id: str) -> tuple[int, ...]:
    """The seeds on which published scores of this environment were measured, one per episode; often none."""
    if not env_id.startswith("Taxi-"):
        return ()
    text = resources.files("evaluators.games").joinpath("taxi_eval_seeds.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["seeds"])
