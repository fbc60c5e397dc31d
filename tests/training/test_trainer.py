"""Why a run ends, and that it ends in order."""

import io
import json
import logging
import signal
import time
from dataclasses import replace

import pytest

from a3c.console.live import PlainView
from a3c.errors import QuorumLost
from a3c.processes.group import Event
from a3c.processes.signals import Signals
from a3c.storage.open_run import open_run
from a3c.storage.run_directory import read_status
from a3c.storage.shelf import entries
from a3c.stores.scoreboard import STOP_ALL, STOP_AND_SCORE, STOP_WORKERS
from a3c.training import trainer
from a3c.training.inline_team import InlineTeam
from a3c.training.reporter import Reporter
from a3c.training.trainer import Run, reached_before
from evaluators.process.evaluator import Evaluator
from tests.evaluators.fakes import make_session

SMALL = {"workers": 0, "envs_per_worker": 2, "num_steps": 5, "eval_episodes": 2}


class Bench:
    """A run in one process, and all that it is made of."""

    def __init__(self, folder, make_evaluator=Evaluator, **settings):
        self.folder = open_run(folder, make_session(folder / "x", **SMALL | settings).config, ["test"])
        self.session = make_session(self.folder.path, **SMALL | settings)
        self.output = io.StringIO()
        self.reporter = Reporter(self.session, self.folder, PlainView(self.output, 0.0))
        self.reporter.greet()
        self.signals = Signals()
        self.team = InlineTeam(self.session, make_evaluator)
        self.run = Run(self.session, self.reporter, self.signals, self.team)

    @property
    def steps(self):
        return self.session.board.total("env_steps")

    def saved(self):
        return [entry.step for entry in entries(self.folder.path)]


class Idler:
    """An evaluator that keeps nothing; it leaves when it was told `patience` times, and notes how."""

    playing = False

    def __init__(self, session, link, agent_state, clock, patience=3):
        self.finished, self.orders = False, []
        self._board, self._patience = session.board, patience

    def tick(self):
        self.orders.append(self._board.stop)
        self.finished = bool(self._board.stop) and len([o for o in self.orders if o]) >= self._patience
        return False


@pytest.fixture
def bench_of(tmp_path):
    made = []

    def make(*args, **settings):
        made.append(Bench(tmp_path, *args, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.team.close()
        bench.folder.close()


def test_there_is_no_reason_to_end_a_run_that_has_no_limit(bench_of):
    bench = bench_of()
    bench.session.board.add(0, {"env_steps": 10**9})
    bench.reporter.take([Event("evaluator", "evaluation", {"mean": 500.0, "wall_s": 1.0})])
    assert bench.run.why_end() is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_steps": 100}, "--max-steps 100 is reached"),
        ({"max_time": 0.001}, "--max-time 0.001 s is over"),
        ({"target_score": 20.0}, "score 25 reached --target-score 20"),
    ],
)
def test_a_limit_that_is_reached_completes_a_run(bench_of, settings, reason):
    bench = bench_of(**settings)
    bench.session.board.add(0, {"env_steps": 100})
    bench.reporter.take([Event("evaluator", "evaluation", {"mean": 25.0, "wall_s": 1.0})])
    time_is_over = time.monotonic() + 0.002
    while time.monotonic() < time_is_over:
        pass
    assert bench.run.why_end() == (reason, True)


@pytest.mark.parametrize(
    "settings", [{"max_steps": 101}, {"max_time": 1000.0}, {"target_score": 26.0}, {"max_rss": 2**50}]
)
def test_a_limit_that_is_not_reached_ends_nothing(bench_of, settings):
    bench = bench_of(**settings)
    bench.session.board.add(0, {"env_steps": 100})
    bench.reporter.take([Event("evaluator", "evaluation", {"mean": 25.0, "wall_s": 1.0})])
    assert bench.run.why_end() is None


def test_a_signal_comes_before_every_limit(bench_of):
    bench = bench_of(max_steps=1)
    bench.session.board.add(0, {"env_steps": 100})
    bench.signals.requested = signal.SIGTERM
    assert bench.run.why_end() == ("stopped by SIGTERM", False)


