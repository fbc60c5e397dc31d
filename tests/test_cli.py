"""The command line: subcommands, one-line errors, exit codes, and what run.py settles before it starts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from a3c import __version__
from a3c.cli import COMMANDS, main
from a3c.errors import CheckpointError, QuorumLost
from a3c.settings.algorithms import TABULAR
from a3c.settings.config import Config, from_dict
from a3c.settings.presets import presets
from tests.run_tools import script

ROOT = Path(__file__).parents[1]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in a current directory of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_program(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python WORDS` in the current directory."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300, **options
    )


def refused(capsys: Capture, *argv: str) -> str:
    """The error of a command that ends with exit code 2 and one line."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("note: ")]
    assert captured.out == ""
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


class TestCommands:
    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_each_exists_and_has_a_help(self, name: str, capsys: Capture) -> None:
        command = COMMANDS[name]
        assert callable(getattr(importlib.import_module(command.module), command.function))
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert f"usage: a3c {name}" in capsys.readouterr().out

    @pytest.mark.parametrize("argv", [["--help"], []])
    def test_help_and_nothing_list_them(self, argv: list[str], capsys: Capture) -> None:
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert all(f"  {name} " in text and command.help in text for name, command in COMMANDS.items())

    def test_version(self, capsys: Capture) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["--version"])
        assert (caught.value.code, capsys.readouterr().out) == (0, f"a3c {__version__}\n")

    def test_an_unknown_one(self, capsys: Capture) -> None:
        assert refused(capsys, "rnu") == "a3c rnu: no such command; did you mean run?"

    @pytest.mark.parametrize("words", [(str(ROOT / "run.py"),), ("-m", "a3c", "run"), ("-m", "a3c")])
    def test_help_is_instant(self, words: tuple[str, ...]) -> None:
        """Nothing that takes long to import is."""
        done = a_program("-X", "importtime", *words, "--help")
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0
        assert "argparse" in imported
        assert not imported & {"torch", "numpy", "gymnasium", "rich", "psutil", "cv2", "tensorboard"}

    def test_run_py_names_itself(self) -> None:
        done = a_program(str(ROOT / "run.py"), "--help")
        assert done.stdout.startswith("usage: python run.py")
        assert "--envs-per-worker" in done.stdout


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code"), [(CheckpointError("no"), 4), (QuorumLost("no"), 5), (KeyboardInterrupt(), 130)]
    )
    def test_each_has_its_exit_code(
        self, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        def fail(argv: object) -> int:
            raise error

        monkeypatch.setattr("a3c.cli.show_presets", fail)
        assert main(["presets"]) == code
        assert capsys.readouterr().err in ("error: no\n", "")

    def test_a_mistake_of_ours_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(argv: object) -> int:
            raise ZeroDivisionError

        monkeypatch.setattr("a3c.cli.show_presets", fail)
        with pytest.raises(ZeroDivisionError):
            main(["presets"])

    def test_f27_nobody_reads(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "a3c", "presets"],
            stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, timeout=300,
        )  # fmt: skip
        os.close(writing)
        assert done.stderr == b""

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["--env", "Brekout-v0"], "--env Brekout-v0: no such environment; did you mean Breakout-v0"),
            (["--env", "PongDeterministic-v4"], "PongNoFrameskip-v4 --frame-skip 4"),
            (["--env", "Pendulum-v1"], "Pendulum-v1"),
            (["--env", "../../x"], "--env ../../x"),
            (["--load"], "nothing to load"),
            (["--load", "nowhere"], "--load nowhere: there is no such folder"),
            (["--gamma", "2"], "above the greatest value, 1"),
        ],
    )
    def test_f36_f37_bad_input_is_refused_before_anything_starts(
        self, argv: list[str], words: str, capsys: Capture, empty_folder: Path
    ) -> None:
        assert words in refused(capsys, "run", *argv)
        assert not list(empty_folder.iterdir())

    def test_all_mistakes_are_reported_at_once(self, capsys: Capture) -> None:
        assert refused(capsys, "run", "--wrokers", "8", "--gamma", "2", "--lr", "x") == (
            "--wrokers: no such flag; did you mean --workers?; "
            "--gamma 2: above the greatest value, 1; --lr x: not a number"
        )

    def test_no_traceback_from_run_py(self, empty_folder: Path) -> None:
        done = script("run.py", "--env", "Nonsense-v0", cwd=empty_folder)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestDryRun:
    def settings(self, capsys: Capture, *argv: str) -> Config:
        assert main(["run", "--dry-run", *argv]) == 0
        return from_dict(json.loads(capsys.readouterr().out), "stdout")

    def test_prints_the_settings_and_creates_nothing(self, capsys: Capture, empty_folder: Path) -> None:
        config = self.settings(capsys, "--env", "Pong-v0", "--workers", "8", "--lr", "1e-3")
        assert (config.run.workers, config.optim.lr, config.run.preset) == (8, 1e-3, "pong-a3c")
        assert (config.env.frame_size, config.env.frame_stack, config.env.reward_clip) == (80, 4, 1.0)
        assert not list(empty_folder.iterdir())

    @pytest.mark.parametrize("name", sorted(presets()))
    def test_every_preset_fits_its_environment(self, name: str, capsys: Capture) -> None:
        config = self.settings(capsys, "--preset", name)
        assert (config.learn.model is None) == (config.learn.algo in TABULAR)

    def test_a_short_name_has_the_preset_of_its_id(self, capsys: Capture) -> None:
        assert main(["run", "--env", "pong", "--dry-run"]) == 0
        settings = json.loads(capsys.readouterr().out)
        assert (settings["env"]["env"], settings["run"]["preset"]) == ("Pong-v0", "pong-a3c")

    def test_cuda_is_not_set_up(self, capsys: Capture) -> None:
        self.settings(capsys)
        assert not torch.cuda.is_initialized()


