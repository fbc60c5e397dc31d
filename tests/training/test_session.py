"""What a resumed run knows of the starts before it."""

import pytest

from a3c.storage.saving import Progress, counters_in
from a3c.storage.shelf import newest_checkpoint
from a3c.training.session import resume
from tests.evaluators.fakes import make_session


def saved(session, counts):
    session.board.add(0, counts)
    return session.saver().save(session.memory.snapshot(), Progress(session.board.counters(), 7.0))


def resumed(session):
    return resume(make_session(session.run_dir), *newest_checkpoint(session.run_dir))


def test_a_resume_goes_on_from_all_that_was_counted(tmp_path):
    counts = {"env_steps": 100, "frames": 400, "updates": 9, "episodes": 3}
    session = make_session(tmp_path)
    saved(session, counts)
    again = resumed(session)
    assert {name: again.board.total(name) for name in counts} == counts
    assert again.resumes == 1
    assert again.elapsed_s() >= 7.0
    assert again.memory.weights.equal(session.memory.weights)


def test_refused_gradients_keep_their_reason_over_a_resume(tmp_path):
    session = make_session(tmp_path)
    saved(session, {"env_steps": 100, "rejected_nonfinite": 2, "rejected_stale": 40})
    board = resumed(session).board
    assert (board.total("rejected_nonfinite"), board.total("rejected_stale")) == (2, 40)
    assert board.counters().rejected == 42


@pytest.mark.parametrize(("max_lag", "kind"), [(0, "rejected_nonfinite"), (8, "rejected_stale")])
def test_refused_gradients_of_version_0_1_had_no_reason(tmp_path, max_lag, kind):
    state = {"config": {"optim": {"max_lag": max_lag}}, "counters": {"env_steps": 100, "rejected": 5}}
    counters = counters_in(state)
    assert counters._asdict() | {kind: 5} == counters._asdict()
    assert counters.rejected == 5