def test_f11_too_much_memory_stops_a_run(bench_of):
    ending = bench_of(max_rss=1_000_000).run.why_end()
    assert not ending.complete
    assert ending.reason.endswith("MB and --max-rss is 1 MB")


def test_a_run_that_all_workers_have_left_is_not_finished(bench_of):
    bench = bench_of(Idler)
    bench.team.start()
    bench.team.end_workers(1.0, lambda: None)
    with pytest.raises(QuorumLost, match="every worker has left before the run was done"):
        bench.run.why_end()


def test_f60_a_run_without_a_step_is_not_finished(bench_of):
    bench = bench_of(Idler, max_time=1e-9)
    assert bench.run.why_end().complete  # it is only a short time: the worker was about to begin
    bench.team.start()
    bench.team.end_workers(1.0, lambda: None)
    with pytest.raises(QuorumLost, match="no worker has made a step"):
        bench.run.why_end()


def test_a_complete_run_gets_a_last_score_and_a_last_checkpoint(bench_of):
    bench = bench_of(max_steps=100, eval_every=1000.0)
    assert bench.run.until_end() == ("--max-steps 100 is reached", True)
    assert 100 <= bench.steps < 110
    assert bench.saved() == [bench.steps]
    assert bench.reporter.last_score is not None
    assert bench.folder.path.joinpath("status.json").exists()


def test_a_stopped_run_gets_a_last_checkpoint_and_no_last_score(bench_of):
    bench = bench_of(eval_every=1000.0)
    step = bench.team.turn

    def stopped_in_time():
        if bench.steps >= 50:
            bench.signals.requested = signal.SIGINT
        return step()

    bench.team.turn = stopped_in_time
    assert bench.run.until_end() == ("stopped by SIGINT", False)
    assert bench.saved() == [bench.steps]
    scored_at = json.loads((bench.folder.path / "status.json").read_text())["evaluator"]["last_score_steps"]
    assert scored_at is None or scored_at < bench.steps  # on a slow machine there was an early score


def test_the_last_checkpoint_is_written_here_when_the_evaluator_left_none(bench_of, caplog):
    caplog.set_level(logging.INFO)
    bench = bench_of(Idler, max_steps=20)
    bench.run.until_end()
    assert bench.saved() == [bench.steps]
    assert f"the evaluator wrote no checkpoint of step {bench.steps}" in caplog.text
    bench.reporter.finish("finished", "done")
    last = bench.output.getvalue().splitlines()[-1]
    assert f"checkpoint ckpt-{bench.steps:09d}" in last
    assert last.endswith(f"--load {bench.folder.path} --max-steps MORE, more than {bench.steps}")


def test_a_module_that_only_a_person_may_name_is_in_the_words_to_go_on_with(bench_of):
    session = bench_of(env="gymnasium.envs.classic_control:CartPole-v1").session
    assert session.to_go_on("").endswith(" --env gymnasium.envs.classic_control:CartPole-v1")


def test_a_score_that_was_reached_can_be_raised(bench_of):
    bench = bench_of(target_score=50.0)
    bench.reporter.finish("finished", bench.session.goal_reached(60.0))
    last = bench.output.getvalue().splitlines()[-1]
    assert last.startswith("finished: score 60 reached --target-score 50; ")
    assert last.endswith(f"continue with --load {bench.folder.path} --target-score MORE, more than 50")


def test_the_status_tells_of_evaluations_to_come(bench_of):
    bench = bench_of(target_score=50.0)
    board = bench.session.board
    board.put(board.evaluator_row, {"games": 10, "games_over": 3})
    for at in (1.0, 2.0, 3.0):
        payload = {"mean": 10 * at, "wall_s": at - 100.0, "env_steps": 1, "n": 2}
        bench.reporter.take([Event("evaluator", "evaluation", payload)])
    bench.reporter.refresh({}, "starting")
    status = read_status(bench.folder.path)
    assert (status["evaluator"]["games"], status["evaluator"]["games_over"]) == (10, 3)
    assert status["target_score"] == 50.0
    assert status["target_eta_s"] == 0.0  # by the trend it was to be there long ago
    assert status["gpus"] == []


