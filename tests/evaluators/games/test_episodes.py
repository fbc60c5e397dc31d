"""Whole games: unclipped over all lives, one per seed, in a batch that shrinks, never without end."""

import numpy as np
import pytest
from gymnasium.utils.seeding import np_random

from a3c.agents.make import make_policy
from a3c.envs import make_env, resolve_env
from a3c.settings.config import resolve
from evaluators.games import episodes, progress
from evaluators.games.episodes import Games, drawn, finish, play, play_seeds
from tests.evaluators.fakes import CountingPolicy, Idle, scripted


def test_a_score_is_unclipped_over_all_lives():
    envs, (game,) = scripted(20)
    games = finish(play(CountingPolicy(), envs, (0,)))
    assert games.scores == [70.0]  # ten rewards of 7; clipped it would be 10, the first life alone 14
    assert games.lengths == [20]
    assert game.resets == 1  # none at a lost life


def test_each_seed_plays_one_game_and_results_keep_their_order():
    envs, played = scripted(8, 3, 20, 3)
    policy = CountingPolicy()
    games = finish(play(policy, envs, (10, 11, 12, 13)))
    assert games.seeds == (10, 11, 12, 13)
    assert games.lengths == [8, 3, 20, 3]
    assert games.scores == [28.0, 14.0, 70.0, 14.0]
    assert [game.resets for game in played] == [1, 1, 1, 1]
    assert policy.batches == [[0, 1, 2, 3]] * 3 + [[0, 2]] * 5 + [[2]] * 12
    assert games.actions == (4 * 3 + 2 * 5 + 12, 0, 0)
    assert games.action_share == 1.0


def test_play_stops_between_steps_and_says_where_it_is():
    envs, _ = scripted(2, 4)
    steps = play(CountingPolicy(), envs, (0, 1))
    seen = [(p.envs.size, p.games.tolist(), p.over.tolist()) for p in steps]
    assert seen == [
        (2, [0, 1], [False, False]),
        (2, [0, 1], [True, False]),
        (1, [1], [False]),
        (1, [1], [True]),
    ]


def test_a_game_without_end_is_cut_and_marked():
    envs, _ = scripted(3, 10_000)
    games = finish(play(CountingPolicy(), envs, (0, 1), step_limit=100))
    assert [e.truncated for e in games.episodes] == [False, True]
    assert games.truncated == 1
    assert games.episodes[1].length == 100
    assert games.episodes[1].episode_return == 350.0
    assert games.episodes[1].frames == 300  # reckoned: 2 to 4 frames a step


def test_games_add_up():
    envs, _ = scripted(2, 3)
    first = finish(play(CountingPolicy(), envs, (0, 1)))
    envs, _ = scripted(4)
    both = first + finish(play(CountingPolicy(), envs, (2,)))
    assert (both.seeds, both.lengths) == ((0, 1, 2), [2, 3, 4])
    assert both.actions == (2 * 2 + 1 + 4, 0, 0)


def test_many_seeds_play_some_at_a_time():
    made, policy = [], CountingPolicy()

    def make(seeds):
        envs, games = scripted(*(seed + 1 for seed in seeds))
        made.append(games)
        return envs

    games = finish(play_seeds(policy, make, tuple(range(5)), at_once=2))
    assert games.seeds == (0, 1, 2, 3, 4)
    assert games.lengths == [1, 2, 3, 4, 5]
    assert [len(part) for part in made] == [2, 2, 1]
    assert all(game.closed for part in made for game in part)


def test_games_that_are_given_up_are_closed():
    envs, games = scripted(5, 5)
    steps = play_seeds(CountingPolicy(), lambda seeds: envs, (0, 1))
    next(steps)
    steps.close()
    assert all(game.closed for game in games)


def real(env: str, seeds: tuple[int, ...], weights: int = 1, **settings) -> Games:
    config = resolve_env(resolve({"env": env, "preset": "none", **settings}))
    envs = make_env(config.env, seeds, training=False)
    policy = make_policy(config, envs.spec, weights, "cpu", greedy=False)
    try:
        return finish(play(policy, envs, seeds))
    finally:
        envs.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"env": "CartPole-v1"},
        {"env": "CartPole-v1", "algo": "dqn"},
        {"env": "CartPole-v1", "algo": "random"},
        {"env": "FrozenLake-v1", "preset": "frozenlake-4x4"},
        {"env": "Breakout-v0", "model": "a3c-small", "max_episode_steps": 30, "precision": "fp32"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_game_is_the_same_whatever_is_played_beside_it(settings):
    together = real(seeds=(5, 6, 7), **settings)
    for i, seed in enumerate(together.seeds):
        assert real(seeds=(seed,), **settings).episodes == together.episodes[i : i + 1]
    turned = real(seeds=(7, 5), **settings)
    assert turned.episodes == (together.episodes[2], together.episodes[0])


def test_actions_are_drawn_by_their_probabilities():
    row = np.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    chance = np.random.default_rng(1).random(20_000)
    shares = np.bincount(drawn(np.tile(row, (20_000, 1)), chance), minlength=6) / 20_000
    assert shares == pytest.approx(row, abs=0.015)
    assert (shares[row == 0] == 0).all()
    certain = np.eye(3)[[2, 0, 1]]
    for extreme in (0.0, np.nextafter(1.0, 0.0)):
        assert drawn(certain, np.full(3, extreme)).tolist() == [2, 0, 1]


def test_the_chance_in_actions_is_not_the_environment_s(monkeypatch):
    """With one stream for both, what is drawn for an action would tell what comes next."""
    chances = []
    monkeypatch.setattr(episodes, "drawn", lambda p, chance: chances.append(chance) or p.argmax(axis=1))
    envs, _ = scripted(20)
    finish(play(CountingPolicy(), envs, (3,)))
    assert not set(np.concatenate(chances)) & set(np_random(3)[0].random(100))


@pytest.mark.parametrize("env", ["Breakout-v0", "BreakoutNoFrameskip-v4"])
def test_the_same_seeds_give_the_same_games_on_the_emulator(env):
    seeds = (1, 2)
    first = real(env, seeds, model="a3c-small")
    assert first == real(env, seeds, model="a3c-small")
    assert len(set(first.lengths)) > 1  # different seeds, different games
    assert all(length > 20 for length in first.lengths)  # five lives, not one


def test_a_policy_that_does_nothing_ends_at_the_cap():
    config = resolve_env(resolve({"env": "Breakout-v4", "preset": "none", "protocol": "machado"}))
    config = config.replace(env_kwargs={"max_num_frames_per_episode": 600})
    envs = make_env(config.env, (1, 2), training=False)

    games = finish(play(Idle(), envs, (1, 2)))
    envs.close()
    assert games.truncated == 2
    assert games.scores == [0.0, 0.0]
    assert all(600 <= episode.frames <= 604 for episode in games.episodes)


def test_now_and_then_there_is_a_word_on_how_far_games_are(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    envs, _ = scripted(3, 5)
    games = finish(progress.with_progress(play(CountingPolicy(), envs, (0, 1)), 2))
    assert games.lengths == [3, 5]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "note: step 1, 0 of 2 games are over"
    assert lines[-1] == "note: step 5, 2 of 2 games are over"
