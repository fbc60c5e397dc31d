"""One process for everything: whose turn it is, and what a roll-back leaves behind."""

import itertools
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from a3c.errors import CheckpointError
from a3c.storage.saving import Progress
from a3c.training.inline_team import InlineTeam
from evaluators.process.evaluator import Evaluator
from tests.evaluators.fakes import make_session

SMALL = {"workers": 0, "envs_per_worker": 2, "num_steps": 5, "eval_episodes": 2}
ALWAYS = 1e-9
"""Seconds between two evaluations, when the next one is due as soon as one has ended."""


@pytest.fixture
def team_of(tmp_path):
    teams = []

    def make(**settings):
        session = make_session(tmp_path, **SMALL | settings)
        teams.append(InlineTeam(session, Evaluator))
        teams[-1].start()
        return session, teams[-1]

    yield make
    for team in teams:
        team.close()


def test_a_rollout_is_made_between_any_two_evaluations(team_of):
    _, team = team_of(eval_every=ALWAYS)
    found = []
    while len(found) < 8:
        found += [e.payload["env_steps"] for e in team.turn() if e.kind == "evaluation"]
    assert all(later > earlier for earlier, later in itertools.pairwise(found))


def test_an_evaluation_takes_no_time_from_training(team_of):
    _, team = team_of(eval_every=0.3, eval_episodes=30)
    ended = begun = None
    while begun is None:
        playing, now = team._evaluator.playing, time.monotonic()
        team.turn()
        if playing and not team._evaluator.playing:
            ended = now
        elif ended and team._evaluator.playing:
            begun = time.monotonic()
    assert begun - ended >= 0.3


def test_nobody_learns_while_an_evaluation_is_played(team_of):
    session, team = team_of(eval_every=ALWAYS)
    team.turn()
    assert team._evaluator.playing
    steps = session.board.total("env_steps")
    while team._evaluator.playing:
        assert session.board.total("env_steps") == steps
        team.turn()
    team.turn()
    assert session.board.total("env_steps") > steps


def test_a_turn_of_an_evaluation_is_short(team_of):
    """One step of its games, so that limits and signals are looked at as often."""
    _, team = team_of(eval_every=ALWAYS, eval_episodes=50)
    team.turn()
    turns = 0
    while team._evaluator.playing:
        team.turn()
        turns += 1
    assert turns > 20


def test_without_evaluations_every_turn_is_a_rollout(team_of):
    session, team = team_of(eval_every=0.0)
    for turn in range(1, 6):
        team.turn()
        assert session.board.total("updates") == turn


def test_its_states_are_those_of_this_process(team_of):
    _, team = team_of(eval_every=0.0)
    assert {name: str(s.state) for name, s in team.states().items()} == {
        "worker-0": "running",
        "evaluator": "running",
    }
    team.end_workers(1.0, lambda: None)
    team._session.board.stop = 2
    team.end_evaluator(1.0, lambda: None)
    assert {str(s.state) for s in team.states().values()} == {"done"}
    assert not team.at_work
    assert not team.evaluating


def roll_back(session, team):
    """Weights go wrong after a checkpoint, and are noticed."""
    session.saver().save(session.memory.snapshot(), Progress(session.board.counters(), 0.0))
    good = session.memory.weights.clone()
    session.memory.weights.fill_(1e11)
    team._check_numbers()
    assert session.memory.weights.equal(good)


def test_f31_a_roll_back_brings_a_worker_that_remembers_nothing(team_of):
    session, team = team_of(
        algo="dqn", model="mlp", num_steps=1, learning_starts=4, batch_size=4, replay_size=100
    )
    for _ in range(20):
        team.turn()
    former = team._worker
    assert len(former.agent.replay) > 0
    roll_back(session, team)
    assert team._worker is not former
    assert len(team._worker.agent.replay) == 0
    assert team.states()["worker-0"].restarts == 1
    team.turn()
    live, target = team._worker.agent.policy.network, team._worker.agent.target
    assert all(torch.isfinite(p).all() and p.abs().max() < 1e10 for p in target.parameters())
    assert session.board.total("env_steps") > 0
    assert live is not target


def test_f31_a_roll_back_also_renews_what_is_saved_of_the_agent(team_of):
    session, team = team_of(eval_every=0.0)
    team.turn()
    roll_back(session, team)
    saved, state = team._evaluator._agent_state(), team._worker.agent.get_state()
    assert saved.keys() == state.keys() != set()
    assert all(torch.equal(torch.as_tensor(saved[name]), torch.as_tensor(state[name])) for name in state)


def test_f31_a_recurrent_state_does_not_outlive_a_roll_back(team_of):
    session, team = team_of(env="Breakout-v0", model="a3c-lstm", num_steps=2, envs_per_worker=1)
    team.turn()
    roll_back(session, team)
    first = []
    act = team._worker.agent.act
    team._worker.agent.act = lambda observation, begins, state: (
        first.append(state) or act(observation, begins, state)
    )
    team.turn()
    assert all(not tensor.any() for tensor in first[0])


@pytest.mark.parametrize("value", [5, torch.zeros(3), None, "x"])
def test_f83_a_state_of_the_agent_that_cannot_be_used_is_one_line(tmp_path, value):
    session = replace(make_session(tmp_path, **SMALL), agent_state={"generator": value})
    words = "the checkpoint's state of the agent itself cannot be used: "
    with closing(InlineTeam(session, Evaluator)) as team, pytest.raises(CheckpointError, match=words):
        team.start()
