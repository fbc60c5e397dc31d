"""Opening runs: their names, who gets which folder, and what is noted."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from a3c.errors import UsageError
from a3c.storage.open_run import open_run
from a3c.storage.records import read_json
from a3c.storage.run_directory import load_config, run_name
from a3c.storage.run_lock import lock_holder
from tests.fault_tools import run_python
from tests.storage.runs import COMMAND, make_run, settings


class TestNames:
    @pytest.mark.parametrize(
        ("env", "name"),
        [
            ("Breakout-v0", "Breakout-v0-a3c"),
            ("ALE/Breakout-v5", "ALE-Breakout-v5-a3c"),
            ("package.module:Env_2-v0", "package.module-Env_2-v0-a3c"),
        ],
    )
    def test_of_ordinary_ids(self, env: str, name: str) -> None:
        assert run_name(env, "a3c") == name

    @pytest.mark.parametrize(
        "env",
        [
            "../../x",
            "..",
            "/etc/passwd",
            "$(touch y)",
            "`id`",
            "a;b",
            "a b",
            "a\n",
            "\x1b[31m",
            "Pöng-v0",
            "\u03a1ong",
            "",
            "-rf",
            ".hidden",
            "a\0b",
            "x" * 300,
            "a\\b",
            "~root",
            "*",
            "\udc80",
        ],
    )
    def test_f47_odd_ids_name_nothing(self, tmp_path: Path, env: str) -> None:
        with pytest.raises(UsageError, match="cannot name a folder") as caught:
            open_run(tmp_path, settings(env=env), COMMAND)
        assert str(caught.value).isprintable()
        assert os.listdir(tmp_path) == []

    def test_runs_are_numbered(self, tmp_path: Path) -> None:
        paths = [make_run(tmp_path / "checkpoints") for _ in range(3)]
        assert [path.name for path in paths] == ["CartPole-v1-a3c", "CartPole-v1-a3c-2", "CartPole-v1-a3c-3"]

    def test_whatever_has_the_name_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "CartPole-v1-a3c").write_text("a file")
        (tmp_path / "CartPole-v1-a3c-2").symlink_to("nowhere")
        assert make_run(tmp_path).name == "CartPole-v1-a3c-3"

    @pytest.mark.parametrize("text", ["x" * 300, "a\nb", "\x1b[31m", "a\0b", "\udc80"])
    @pytest.mark.parametrize("flag", ["run_dir", "load"])
    def test_f47_odd_paths(
        self, tmp_path: Path, flag: str, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError) as caught:
            open_run(tmp_path, settings(**{flag: text}), COMMAND)
        assert str(caught.value).isprintable()
        assert os.listdir(tmp_path) == []

    def test_f47_a_run_dir_is_only_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert make_run(tmp_path, run_dir="$(touch y); rm -rf *").name == "$(touch y); rm -rf *"
        assert os.listdir(tmp_path) == ["$(touch y); rm -rf *"]


class TestNewRuns:
    def test_config_json_tells_how_it_was_started(self, tmp_path: Path) -> None:
        run = open_run(tmp_path, settings(lr=0.5, gpu_ids=[0, 1], env_kwargs={"a": 1}), COMMAND)
        run.begin()
        saved = read_json(run.path / "config.json")
        assert saved["settings"]["optim"]["lr"] == 0.5
        assert saved["run_id"] == run.run_id
        (start,) = saved["starts"]
        assert start["command"] == COMMAND
        assert start["pid"] == os.getpid()
        assert {"python", "torch", "numpy", "gymnasium", "ale-py"} <= set(start["versions"])
        assert load_config(run.path) == settings(lr=0.5, gpu_ids=[0, 1], env_kwargs={"a": 1})
        assert (run.resumed, run.checkpoint) == (False, None)
        run.close()
        run.close()

    def test_run_dir_is_exactly_that(self, tmp_path: Path) -> None:
        assert make_run(tmp_path / "root", run_dir=str(tmp_path / "a/b/mine")) == tmp_path / "a/b/mine"
        assert not (tmp_path / "root").exists()

    def test_run_dir_may_exist_but_hold_no_run(self, tmp_path: Path) -> None:
        (tmp_path / "log.txt").write_text("of tee")
        assert make_run(tmp_path, run_dir=str(tmp_path)) == tmp_path

    @pytest.mark.parametrize(
        "sign",
        [
            "config.json",
            "status.json",
            "metrics.jsonl",
            "ckpt-000000001",
            "best-000000001",
            "corrupt-ckpt-000000001",
        ],
    )
    def test_run_dir_with_a_run_is_refused(self, tmp_path: Path, sign: str) -> None:
        (tmp_path / sign).mkdir()
        with pytest.raises(UsageError, match=f"already holds a run; continue it with --load {tmp_path}"):
            make_run(tmp_path, run_dir=str(tmp_path))
        assert lock_holder(tmp_path) is None

    @pytest.mark.parametrize("path", ["file", "file/run", "loop/run"])
    def test_run_dir_that_cannot_be(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(UsageError, match=r"is a file|cannot be a folder"):
            make_run(tmp_path, run_dir=str(tmp_path / path))

    def test_a_root_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(UsageError, match="cannot be a folder"):
            make_run(tmp_path / "link")


class TestPermissions:
    CODE = """
import json, os, sys
from pathlib import Path
from a3c.settings.config import resolve
from a3c.errors import A3CError
from a3c.storage.find_run import choose_config
from a3c.storage.open_run import open_run
if os.geteuid() == 0:
    os.seteuid(65534)
results = []
for given in json.loads(sys.argv[2]):
    try:
        config = choose_config(Path(sys.argv[1]), {"env": "CartPole-v1", **given})
        open_run(Path(sys.argv[1]), config, ["x"])
        results.append([0, ""])
    except A3CError as error:
        results.append([error.exit_code, str(error)])
print(json.dumps(results))
"""

    def test_f28_a_root_that_cannot_be_written(self) -> None:
        """As an ordinary user, also where the tests run as root."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            run = make_run(root, (1,))
            for path in (run / "lock", run / "config.json"):
                path.chmod(0o444)
            run.chmod(0o555)
            root.chmod(0o555)
            new = {"preset": "none"}
            given = [new, {**new, "run_dir": f"{root}/a/b"}, {"load": "newest"}, {**new, "run_dir": str(run)}]
            results = run_python(self.CODE, root, json.dumps(given))
            root.chmod(0o755)
            run.chmod(0o755)
        assert [code for code, _ in results] == [6, 6, 6, 6]
        for _, message in results:
            assert "Permission denied; check who owns the folder" in message
            assert "\n" not in message