class TestDevices:
    def test_f35_no_gpu(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        assert refused(capsys, "run", "--gpu-ids", "0") == (
            "--gpu-ids 0: no GPU was found here; without --gpu-ids the CPU does the work"
        )
        assert main(["run", "--dry-run", "--gpu-ids", "-1"]) == 0
        assert "note: running on the CPU: no GPU found" in capsys.readouterr().err

    def test_f35_wrong_gpu(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert "--gpu-ids 7: this machine has 0, 1;" in refused(capsys, "run", "--gpu-ids", "1", "7")
        assert main(["run", "--dry-run", "--gpu-ids", "0", "1"]) == 0
        assert main(["run", "--dry-run"]) == 0
        assert "running on the CPU; --gpu-ids takes 0 to 1" in capsys.readouterr().err

    def test_more_workers_than_cores_is_only_noted(self, capsys: Capture) -> None:
        assert main(["run", "--dry-run", "--workers", "1000"]) == 0
        assert "note: 1000 workers share" in capsys.readouterr().err


class TestPresets:
    def test_the_list(self, capsys: Capture) -> None:
        assert main(["presets"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == sorted(presets())

    def test_one(self, capsys: Capture) -> None:
        assert main(["presets", "pong-fast"]) == 0
        assert 'env = "PongNoFrameskip-v4"' in capsys.readouterr().out.splitlines()
        assert refused(capsys, "presets", "pong-fsat").endswith("did you mean pong-fast?")


class TestTraining:
    def test_run_hands_everything_to_the_trainer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def train(config: Config, command: list[str], evaluators: object) -> None:
            calls.append((config, command))

        monkeypatch.setattr("a3c.training.trainer.train", train)
        assert main(["run", "--env", "CartPole-v1", "--seed", "7"]) == 0
        [(config, command)] = calls
        assert (config.env.env, config.learn.model, config.run.seed) == ("CartPole-v1", "mlp", 7)
        assert command == ["a3c", "run", "--env", "CartPole-v1", "--seed", "7"]

    def test_run_py_trains(self, empty_folder: Path) -> None:
        words = "--env CartPole-v1 --workers 0 --max-steps 200 --envs-per-worker 2 --eval-every 0"
        done = script("run.py", *words.split(), cwd=empty_folder)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout
        run_dir = empty_folder / "checkpoints" / "CartPole-v1-a3c"
        assert "finished: --max-steps 200 is reached" in done.stdout
        start = json.loads((run_dir / "config.json").read_text())["starts"][0]
        assert start["command"][:3] == ["python", "run.py", "--env"]
