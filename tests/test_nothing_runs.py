"""What is read never decides what code runs: every command, given every kind of file that names a module."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from a3c.api.agent import load
from a3c.cli import main
from a3c.envs.levels import LEVELS_ID
from a3c.errors import CheckpointError
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG
from a3c.storage.saving import Progress
from a3c.types import Counters
from tests.evaluators.fakes import make_session
from tests.evaluators.sharing.fake_hub import FakeHub
from tests.evaluators.sharing.test_package import a3c, reseal

CANARY = "open('imported', 'w').close()\n"
HOSTILE = "payload:CartPole-v1"
POINT = {"kind": "train", "env_steps": 9, "mean_return": 1.0}


def hostile_run(path: Path, *, config: bool, checkpoint: bool, env: str = "CartPole-v1", **more) -> Path:
    """A run whose config.json, or whose sealed checkpoint, names a module."""
    session = make_session(path, env=env, **({"algo": "dqn"} if env == LEVELS_ID else {}))
    settings = session.config.to_dict()
    smuggled = session.config.replace(**(more or {"env": f"payload:{env}"}))
    written = smuggled.to_dict() if config else settings
    write_json(path / CONFIG, {"run_id": "x", "settings": written, "starts": []})
    (path / "metrics.jsonl").write_text(json.dumps(POINT) + "\n")
    saver = replace(session.saver(), config=smuggled if checkpoint else session.config)
    saver.save(session.memory.snapshot(), Progress(Counters(env_steps=9), 1.0))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Everything that can be read, each naming a module in its own way."""
    folder = tmp_path_factory.mktemp("files")
    hostile_run(folder / "run", config=True, checkpoint=True)
    hostile_run(folder / "checkpoint", config=False, checkpoint=True)
    hostile_run(folder / "config", config=True, checkpoint=False)
    hostile_run(folder / "levels", config=True, checkpoint=True, env=LEVELS_ID)
    hostile_run(folder / "kwargs", config=True, checkpoint=True, env_kwargs={"a": "payload:Thing"})
    clean = hostile_run(folder / "clean", config=False, checkpoint=False)
    assert main(["package", str(clean), "--out", str(folder / "sound")]) == 0
    for name, group in (("package", "env"), ("misplaced", "learn")):
        copy = Path(shutil.copytree(folder / "sound", folder / name))
        config = json.loads((copy / "config.json").read_text())
        config["config"][group]["env"] = HOSTILE
        (copy / "config.json").write_text(json.dumps(config))
        reseal(copy)
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """A current folder with the module, which leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "payload.py").write_text(CANARY)
    yield tmp_path
    assert not (tmp_path / "imported").exists()
    assert "payload" not in sys.modules


READERS = {
    "eval": ["eval", "--checkpoint"],
    "eval of a run": ["eval", "--run-dir"],
    "watch": ["play", "--window", "--games", "1", "--fps", "1000", "--watch"],
    "package": ["package"],
    "levels": ["levels", "--run"],
    "load": ["run", "--workers", "0", "--load"],
    "plot": ["plot"],
}
CARRIERS = {
    "run": {"levels": 2, "plot": 0},
    "checkpoint": {"levels": 2, "plot": 0, "load": 0},  # a run goes on by its own config.json
    "config": {"plot": 0, "levels": 2, "eval": 0, "eval of a run": 0, "watch": 0, "package": 0},
    "kwargs": {"plot": 0, "levels": 2},
    "levels": {"plot": 0},
    "package": {"levels": 2, "plot": 0, "load": 2},
    "misplaced": {"load": 2},
}
"""By what is read, the exit codes that are not 4: it is of another kind, or what is read of it is sound."""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_f49_no_file_has_code_run_by_any_command(carrier, reader, files, here, capsys, monkeypatch):
    monkeypatch.setattr("a3c.training.trainer.train", lambda *_, **__: 0)
    expected = CARRIERS[carrier].get(reader, 4)
    assert main([*READERS[reader], str(files / carrier)]) == expected
    if expected:
        errors = capsys.readouterr().err.splitlines()
        assert len([line for line in errors if line.startswith("error: ")]) == 1
        assert "Traceback" not in "".join(errors)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_f49_no_file_has_code_run_from_python(carrier, files, here):
    if CARRIERS[carrier].get("eval", 4) == 0:
        assert load(files / carrier).evaluate(1)["n"] == 1
        return
    with pytest.raises(CheckpointError):
        load(files / carrier)


def test_f49_weights_from_a_hostile_run_bring_no_environment(files, here, monkeypatch):
    trained = []
    monkeypatch.setattr("a3c.training.trainer.train", lambda config, *_: trained.append(config) or 0)
    weights = str(files / "run" / "ckpt-000000009")
    assert main(["run", "--env", "CartPole-v1", "--init-from", weights, "--workers", "0"]) == 0
    assert trained[0].env.env == "CartPole-v1"


def test_f49_an_agent_from_the_hub_brings_no_environment(files, here):
    pytest.importorskip("huggingface_hub")
    for name in ("package", "misplaced"):
        with FakeHub() as hub:
            hub.files = {path.name: path.read_bytes() for path in (files / name).iterdir()}
            done = a3c(hub, here, "eval", "--checkpoint", "hub:me/agent", HF_HOME=str(here / name))
            assert done.returncode == 4, done.stderr
            assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
