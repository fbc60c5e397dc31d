"""The flags of eval.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from a3c.errors import UsageError
from evaluators.scoring.command import parse


def test_nothing_is_needed():
    options = parse([])
    assert (options.env, options.checkpoint, options.run_dir, options.named_seeds) == ("", "", "", "")
    assert (options.gpu_id, options.seed, options.num_episodes) == (-1, 1, 30)
    assert (options.render, options.video, options.json) == (False, None, None)
    assert (options.greedy, options.baseline) == (False, False)


def test_every_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = ["--env", "Pong-v4", "--checkpoint", "best", "--run-dir", "runs/x", "--gpu-id", "1"]
    how = ["--num-episodes", "5", "--seed", "7", "--greedy", "--baseline", "--seeds", "published"]
    options = parse([*where, *how, "--render", "--video", "a.mp4", "--json", "r.json"])
    assert (options.env, options.checkpoint, options.run_dir) == ("Pong-v4", "best", "runs/x")
    assert (options.gpu_id, options.num_episodes, options.seed, options.greedy) == (1, 5, 7, True)
    assert (options.render, options.video, options.json) == (True, Path("a.mp4"), Path("r.json"))
    assert (options.baseline, options.named_seeds) == (True, "published")


def test_older_spellings():
    assert parse(["--num-episode", "3"]).num_episodes == 3
    assert parse(["--gpu-ids", "-1"]).gpu_id == -1
    options = parse(["--render", "True", "--greedy", "False"])
    assert (options.render, options.greedy) == (True, False)
    assert parse(["--render", "false"]).render is False


def test_devices_as_others_name_them():
    assert [parse(["--device", name]).gpu_id for name in ("cpu", "cuda", "cuda:1")] == [-1, 0, 1]


@pytest.mark.parametrize("shown", [["--render"], ["--video", "x.gif"]])
def test_one_game_is_shown_unless_more_are_asked_for(shown):
    assert parse(shown).num_episodes == 1
    assert parse([*shown, "--num-episodes", "2"]).num_episodes == 2
    assert parse(["--seeds", "published"]).num_episodes is None  # all of them


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--num-episodes", "0"], "--num-episodes.*0 is not from 1"),
        (["--num-episodes", "many"], "many: not a whole number"),
        (["--gpu-id", "-2"], "is not from -1"),
        (["--seed", "-1"], "is not from 0"),
        (["--render", "perhaps"], "perhaps: not True or False"),
        (["--seeds", "secret"], "choose from 'published'"),
        (["--greddy"], "did you mean --greedy"),
        (["--deterministic"], "it is --greedy here"),
        (["--device", "tpu"], "write cpu, cuda or cuda:N"),
        (["best"], "a flag must come before it"),
    ],
)
def test_mistakes_are_one_line(argv, words):
    with pytest.raises(UsageError, match=words) as error:
        parse(argv)
    assert "\n" not in str(error.value)


def test_reading_the_flags_needs_no_torch():
    imported = "import sys, evaluators.scoring.command as command"
    code = f"{imported}; command.parse(['--seed', '3']); sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