@pytest.mark.parametrize(
    ("changes", "given", "reached"),
    [
        ({}, {}, "score 60 reached --target-score 50"),
        ({}, {"target_score": 70.0}, ""),
        ({}, {"max_steps": 200}, ""),
        ({}, {"target_score": None, "max_steps": 10}, "--max-steps 10 is reached"),
        ({"state": "stopped"}, {}, ""),
        ({"state": "running"}, {"max_steps": 10}, ""),
        ({"steps": 50}, {}, ""),
        ({"evaluator": {"last_score": "60"}}, {}, ""),
        ({"evaluator": 7}, {}, ""),
    ],
)
def test_a_finished_run_that_is_loaded_has_nothing_more_to_do(tmp_path, changes, given, reached):
    asked = {"max_steps": 0, "target_score": 50.0}
    with open_run(tmp_path, make_session(tmp_path / "x", **asked).config, ["test"]) as folder:
        folder.begin()
        folder.write_status({"state": "finished", "steps": 100, "evaluator": {"last_score": 60.0}, **changes})
    session = make_session(folder.path, **asked | given)
    session.board.add(session.board.main_row, {"env_steps": 100})
    assert reached_before(session, folder) == ""  # of a new one
    assert reached_before(session, replace(folder, resumed=True)) == reached


def test_a_run_that_was_stopped_before_its_first_step(bench_of):
    bench = bench_of()
    bench.reporter.finish("stopped", "stopped by SIGINT")
    lines = bench.output.getvalue().splitlines()
    assert lines[-1].endswith(f"no new checkpoint; continue with --load {bench.folder.path}")
    assert any(", preset none, one process x 2 environments" in line for line in lines)


@pytest.mark.parametrize("works", [True, False])
def test_f63_checkpoints_come_also_while_there_is_no_evaluator(bench_of, monkeypatch, works):
    bench = bench_of(Idler, checkpoint_every=1.0)
    monkeypatch.setattr(trainer, "_STAND_IN_S", 1.0)
    monkeypatch.setattr(InlineTeam, "evaluator_works", works)
    step, deadline = bench.team.turn, time.monotonic() + (2.5 if works else 60.0)
    seen = []

    def until_saved():
        seen[:] = bench.saved()
        if seen or time.monotonic() > deadline:
            bench.signals.requested = signal.SIGTERM
        return step()

    bench.team.turn = until_saved
    bench.run.until_end()
    assert bool(seen) is not works


def test_a_run_that_loses_its_workers_keeps_what_was_learned(bench_of, monkeypatch):
    bench = bench_of(Idler)
    step = bench.team.turn

    def lost():
        if bench.steps > 50:
            raise QuorumLost("no worker is left")
        return step()

    bench.team.turn = lost
    with pytest.raises(QuorumLost):
        bench.run.until_end()
    assert bench.saved() == [bench.steps]


def test_nothing_is_written_for_a_run_that_made_no_step(bench_of):
    bench = bench_of(Idler)
    bench.signals.requested = signal.SIGTERM
    bench.run.until_end()
    assert bench.saved() == []


def test_the_evaluator_is_told_how_to_end(bench_of):
    for requested, orders in ((None, {STOP_AND_SCORE}), (signal.SIGTERM, {STOP_ALL})):
        bench = bench_of(Idler, max_steps=1)
        bench.signals.requested = requested
        bench.run.until_end()
        assert set(bench.team._evaluator.orders) - {0, STOP_WORKERS} == orders


def test_a_signal_cuts_the_last_score_short(bench_of):
    class Slow(Idler):
        def tick(self):
            if self._board.stop == STOP_AND_SCORE:
                bench.signals.requested = signal.SIGTERM
                return True
            return super().tick()

    bench = bench_of(Slow, max_steps=10)
    assert bench.run.until_end().complete
    assert bench.session.board.stop == STOP_ALL
    assert bench.team._evaluator.finished
