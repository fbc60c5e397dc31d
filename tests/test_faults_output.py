"""A real run whose standard descriptors are missing, or whose output nobody reads."""

import json
import os
import signal

import pytest

from tests.processes.test_descriptors import full_pipe, stopped_terminal
from tests.run_tools import TINY, Run, end_by_force

CARTPOLE = ["--env", "CartPole-v1", "--workers", "1", "--checkpoint-every", "1", "--eval-every", "0", *TINY]

INLINE = ["--env", "CartPole-v1", "--workers", "0", *TINY]


def test_f60_a_run_without_standard_descriptors_trains(tmp_path):
    with Run(tmp_path, *CARTPOLE, within=("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')) as run:
        run.training()
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    assert run.status()["state"] == "stopped"
    assert run.checkpoints()


@pytest.fixture(params=[full_pipe, stopped_terminal])
def unread(request):
    reader, writer = request.param()
    yield writer
    os.close(reader)
    os.close(writer)


def test_f61_a_run_whose_output_nobody_reads_goes_on_and_ends(tmp_path, unread):
    with Run(tmp_path, *CARTPOLE, output=unread, env={"TERM": "xterm"}) as run:
        seen = run.training()["updated"]
        run.wait_until(lambda s: s["updated"] > seen)
        os.kill(run.status()["workers"][0]["pid"], signal.SIGKILL)
        run.wait_until(lambda s: s["workers"][0]["restarts"] == 1 and s["workers"][0]["state"] == "running")
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    assert run.checkpoints()
    log = (run.path / "logs" / "main.log").read_text()
    assert "was killed by SIGKILL" in log


@pytest.mark.parametrize("unread", [stopped_terminal], indirect=True)
def test_f61_a_second_signal_ends_a_run_whose_output_nobody_reads(tmp_path, unread):
    hangs = tmp_path / "hangs"
    kwargs = ["mode=hang", "at=500", f"tally={hangs}"]
    flags = ["--env", "fault_env:Fault-v0", "--env-kwargs", *kwargs, "--workers", "1", *TINY]
    with Run(tmp_path, *flags, "--grace", "60", output=unread, env={"TERM": "xterm"}) as run:
        end_by_force(run, hangs)


def test_f62_limits_hold_while_one_process_evaluates_all_the_time(tmp_path):
    flags = ["--eval-every", "0.01", "--eval-episodes", "20", "--max-time", "6s"]
    with Run(tmp_path, *INLINE, *flags) as run:
        assert run.end() == 0, run.output
    assert "--max-time 6 s is over" in run.output
    rows = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    steps = [row["env_steps"] for row in rows if row["kind"] == "evaluation"]
    assert len(steps) >= 2
    assert len(set(steps[:-1])) == len(steps) - 1  # the last score may be of the same weights


def test_f62_a_signal_ends_a_long_evaluation_in_one_process(tmp_path):
    with Run(tmp_path, *INLINE, "--eval-every", "0.5", "--eval-episodes", "3000") as run:
        run.wait_until(lambda s: s["state"] == "running" and s["steps"] > 0)
        steps = -1
        while run.status()["steps"] > steps:  # until an evaluation has begun
            steps, updated = run.status()["steps"], run.status()["updated"]
            run.wait_until(lambda s, updated=updated: s["updated"] > updated)
        run.signal(signal.SIGTERM)
        assert run.end() == 0, run.output
    assert run.status()["state"] == "stopped"
    assert run.checkpoints()
