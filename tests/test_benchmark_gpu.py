"""The measurement for a GPU as far as it goes without one: its parts under their limits, MPS, the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks import gpu, stages
from benchmarks.mps import PIPES, own_daemon
from benchmarks.parts import Findings, Part, run_parts
from tests.run_tools import ROOT, wait_for

FINDS = "import sys; from pathlib import Path; from benchmarks.parts import Findings; "
FINDS += "found = Findings(Path(sys.argv[1])); found.add('rate', 3.5); "
HANGS = FINDS + (
    "import os, signal, subprocess; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "found.add('child', subprocess.Popen(['sleep', '1000'], start_new_session=True).pid); signal.pause()"
)
DAEMON = """#!{python}
import os, socket, sys, time
path = os.environ["CUDA_MPS_PIPE_DIRECTORY"] + "/control"
if sys.argv[1:] != ["-d"]:
    assert sys.stdin.read() == "quit\\n"
    os.unlink(path)
elif os.fork() == 0:
    os.setsid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        while os.path.exists(path):
            time.sleep(0.01)
"""


def part(name: str, program: str, limit_s: float = 60.0) -> Part:
    return Part(name, limit_s, [sys.executable, "-c", program])


@pytest.fixture
def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_part_that_fails_or_hangs_leaves_the_others_alone(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.parts._LEAVE_S", 0.1)
    kept: list[Mapping[str, object]] = []
    parts = [part("fails", FINDS + "sys.exit(3)"), part("hangs", HANGS, 8.0), part("works", FINDS)]
    found = run_parts(parts, 600.0, lambda results: kept.append(dict(results)), environ)
    assert [list(results) for results in kept] == [["fails"], ["fails", "hangs"], ["fails", "hangs", "works"]]
    states = [result["state"] for result in found.values()]
    assert states == ["failed with exit code 3", "cut off after 8 s", "done"]
    assert [result["rate"] for result in found.values()] == [3.5] * 3
    wait_for(lambda: not psutil.pid_exists(found["hangs"]["child"]), 10, "the end of what the part started")


def test_without_time_a_part_is_not_begun(environ: dict[str, str]) -> None:
    found = run_parts([part("works", FINDS)], 1.0, lambda results: None, environ)
    assert found == {"works": {"state": "no time left"}}


def test_all_parts_fit_into_the_time() -> None:
    """Also where each takes all it may: what is left then trains Breakout for over a minute."""
    *others, (last, wanted) = gpu.LIMITS.items()
    assert (last, wanted - gpu.JUDGING_S) == ("breakout", pytest.approx(5 * 60, abs=10))
    before_s = 20.0  # imports, the start of MPS's daemon
    left = 60 * gpu.arguments().get_default("minutes") - before_s - gpu.AFTER_S - sum(s for _, s in others)
    assert left - gpu.JUDGING_S > 60
    assert list(gpu.LIMITS) == list(gpu.PARTS)


def test_packages_are_found_where_they_were_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/packages")
    assert gpu.search_path().split(os.pathsep) == [str(ROOT), "/packages"]
    monkeypatch.delenv("PYTHONPATH")
    assert gpu.search_path() == str(ROOT)


@pytest.mark.parametrize(
    ("scores", "reached", "played"),
    [
        ([1, 5, 17, 19, 19, 19, 19, 19], 4, [8, 4, 2, 3]),
        ([1, 19, 19, 19], 2, [4, 2, 1]),
        ([1, 19, 19, 5], 2, [4, 3, 2, 1]),  # the last ones may have forgotten
        ([1, 5, 9], None, [3, 2, 1]),
    ],
)
def test_an_early_checkpoint_that_reaches_the_score_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[int], reached: int | None, played: list[int]
) -> None:
    saved = [SimpleNamespace(step=step, path=step) for step in range(1, len(scores) + 1)]
    state = SimpleNamespace(checkpoint=SimpleNamespace(state={"elapsed_s": 1.0}))
    monkeypatch.setattr(gpu, "entries", lambda run_dir: saved)
    monkeypatch.setattr(
        gpu, "metrics", lambda run_dir: [{"kind": "train", "env_steps": 1, "mean_return": 18.0}]
    )
    monkeypatch.setattr(gpu, "find_trained", lambda path: state)
    monkeypatch.setattr(gpu, "score", lambda path, first, games: [scores[path - 1]] * games)
    findings = Findings(tmp_path / "found.json")
    with ThreadPoolExecutor(1) as pool:
        gpu.judge(tmp_path, 18.0, 4, findings, pool, float("inf"))
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert [point["env_steps"] for point in found["checkpoints"]] == played
    assert (found["reached"] or {}).get("env_steps") == reached
    (tmp_path / "found.json").unlink()
    gpu.judge(tmp_path, 18.0, 4, Findings(tmp_path / "found.json"), pool, 0.0)
    assert "lack of time" in json.loads((tmp_path / "found.json").read_text())["not tried"]


def test_what_was_found_is_whole_at_any_moment(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "found.json")
    for i in range(3):
        findings.add(str(i), i)
        assert json.loads((tmp_path / "found.json").read_text()) == {str(k): k for k in range(i + 1)}
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def install_daemon(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvidia-cuda-mps-control"
    path.write_text(program.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_daemon_of_mps_is_started_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_daemon(tmp_path, DAEMON, monkeypatch)
    with own_daemon() as (pipes, trouble):
        assert trouble == ""
        assert Path(pipes, "control").is_socket()
        assert os.environ.get(PIPES) != pipes
    assert not Path(pipes).exists()


def test_a_daemon_that_does_not_start_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with own_daemon() as (pipes, trouble):
        assert (pipes, trouble) == ("", "nvidia-cuda-mps-control is not installed")
    install_daemon(tmp_path, "#!{python}\nraise SystemExit(7)\n", monkeypatch)
    with own_daemon() as (pipes, trouble):
        assert pipes == ""
        assert "ended with 7" in trouble


def test_the_stages_of_a_step_are_measured() -> None:
    found = stages.measure("a3c-small", size=2, steps=4, rounds=1, cold_mb=0.1)
    assert set(found) == {*stages.STAGES, "whole"}
    assert found["whole"] == pytest.approx(sum(found[name] for name in stages.STAGES))
    assert found["emulator"] > 0
    assert "% emulator" in stages.in_words(found)


def test_environments_are_measured_beside_a_network() -> None:
    found = stages.beside_network("a3c-small", size=2, rollouts=1, rounds=1)
    assert found["emulator"] > 0
    assert found["percent beside"] == pytest.approx(100 * found["emulator beside"] / found["step"])
    assert f"{found['percent']:.0f} %" in stages.network_in_words(found)


def test_the_table_says_what_was_found() -> None:
    trained = {
        "workers": 2,
        "steps_per_second": 2000.0,
        "mean_lag": 1.5,
        "share_env": 0.5,
        "gpu_bytes": 2**30,
    }
    point = {"env_steps": 9, "wall_s": 60.0, "mean": 19.0, "std": 1.0}
    parts = {
        "emulators": {"state": "done", "seconds": 5.0, "1 cores": 3000.0, "4 cores": 10000.0},
        "training": {
            "state": "cut off after 9 s",
            "seconds": 9.0,
            "a3c-lstm, 2 x 32": trained,
            "a3c-small": "failed: x",
        },
        "pong": {"state": "done", "seconds": 99.0, "reached": point, "checkpoints": [point]},
        "breakout": {"state": "no time left"},
    }
    text = "\n".join(" ".join(row) for row in gpu.rows({"parts": parts}))
    assert "training cut off after 9 s" in text
    assert "2,000 steps/s, lag 1.5, env 0.50, environments at 80 % of the emulator's rate, GPU" in text
    assert "a3c-small failed: x" in text
    assert "reached 60 s, 19.0" in text
    assert "breakout no time left" in text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_of_it_in_small_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_daemon(tmp_path, DAEMON, monkeypatch)
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--minutes", "18"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {part["state"] for part in result["parts"].values()} == {"done"}
    assert list(result["parts"]) == list(gpu.PARTS)
    assert any("MPS" in name for name in result["parts"]["training"])
    assert all(result["parts"][game]["reached"] for game in gpu.GOALS)
    assert done.stdout.splitlines()[-1].startswith("kept in ")
