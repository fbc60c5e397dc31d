"""Which run: by name, by flags, and the newest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from a3c.errors import CheckpointError, UsageError
from a3c.storage.find_run import choose_config, find_run, named_run, newest_run
from a3c.storage.open_run import open_run
from a3c.storage.records import read_json, write_json
from a3c.storage.run_directory import STATUS, load_config
from a3c.storage.run_lock import RunLock
from tests.storage.runs import COMMAND, make_run, set_age, settings


class TestContinuing:
    def test_newest_run_of_env_and_algo(self, tmp_path: Path) -> None:
        old, new = make_run(tmp_path, (10,)), make_run(tmp_path, (5,))
        other = make_run(tmp_path, (99,), env="Acrobot-v1")
        for path, age in ((old, 1000), (new, 2000), (other, 3000)):
            set_age(path, age)
        config = choose_config(tmp_path, {"env": "CartPole-v1", "load": "newest"})
        assert config.run.run_dir == str(new)
        with open_run(tmp_path, config, COMMAND) as run:
            assert (run.path, run.resumed, run.checkpoint) == (new, True, None)
        set_age(old, 4000)
        set_age(new, 2000)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == old

    def test_a_run_that_died_young_does_not_hide_days_of_work(self, tmp_path: Path) -> None:
        old, young = make_run(tmp_path, (10,)), make_run(tmp_path)
        set_age(old, 1000)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == old
        shutil.rmtree(old)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == young

    def test_damaged_neighbours_are_passed_over(self, tmp_path: Path) -> None:
        good = make_run(tmp_path)
        for name, content in (
            ("a", "{"),
            ("b", "{}"),
            ("c", '{"run_id": "", "settings": {"env": 3}, "starts": []}'),
        ):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(content)
            with pytest.raises(CheckpointError, match=r"config\.json"):
                load_config(tmp_path / name)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == good

    def test_by_path_of_the_run_or_of_a_checkpoint(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, (1, 2))
        (tmp_path / "link").symlink_to(path / "ckpt-000000001")
        for load, checkpoint in (
            (path, None),
            (path / "ckpt-000000001", path / "ckpt-000000001"),
            (tmp_path / "link", path / "ckpt-000000001"),
        ):
            config = choose_config(tmp_path, {"load": str(load)})
            with open_run(tmp_path, config, COMMAND) as run:
                assert (run.path, run.resumed, run.checkpoint) == (path, True, checkpoint)

    def test_with_run_dir(self, tmp_path: Path) -> None:
        first, second = make_run(tmp_path, (1,)), make_run(tmp_path, (2,))
        assert find_run(tmp_path, {"load": "newest", "run_dir": str(first)}).path == first
        both = {"load": str(second / "ckpt-000000002"), "run_dir": str(second)}
        assert find_run(tmp_path, both).checkpoint == second / "ckpt-000000002"
        with pytest.raises(UsageError, match="is not in --run-dir"):
            find_run(tmp_path, {"load": str(first), "run_dir": str(second)})

    def test_nothing_to_load(self, tmp_path: Path) -> None:
        (tmp_path / "stray").mkdir()
        for given in (
            {"load": "newest"},
            {"load": str(tmp_path / "none")},
            {"load": str(tmp_path / "stray")},
            {"load": "newest", "run_dir": str(tmp_path / "none")},
        ):
            with pytest.raises(UsageError, match=r"nothing to load|no such folder|neither a run directory"):
                choose_config(tmp_path / "checkpoints", given)
        assert os.listdir(tmp_path) == ["stray"]

    def test_the_run_that_is_there_is_named(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, (1,), env="Acrobot-v1")
        for given in ({"env": "Acrobot-v1", "algo": "ppo"}, {"env": "CartPole-v1"}):
            with pytest.raises(UsageError, match=f"nothing to load: .*; --load {path} continues another one"):
                find_run(tmp_path, {"load": "newest", **given})

    def test_flags_are_laid_over_the_saved_settings(self, tmp_path: Path) -> None:
        make_run(tmp_path, (1,), lr=0.5, gamma=0.9, max_steps=100, init_from="weights.pt")
        config = choose_config(
            tmp_path, {"env": "CartPole-v1", "load": "newest", "gamma": "0.8", "max_steps": "2k"}
        )
        assert (config.optim.lr, config.learn.gamma, config.run.max_steps) == (0.5, 0.8, 2000)
        assert config.run.init_from == ""
        with open_run(tmp_path, config, COMMAND) as run:
            run.begin()
        again = choose_config(tmp_path, {"env": "CartPole-v1", "load": "newest"})
        assert (again.optim.lr, again.learn.gamma) == (0.5, 0.8)

    @pytest.mark.parametrize(
        "given", [{"env": "Acrobot-v1"}, {"preset": "other"}, {"gamma": "7"}, {"init_from": "weights.pt"}]
    )
    def test_flags_that_contradict_the_saved_run(self, tmp_path: Path, given: dict[str, str]) -> None:
        path = make_run(tmp_path, (1,))
        with pytest.raises(UsageError):
            choose_config(tmp_path, {"load": str(path), **given})

    def test_the_history_of_starts_grows_and_the_id_stays(self, tmp_path: Path) -> None:
        with open_run(tmp_path, settings(), COMMAND) as first:
            first.begin()
        for number in range(3):
            with open_run(
                tmp_path, choose_config(tmp_path, {"load": str(first.path)}), ["resume", str(number)]
            ) as run:
                assert run.run_id == first.run_id
                run.begin()
        starts = read_json(first.path / "config.json")["starts"]
        assert [start["command"] for start in starts] == [
            COMMAND,
            ["resume", "0"],
            ["resume", "1"],
            ["resume", "2"],
        ]


class TestNewest:
    """One rule for everybody: what runs now, then what ran last."""

    def test_the_one_that_runs(self, tmp_path: Path) -> None:
        running, over = make_run(tmp_path, (1,)), make_run(tmp_path, (1,))
        set_age(running, 1000)
        set_age(over, 2000)
        assert newest_run(tmp_path) == over
        with RunLock(running):
            assert newest_run(tmp_path) == running

    def test_of_several_that_run_the_one_started_last(self, tmp_path: Path) -> None:
        first, second = make_run(tmp_path), make_run(tmp_path)
        set_age(first, 1000)
        set_age(second, 2000)
        write_json(first / STATUS, {"state": "running"})  # is written all the time, by both
        with RunLock(first), RunLock(second):
            assert newest_run(tmp_path) == second

    def test_the_one_that_ran_last(self, tmp_path: Path) -> None:
        short, long = make_run(tmp_path), make_run(tmp_path)
        set_age(short, 2000)
        set_age(long, 1000)
        assert newest_run(tmp_path) == short
        write_json(long / STATUS, {"state": "stopped"})
        assert newest_run(tmp_path) == long

    def test_filters(self, tmp_path: Path) -> None:
        saved, damaged, empty = make_run(tmp_path, (5,)), make_run(tmp_path, (5,)), make_run(tmp_path)
        other = make_run(tmp_path, env="Acrobot-v1")
        (damaged / "ckpt-000000005").rename(damaged / "corrupt-ckpt-000000005")
        for age, path in enumerate((saved, damaged, empty, other)):
            set_age(path, 1000 + age)
        assert newest_run(tmp_path) == other
        assert newest_run(tmp_path, "CartPole-v1") == empty
        assert newest_run(tmp_path, algo="a3c", saved=True) == damaged  # what was lost is not hidden
        assert newest_run(tmp_path, "CartPole-v1", "dqn") is None
        assert newest_run(tmp_path / "nowhere") is None


class TestNames:
    def test_a_run_is_known_by_its_name_alone(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, (1,))
        for name in (path.name, str(path), f"{path.name}/"):
            assert named_run(name, root=tmp_path) == (path, None)
        assert named_run(f"{path.name}/ckpt-000000001", root=tmp_path) == (path, path / "ckpt-000000001")

    @pytest.mark.parametrize("name", ["none", "none/none", "x" * 5000, "a\0b", "."])
    def test_what_is_none_takes_one_line(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError) as caught:
            named_run(name, "--load", tmp_path)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
