"""Checkpoints on a clock, whatever the disk does."""

import itertools

import pytest
import torch

from a3c.storage.saving import Progress, progress_of
from a3c.storage.shelf import best_checkpoint, entries, newest_checkpoint
from evaluators.process.keeper import FIRST_RETRY_S, FIRST_S, POINTS, CurveAlarm, Keeper
from tests.evaluators.fakes import Told, make_session, train_a_little


class Bench:
    """A keeper with a clock that stands still, and what it needs."""

    def __init__(self, tmp_path, **settings):
        self.session = make_session(tmp_path / "run", **{"checkpoint_every": 100.0} | settings)
        self.store = self.session.store(self.session.board.evaluator_row)
        self.told, self.now = Told(), 0.0
        self.keeper = Keeper(self.session.saver(), self.store, self.told, lambda: self.now)

    def progress(self):
        agent = {"note": 7, "generator": torch.arange(3)}
        return Progress(self.store.counters(), 12.5, self.keeper.best, agent)

    def names(self, kind="ckpt"):
        return [entry.path.name for entry in entries(self.session.run_dir, kind)]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_checkpoint_holds_what_a_run_needs_to_go_on(bench):
    train_a_little(bench.session, 300)
    snapshot = bench.store.snapshot()
    assert bench.keeper.save(bench.progress())
    _, checkpoint = newest_checkpoint(bench.session.run_dir)
    for name, tensor in snapshot["model"].items():
        assert torch.equal(checkpoint.model[name], tensor)
    assert set(checkpoint.optimizer) == set(snapshot["optimizer"])
    state = checkpoint.state
    assert state["algo"] == "a3c"
    assert state["env"] == bench.session.env.signature()
    assert state["config"] == bench.session.config.to_dict()
    assert state["network"] == {name: list(t.shape) for name, t in snapshot["model"].items()}
    again = progress_of(checkpoint)
    assert (again.counters.env_steps, again.elapsed_s, again.best) == (300, 12.5, None)
    assert again.agent["note"] == 7
    assert torch.equal(again.agent["generator"], torch.arange(3))
    assert bench.told.of("checkpoint") == [{"name": "ckpt-000000300", "env_steps": 300}]


def test_the_clock_rings_and_old_checkpoints_go(bench):
    for number in range(1, 6):
        bench.now = 100.0 * number
        assert bench.keeper.due()
        assert not bench.keeper.due()
        train_a_little(bench.session, 100)
        bench.keeper.save(bench.progress())
    assert bench.names() == ["ckpt-000000300", "ckpt-000000400", "ckpt-000000500"]


def test_f63_the_first_checkpoint_comes_soon(tmp_path):
    bench = Bench(tmp_path, checkpoint_every=3600.0)
    for now, due in ((FIRST_S - 1, False), (FIRST_S, True), (3600.0, False), (FIRST_S + 3600, True)):
        bench.now = now
        assert bench.keeper.due() is due


def test_nothing_new_is_not_written_again(bench):
    train_a_little(bench.session)
    assert bench.keeper.save(bench.progress())
    assert bench.keeper.save(bench.progress())
    assert bench.names() == ["ckpt-000000100"]


def test_f26_what_cannot_be_written_is_tried_again_sooner_and_later_each_time(bench, tmp_path):
    train_a_little(bench.session)
    run_dir, away = bench.session.run_dir, tmp_path / "away"
    run_dir.rename(away)
    pauses = []
    for _ in range(4):
        assert not bench.keeper.save(bench.progress())
        start = bench.now
        while not bench.keeper.due():
            bench.now += 1.0
        pauses.append(bench.now - start)
    assert pauses == [FIRST_RETRY_S, 10, 20, 40]
    assert len(bench.told.warnings) == 4
    assert "training goes on" in bench.told.warnings[0]
    away.rename(run_dir)
    assert bench.keeper.save(bench.progress())
    assert bench.names() == ["ckpt-000000100"]


