"""The scale from chance to people: of all 57 games, and for ids of every form."""

import pytest

from evaluators.games.atari_scores import atari_scores, game_of


def test_all_57_games_have_a_person_better_than_chance():
    scores = atari_scores()
    assert len(scores) == 57
    assert all(score.human > score.random for score in scores.values())


def test_chance_is_0_and_a_person_1():
    for score in atari_scores().values():
        assert score.normalised(score.random) == 0
        assert score.normalised(score.human) == 1
    assert atari_scores()["Breakout"].normalised(1.7 + 2 * 28.8) == pytest.approx(2)


@pytest.mark.parametrize(
    ("env", "game"),
    [
        ("PongNoFrameskip-v4", "Pong"),
        ("ALE/MsPacman-v5", "MsPacman"),
        ("SeaquestDeterministic-v0", "Seaquest"),
        ("Qbert-v0", "Qbert"),
        ("CartPole-v1", "CartPole"),
    ],
)
def test_the_game_of_an_id(env, game):
    assert game_of(env) == game
