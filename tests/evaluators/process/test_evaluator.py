"""The evaluator's ticks: games, checkpoints and logs that do not delay each other, and the stop protocol."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a3c.envs.batch import Batch
from a3c.storage.shelf import best_checkpoint, entries, newest_checkpoint
from a3c.stores.scoreboard import STOP_ALL, STOP_AND_SCORE, STOP_WORKERS
from a3c.types import EnvSpec, EpisodeStats
from evaluators.games.episodes import Games
from evaluators.process import match
from evaluators.process.contest import FIRST_SEED, SECOND_SEED
from evaluators.process.evaluator import Evaluator, niceness
from tests.evaluators.fakes import ScriptedGame, Told, make_session, train_a_little


class Bench:
    """An evaluator whose clock only moves when told to."""

    def __init__(self, tmp_path, resumed_at=0, **settings):
        clocks = {"eval_every": 60.0, "checkpoint_every": 300.0, "log_every": 10.0}
        self.session = make_session(tmp_path / "run", resumes=int(resumed_at > 0), **{**clocks, **settings})
        self.session.board.add(self.session.board.main_row, {"env_steps": resumed_at})
        self.told, self.now = Told(), 0.0
        self.restart()

    def restart(self):
        self.evaluator = Evaluator(self.session, self.told, clock=lambda: self.now)

    def train(self, steps=100):
        train_a_little(self.session, steps)

    def ticks(self, most=100_000):
        """Ticks until there is nothing to do; how many that took."""
        for count in range(most):
            if not self.evaluator.tick():
                return count
        pytest.fail("the evaluator never rested")

    def rows(self, kind):
        lines = (self.session.run_dir / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == kind]

    def names(self, kind="ckpt"):
        return [entry.path.name for entry in entries(self.session.run_dir, kind)]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.evaluator.close()


@pytest.fixture
def endless_games(monkeypatch):
    """Every evaluation takes 50,000 steps."""
    monkeypatch.setattr(
        match, "make_env", lambda config, seeds, training: Batch.of(map(EndlessCartPole, seeds))
    )


class EndlessCartPole(ScriptedGame):
    spec = EnvSpec("CartPole-v1", (4,), "float32", 2)

    def __init__(self, seed):
        super().__init__(seed, length=50_000)
        self.observation = np.zeros(4, np.float32)


def test_an_evaluation_is_played_logged_reported_and_checked_again(bench):
    bench.train(100)
    assert bench.ticks() == 0  # nothing is due
    bench.now = 60.0
    assert bench.ticks() > 10
    (first,), (second,) = bench.told.of("evaluation"), bench.told.of("recheck")
    assert not first["final"]
    assert first["seeds"] == list(range(FIRST_SEED, FIRST_SEED + 4))
    assert second["seeds"] == list(range(SECOND_SEED, SECOND_SEED + 4))
    assert first["n"] == len(first["scores"]) == 4
    assert first["env_steps"] == 100
    (best,) = bench.told.of("best")
    assert best["mean"] == pytest.approx((first["mean"] + second["mean"]) / 2)
    assert best["n"] == 8
    for kind, told in (("evaluation", first), ("recheck", second)):
        (row,) = bench.rows(kind)
        assert row["scores"] == told["scores"]
    events = EventAccumulator(str(bench.session.run_dir)).Reload()
    (point,) = events.Scalars("eval/score_mean")
    assert (point.step, point.value) == (100, pytest.approx(first["mean"]))


def test_a_game_of_the_best_weights_is_shown(bench):
    bench.train(100)
    bench.now = 60.0
    bench.ticks()
    (image,) = EventAccumulator(str(bench.session.run_dir)).Reload().Images("eval/best_game")
    assert image.step == bench.told.of("best")[0]["env_steps"] == 100
    picture = Image.open(io.BytesIO(image.encoded_image_string))
    assert picture.format == "GIF"
    assert picture.n_frames == pytest.approx(bench.rows("recheck")[0]["length_mean"], rel=0.9)
    assert (image.height, image.width) == picture.size[::-1]


def test_weights_are_the_best_whether_or_not_they_can_be_drawn(bench, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no pictures today")

    monkeypatch.setattr("a3c.envs.batch.Batch.render", fail)
    bench.train(100)
    bench.now = 60.0
    bench.ticks()
    assert len(bench.told.of("best")) == 1
    assert bench.told.warnings == ["no pictures: no pictures today"]
    assert EventAccumulator(str(bench.session.run_dir)).Reload().Tags()["images"] == []


def test_the_best_checkpoint_holds_the_weights_that_were_evaluated(bench):
    bench.train(100)
    played = bench.session.memory.snapshot()["model"]
    bench.now = 60.0
    bench.evaluator.tick()
    bench.train(900)
    bench.session.memory.weights.add_(1.0)  # training goes on meanwhile
    bench.ticks()
    path, best = best_checkpoint(bench.session.run_dir)
    assert path.name == "best-000000100"
    assert best.state["counters"]["env_steps"] == 100
    assert all(torch.equal(best.model[name], tensor) for name, tensor in played.items())
    assert best.state["best"] == bench.told.of("best")[0]


def test_it_is_seen_how_many_games_are_over(bench):
    def seen():
        board = bench.session.board
        return tuple(int(board.get(board.evaluator_row, name)) for name in ("games_over", "games"))

    bench.train(100)
    bench.ticks()
    bench.now = 60.0
    counts = []
    while bench.evaluator.tick():
        if seen() not in counts:
            counts.append(seen())
    assert counts[0] == (0, 0)  # before the first
    played = [over for over, games in counts if games]
    assert {games for _, games in counts} == {0, 4}
    assert 0 < max(played) <= 4
    assert seen() == (0, 0)


def test_weights_that_do_not_beat_the_record_play_once(bench):
    bench.now = 60.0
    bench.ticks()
    bench.evaluator._keeper.best["mean"] = 1e9
    bench.now = 120.0
    bench.ticks()
    kinds = [kind for kind in bench.told.kinds() if kind != "checkpoint"]
    assert kinds == ["evaluation", "recheck", "best", "evaluation"]


def test_the_same_weights_get_the_same_scores(bench):
    for bench.now in (60.0, 120.0):
        bench.ticks()
    first, second = bench.told.of("evaluation")
    assert first["scores"] == second["scores"]


def test_a_long_game_delays_no_checkpoint_and_no_log(bench, endless_games):
    bench.now = 60.0
    for _ in range(20):
        assert bench.evaluator.tick()
    assert not bench.told.of("evaluation")
    bench.train(100)
    bench.now = 300.0
    assert bench.evaluator.tick()
    assert bench.names() == ["ckpt-000000100"]
    assert [row["env_steps"] for row in bench.rows("train")] == [100]


def test_a_row_on_training_says_how_it_went(bench):
    bench.train(500)
    bench.now = 10.0
    bench.ticks()
    (row,) = bench.rows("train")
    waited_s = bench.session.elapsed_s()  # at least as long as it really took until there was an evaluator
    assert 500 / (10 + waited_s) <= row["steps_per_second"] <= 50
    assert row["mean_return"] == 25
    assert row["entropy"] == pytest.approx(0.6)
    assert row["share_env"] == 0.75
    assert row["learning_rate"] == bench.session.config.optim.lr
    assert row["wall_s"] > 0
    bench.now = 20.0
    bench.ticks()
    assert len(bench.rows("train")) == 1  # no step was taken since


def test_what_workers_did_before_the_evaluator_was_ready_is_in_the_first_row(tmp_path):
    session, told = make_session(tmp_path / "run", log_every=10.0), Told()
    train_a_little(session, 500)
    session = replace(session, started=session.started - 40.0)
    now = [0.0]
    evaluator = Evaluator(session, told, clock=lambda: now[0])
    now[0] = 10.0
    evaluator.tick()
    evaluator.close()
    (row,) = map(json.loads, (session.run_dir / "metrics.jsonl").read_text().splitlines())
    assert 500 / (10 + session.elapsed_s()) <= row["steps_per_second"] <= 10


def test_stop_all_saves_at_once_and_ends(bench, endless_games):
    bench.now = 60.0
    bench.evaluator.tick()
    bench.train(700)
    bench.session.board.stop = STOP_WORKERS
    bench.evaluator.tick()
    assert not bench.evaluator.finished
    bench.session.board.stop = STOP_ALL
    assert bench.evaluator.tick()
    assert bench.evaluator.finished
    assert bench.names() == ["ckpt-000000700"]
    assert [row["env_steps"] for row in bench.rows("train")] == [700]
    assert not bench.evaluator.tick()
    assert bench.session.board.phase(bench.session.board.evaluator_row) == "done"


def test_stop_and_score_plays_the_final_weights_first(bench):
    bench.now = 60.0
    bench.evaluator.tick()  # an evaluation of older weights is under way: it is given up
    bench.train(900)
    bench.session.board.stop = STOP_AND_SCORE
    bench.ticks()
    assert bench.evaluator.finished
    assert bench.told.kinds() == ["evaluation", "recheck", "best", "checkpoint"]
    assert bench.told.of("evaluation")[0]["final"]
    assert bench.told.of("evaluation")[0]["env_steps"] == 900
    assert bench.names("best") == ["best-000000900"]
    _, last = newest_checkpoint(bench.session.run_dir)
    assert last.state["best"] == bench.told.of("best")[0]


def test_a_recheck_in_progress_may_end_before_the_final_score(bench):
    bench.train(100)
    bench.now = 60.0
    while not bench.told.of("evaluation"):
        bench.evaluator.tick()
    bench.train(100)
    bench.session.board.stop = STOP_AND_SCORE
    bench.ticks()
    assert bench.told.kinds()[:4] == ["evaluation", "recheck", "best", "evaluation"]
    assert [e["final"] for e in bench.told.of("evaluation")] == [False, True]
    assert bench.told.of("best")[0]["env_steps"] == 100


def test_stop_all_cuts_the_final_score_short(bench, endless_games):
    bench.train(100)
    bench.session.board.stop = STOP_AND_SCORE
    for _ in range(5):
        bench.evaluator.tick()
    assert not bench.evaluator.finished
    bench.session.board.stop = STOP_ALL
    bench.evaluator.tick()
    assert bench.evaluator.finished
    assert bench.names() == ["ckpt-000000100"]


def test_without_evaluations_there_is_no_final_one(tmp_path):
    bench = Bench(tmp_path, eval_every=0.0)
    bench.train(100)
    bench.now = 1e6
    bench.session.board.stop = STOP_AND_SCORE
    bench.ticks()
    assert bench.evaluator.finished
    assert bench.told.of("evaluation") == []
    assert bench.names() == ["ckpt-000000100"]


def test_f19_trouble_in_an_evaluation_costs_only_the_evaluation(bench, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the emulator is gone")

    monkeypatch.setattr(match, "make_env", fail)
    bench.train(100)
    bench.now = 60.0
    bench.ticks()
    assert "the emulator is gone" in bench.told.warnings[0]
    assert "training goes on" in bench.told.warnings[0]
    bench.now = 300.0
    bench.ticks()
    assert bench.names() == ["ckpt-000000100"]


def test_f31_weights_that_are_not_finite_are_not_evaluated(bench):
    bench.session.memory.weights[0] = float("inf")
    bench.now = 60.0
    bench.ticks()
    assert bench.told.of("evaluation") == []
    assert "not finite" in bench.told.warnings[0]


def test_a_restarted_evaluator_keeps_the_record_and_the_logs(bench):
    bench.train(100)
    bench.now = 60.0
    bench.ticks()
    rows = len(bench.rows("evaluation"))
    bench.restart()
    assert bench.evaluator._keeper.best == bench.told.of("best")[0]
    bench.train(100)
    bench.now = 120.0
    bench.ticks()
    assert len(bench.rows("evaluation")) > rows
    events = EventAccumulator(str(bench.session.run_dir)).Reload()
    assert [e.step for e in events.Scalars("eval/score_mean")] == [100, 200]


def test_a_resumed_run_goes_on_from_its_step(tmp_path):
    first = Bench(tmp_path)
    for step in (10.0, 20.0, 30.0):
        first.train(100)
        first.now = step
        first.ticks()
    first.evaluator.close()
    resumed = Bench(tmp_path, resumed_at=200)
    resumed.train(50)
    resumed.now = 10.0
    resumed.ticks()
    resumed.evaluator.close()
    assert [row["env_steps"] for row in resumed.rows("train")] == [100, 200, 250]
    events = EventAccumulator(str(resumed.session.run_dir)).Reload()
    assert [e.step for e in events.Scalars("train/entropy")] == [100, 200, 250]


def test_the_first_evaluation_comes_with_the_first_steps(bench):
    bench.now = 5.0
    assert bench.ticks() == 0  # no worker has begun
    bench.train(100)
    bench.ticks()
    assert bench.told.of("evaluation") == []
    bench.now = 5.2
    bench.ticks()
    assert [e["env_steps"] for e in bench.told.of("evaluation")] == [100]
    assert [row["env_steps"] for row in bench.rows("train")] == [100]
    assert bench.evaluator.scored
    bench.now = 65.2
    bench.ticks()
    assert len(bench.told.of("evaluation")) == 2


def test_trouble_in_an_early_evaluation_is_not_met_again_at_once(bench, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the emulator is gone")

    monkeypatch.setattr(match, "make_env", fail)
    bench.train(100)
    for bench.now in (5.0, 5.2, 6.0, 30.0, 65.0):
        bench.ticks()
    assert len(bench.told.warnings) == 1
    bench.now = 65.3
    bench.ticks()
    assert len(bench.told.warnings) == 2


def test_a_score_of_the_first_seconds_raises_no_doubt(bench, monkeypatch):
    played = Games((1,), (EpisodeStats(0.0, 1001, 1001, False),), (1000, 1))
    monkeypatch.setattr(match.Match, "advance", lambda self: played)
    bench.train(100)
    for bench.now in (5.0, 5.2):
        bench.ticks()
    assert (len(bench.told.of("evaluation")), bench.told.warnings) == (1, [])
    bench.session.board.stop = STOP_AND_SCORE
    bench.ticks()
    assert len(bench.told.warnings) == 2


def test_a_blind_policy_and_zero_scores_are_told_once(bench, monkeypatch):
    played = Games((1,), (EpisodeStats(0.0, 1001, 1001, False),), (1000, 1))
    monkeypatch.setattr(match.Match, "advance", lambda self: played)
    for bench.now in (60.0, 120.0):
        bench.ticks()
    assert sum("one action" in w for w in bench.told.warnings) == 1
    assert sum("scored 0" in w for w in bench.told.warnings) == 1


def test_the_agents_private_state_is_kept(tmp_path):
    session, told = make_session(tmp_path / "run"), Told()
    evaluator = Evaluator(session, told, lambda: {"generator": torch.arange(5)})
    train_a_little(session)
    session.board.stop = STOP_ALL
    evaluator.tick()
    _, checkpoint = newest_checkpoint(session.run_dir)
    assert torch.equal(checkpoint.agent["generator"], torch.arange(5))


def test_it_scores_the_real_emulator(tmp_path):
    settings = {"env": "Pong-v4", "model": "a3c-small", "max_episode_steps": 60, "eval_episodes": 2}
    session, told = make_session(tmp_path / "run", **settings), Told()
    evaluator = Evaluator(session, told)
    session.board.stop = STOP_AND_SCORE
    while not evaluator.finished:
        evaluator.tick()
    (first,), (second,) = told.of("evaluation"), told.of("recheck")
    assert (first["n"], first["length_mean"], first["truncated"]) == (2, 60, 2)
    assert first["seeds"] != second["seeds"]
    assert told.of("best")[0]["n"] == 4
    assert told.warnings in ([], ["every game of an evaluation scored 0"])


@pytest.mark.parametrize("per_core", [0.5, 1.0, 2.0, 4.0, 8.0, 100.0])
def test_f63_the_evaluator_gets_a_tenth_of_a_core(per_core):
    weight = 1.25 ** -niceness(per_core)
    share = weight / (weight + per_core)
    assert share >= 0.09 or niceness(per_core) == 0
    assert niceness(per_core) <= 10