def test_f26_best_weights_that_could_not_be_written_are_not_lost(bench):
    train_a_little(bench.session)
    snapshot, progress = bench.store.snapshot(), bench.progress()
    bench.session.run_dir.rmdir()
    bench.keeper.save_best(snapshot, progress, {"mean": 5.0, "env_steps": 100})
    bench.session.memory.weights.zero_()  # training goes on and collapses
    bench.session.run_dir.mkdir()
    assert bench.keeper.save(bench.progress())
    _, best = best_checkpoint(bench.session.run_dir)
    assert best.state["best"] == {"mean": 5.0, "env_steps": 100}
    for name, tensor in snapshot["model"].items():
        assert torch.equal(best.model[name], tensor)


def test_f31_weights_that_are_not_finite_are_never_written(bench):
    train_a_little(bench.session)
    bench.session.memory.weights[3] = float("nan")
    assert not bench.keeper.save(bench.progress())
    assert "not finite" in bench.told.warnings[0]
    assert bench.names() == []


def test_the_record_comes_from_the_disk(bench, tmp_path):
    train_a_little(bench.session)
    bench.keeper.save_best(bench.store.snapshot(), bench.progress(), {"mean": 5.0, "env_steps": 100})
    assert bench.told.of("best") == [{"mean": 5.0, "env_steps": 100}]
    assert bench.told.of("checkpoint") == []
    assert bench.names("best") == ["best-000000100"]
    restarted = Keeper(bench.session.saver(), bench.store, bench.told, lambda: 0.0)
    assert restarted.best == {"mean": 5.0, "env_steps": 100}


def test_f21_a_damaged_record_is_looked_for_anew(bench, caplog):
    train_a_little(bench.session)
    bench.keeper.save_best(bench.store.snapshot(), bench.progress(), {"mean": 5.0, "env_steps": 100})
    (bench.session.run_dir / "best-000000100" / "model.safetensors").write_bytes(b"")
    restarted = Keeper(bench.session.saver(), bench.store, bench.told, lambda: 0.0)
    assert restarted.best is None
    assert "the best score is sought again" in caplog.text


def rings(alarm, since, until):
    """The tenths of seconds at which it rings."""
    moments = (tenths / 10 for tenths in range(round(10 * since), round(10 * until) + 1))
    return [now for now in moments if alarm.rings(now)]


@pytest.mark.parametrize("length_s", [3.0, 12.0, 60.0, 3600.0])
@pytest.mark.parametrize("every_s", [2.0, 10.0, 60.0])
def test_a_curve_has_twenty_points_however_long_the_run(length_s, every_s):
    alarm = CurveAlarm(every_s, 0.0)
    alarm.begin(0.0, 0.0)
    found = rings(alarm, 0.0, length_s)
    assert len(found) >= POINTS
    assert found[0] <= 0.2
    pauses = [after - before for before, after in itertools.pairwise(found)]
    assert pauses == pytest.approx(sorted(pauses), abs=0.11)
    assert 0.9 * min(every_s, length_s / POINTS) - 0.11 < pauses[-1] < every_s + 0.11


def test_a_curve_that_has_not_begun_or_was_long_has_the_usual_pauses():
    alarm = CurveAlarm(10.0, 0.0)
    assert rings(alarm, 0.0, 25.0) == [10.0, 20.0]
    alarm.begin(25.0 - 7200.0, 25.0)  # a resumed run
    assert rings(alarm, 25.0, 50.0) == [25.1, 35.1, 45.1]
    never = CurveAlarm(0.0, 0.0)
    never.begin(0.0, 0.0)
    assert rings(never, 0.0, 100.0) == []


def test_points_that_cost_something_are_put_off_but_not_beyond_the_usual_pause():
    alarm = CurveAlarm(60.0, 0.0)
    alarm.begin(0.0, 0.0)
    assert rings(alarm, 0.0, 0.2) == [0.1, 0.2]
    alarm.put_off(5.0)
    assert rings(alarm, 0.3, 6.0) == [5.2, 5.5, 5.8]
    alarm.put_off(1e9)
    assert rings(alarm, 6.0, 70.0) == [65.8, 69.1]
