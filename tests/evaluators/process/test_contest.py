"""The best is decided over two evaluations."""

from a3c.types import EpisodeStats
from evaluators.games.episodes import Games
from evaluators.process.contest import challenges, new_record


def games(first_seed, *scores):
    episodes = tuple(EpisodeStats(score, 10, 40, False) for score in scores)
    return Games(tuple(range(first_seed, first_seed + len(scores))), episodes, (1, 1))


def test_the_first_weights_always_play_again():
    assert challenges(games(0, -21.0, -21.0), None)


def test_only_a_higher_mean_is_a_challenge():
    best = {"mean": 5.0}
    assert not challenges(games(0, 5.0, 5.0), best)
    assert challenges(games(0, 5.0, 5.5), best)


def test_a_lucky_first_evaluation_does_not_become_the_record():
    assert new_record(games(0, 20.0, 20.0), games(100, 1.0, 3.0), 500, {"mean": 12.0}) is None


def test_a_record_is_over_all_games_of_both_and_says_which():
    record = new_record(games(0, 20.0, 20.0), games(100, 10.0, 14.0), 500, {"mean": 12.0})
    assert record == {
        "mean": 16.0, "std": record["std"], "min": 10.0, "max": 20.0, "n": 4,
        "seeds": [0, 1, 100, 101], "env_steps": 500,
    }  # fmt: skip
