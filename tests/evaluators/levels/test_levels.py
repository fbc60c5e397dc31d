"""`a3c levels`: win rates against exact ones, the same table everywhere, and its files."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from a3c.agents.make import make_policy
from a3c.cli import main
from a3c.envs import make_env, resolve_env
from a3c.envs.levels import LEVELS_ID, STANDARD, Level
from a3c.settings.config import Config
from a3c.trained.find import find_trained, rebuild
from evaluators.games.exact import best_stationary_policy, greedy_policy, policy_value
from evaluators.levels.ranking import RANDOM_PLAY, answers, level_model, make_levels, rank, win_rate

PLAYS = 20_000


def error_of(rate):
    """Four standard errors of a share measured by PLAYS plays."""
    return 4 * np.sqrt(rate * (1 - rate) / PLAYS) + 1e-12


@pytest.mark.parametrize("level", [STANDARD, *make_levels(3, 5, None)], ids=str)
def test_win_rates_are_what_the_exact_evaluator_says(level):
    model = level_model(level)
    for behaviour in (RANDOM_PLAY, best_stationary_policy(model)):
        exact = policy_value(model, behaviour)
        assert abs(win_rate(level, behaviour, PLAYS, np.random.default_rng(1)) - exact) <= error_of(exact)


def test_the_optimum_of_the_standard_level_is_known():
    (row,) = rank([STANDARD], None, 100, 1)
    assert row.optimal_wins == pytest.approx(0.744190, abs=1e-6)


def test_the_network_is_asked_for_every_cell():
    config = resolve_env(Config().replace(env=LEVELS_ID))
    envs = make_env(config.env, [1], training=False)
    policy = make_policy(config, envs.spec, 3, "cpu", greedy=True)
    behaviour = answers(policy, STANDARD)
    one_by_one = [policy.act(state[None], np.ones(1, bool), ()).action[0] for state in STANDARD.states()]
    assert behaviour.argmax(axis=1).tolist() == one_by_one
    (row,) = rank([STANDARD], policy, PLAYS, 1)
    assert abs(row.wins - row.exact_wins) <= error_of(row.exact_wins)


def test_the_agent_s_weakness_is_told_from_the_level_s_difficulty():
    level = Level.parse("SFFF/FHFH/FFFH/HFFG", 0.0)
    model = level_model(level)
    assert policy_value(model, greedy_policy(np.zeros((16, 4)))) < 0.1
    (row,) = rank([level], None, 1000, 1)
    assert row.optimal_wins == 1
    assert row.difficulty > 0.9


def test_the_first_levels_stay_the_same_when_there_are_more():
    assert make_levels(3, 7, None) == make_levels(8, 7, None)[:3]
    assert make_levels(3, 7, None) != make_levels(3, 8, None)
    assert {level.p_mistake for level in make_levels(3, 7, 0.25)} == {0.25}


def test_the_command_writes_a_sorted_table_and_a_picture(tmp_path, capsys):
    command = ["levels", "--random", "--count", "7", "--plays", "2000", "--out", str(tmp_path / "a")]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert main([*command[:-1], str(tmp_path / "b")]) == 0
    assert first.splitlines()[:9] == capsys.readouterr().out.splitlines()[:9]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    difficulties = [float(row["difficulty"]) for row in rows]
    assert difficulties == sorted(difficulties, reverse=True)
    assert sorted(int(row["level"]) for row in rows) == list(range(1, 8))
    assert all(float(row["optimal"]) > float(row["random"]) for row in rows)
    assert all(row["board"].count("H") == int(row["holes"]) for row in rows)
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 1000


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--random", "--run", "x"], "only one of them"),
        (["--random", "--out", "nowhere/x"], "a folder that exists"),
        (["--random", "--board", "SFFF"], "4 rows of 4"),
        (["--random", "--p-mistake", "2"], "from 0 to 1"),
        (["--run", "nowhere"], "--run nowhere: there is no such folder"),
        ([], "no agent of FrozenLakeLevels-v0 yet; train one with"),
    ],
)
def test_mistakes_take_one_line(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["levels", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("preset", "sampled"), [("levels-ppo", True), ("levels-dqn", False)])
def test_an_actor_critic_samples_and_a_q_network_takes_its_best_action(
    preset, sampled, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    small = ["--envs-per-worker", "4", "--minibatch-size", "32"] if sampled else ["--learning-starts", "256"]
    limits = ["--max-steps", "300", "--workers", "0", "--eval-every", "0"]
    assert main(["run", "--preset", preset, "--run-dir", "run", *limits, *small]) == 0
    assert main(["levels", "--run", "run", "--count", "1", "--plays", "10", "--out", "ranked"]) == 0
    with open("ranked.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    policy = rebuild(find_trained("run"), "", 1, "cpu", greedy=not sampled).policy
    (level,) = make_levels(1, 1, None)
    exact = policy_value(level_model(level), answers(policy, level))
    assert float(row["agent_exact"]) == pytest.approx(exact, abs=1e-6)
