"""Packages of trained agents: built, read back, sent to a Hub and fetched from it by the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from a3c.cli import main
from a3c.errors import CheckpointError
from a3c.storage.package_format import encode_manifest, folder, read_package
from tests.evaluators.curves.test_plots import evaluation, train
from tests.evaluators.scoring.test_score import make_run
from tests.evaluators.sharing.fake_hub import COMMIT, TOKEN, FakeHub
from tests.warm import run_to_the_end

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package of a CartPole agent."""
    home = tmp_path_factory.mktemp("package")
    run = make_run(home / "run", ("best", 500), max_episode_steps=40)
    rows = [train(100, 9.0), evaluation(100, 8.0, 12.0)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["package", str(run), "--out", str(home / "package")]) == 0
    return home / "package"


@pytest.fixture
def copy(package, tmp_path):
    return Path(shutil.copytree(package, tmp_path / "package"))


def test_a_package_has_what_others_need(package):
    names = "MANIFEST.json README.md config.json metrics.csv model.safetensors replay.mp4 results.json"
    assert sorted(os.listdir(package)) == names.split()
    results = json.loads((package / "results.json").read_text())
    assert results["env_id"] == "CartPole-v1"
    assert results["n_eval_episodes"] == len(results["protocol"]["scores"]) == 30
    assert results["is_deterministic"] is False
    assert results["hyperparameters"]["model"] == "mlp"
    video = cv2.VideoCapture(str(package / "replay.mp4"))
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    assert frames == results["protocol"]["lengths"][0] > 5  # the first of the games that were scored
    fourcc = int(video.get(cv2.CAP_PROP_FOURCC))
    assert fourcc.to_bytes(4, "little") in (b"avc1", b"h264")
    settings = json.loads((package / "config.json").read_text())["config"]
    assert set(settings["run"]) == {"seed", "max_steps"}
    assert "cluster" not in settings  # its address is nobody's business
    assert str(Path.home()) not in (package / "config.json").read_text()


def test_the_card_has_metadata_that_the_hub_s_own_reader_understands(package):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(package / "README.md")
    results = json.loads((package / "results.json").read_text())
    assert card.data.library_name == "a3c"
    assert {"CartPole-v1", "deep-reinforcement-learning", "reinforcement-learning"} <= set(card.data.tags)
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_type) == ("reinforcement-learning", "CartPole-v1")
    assert result.metric_value == f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}"


def test_a_package_is_played_like_a_checkpoint(package, capsys):
    assert main(["eval", "--checkpoint", str(package), "--num-episodes", "30"]) == 0
    out = capsys.readouterr().out
    assert "a package, " in out
    assert first_scores(package) in " ".join(out.split())


def first_scores(package):
    """As `a3c eval` prints them."""
    played = json.loads((package / "results.json").read_text())["protocol"]
    marked = zip(played["scores"][:8], played["truncated"], strict=False)
    return " ".join(f"{score:g}{'*' * cut}" for score, cut in marked)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_f21_a_changed_file_is_refused(name, copy):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match="not what was written"):
        read_package(folder(copy), "it")
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_package(folder(copy), "it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config.update(format="x"), "not that of an agent"),
        (lambda config: config["config"]["learn"].update(env="os:CartPole-v1"), "belongs to the group env"),
        (lambda config: config["env"].update(env_id=5), "names no environment"),
        (lambda config: config.pop("network"), "not that of an agent"),
        (lambda config: config.update(config=7), "not tables of settings"),
    ],
)
def test_f24_a_hostile_config_is_refused(change, words, copy):
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    reseal(copy)
    with pytest.raises(CheckpointError, match=words):
        read_package(folder(copy), "it")


def reseal(path):
    names = sorted(set(os.listdir(path)) - {"MANIFEST.json"})
    files = {name: (path / name).read_bytes() for name in names}
    (path / "MANIFEST.json").write_bytes(encode_manifest(files))


def test_links_are_not_followed(copy, tmp_path):
    (copy / "model.safetensors").rename(tmp_path / "elsewhere")
    (copy / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_package(folder(copy), "it")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["package", "nowhere"], 2, "there is no such folder"),
        (["package", "--out", "."], 2, "no trained run"),
        (["package", "--num-episodes", "29"], 2, "not from 30"),
        (["push", "agent", "x"], 2, "called user/name"),
        (["push", "me/agent", "x"], 2, "no such folder"),
        (["push", "me/agent", "."], 4, "cannot be read"),
        (["eval", "--checkpoint", "hub:agent"], 2, "called hub:user/name"),
    ],
)
def test_mistakes_take_one_line(command, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# ---------------------------------------------------------------------------------------------------
# The Hub


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub")
    with FakeHub() as server:
        yield server


def a3c(hub, home, *command, token=TOKEN, **environ):
    """The command line in a process of its own."""
    return python(hub, home, "-m", "a3c", *map(str, command), token=token, **environ)


def python(hub, home, *words, token=TOKEN, **environ):
    """Python in a process of its own: the Hub's client reads its settings when it is imported."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"}
    own["PYTHONPATH"] = str(ROOT)
    tokens = {"HF_TOKEN": token} if token else {}
    return run_to_the_end(*words, cwd=home, environ={**keep, **own, **tokens, **environ})


def run(command, home, environ):
    return subprocess.run(
        command, cwd=home, env=environ, capture_output=True, text=True, timeout=300, check=False
    )


def assert_secret(result, home):
    """The token is nowhere: not in what was printed, not in what was written."""
    assert TOKEN not in result.stdout + result.stderr
    for path in home.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_a_package_goes_to_the_hub_in_one_commit_and_back(hub, package, tmp_path):
    result = a3c(hub, tmp_path, "push", "me/agent", package)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{hub.url}/me/agent (commit {COMMIT[:12]})\n"
    assert hub.created[0]["visibility"] == "private" or hub.created[0].get("private") is True
    assert hub.commits == 1
    assert hub.files == {name: (package / name).read_bytes() for name in os.listdir(package)}
    assert_secret(result, tmp_path)

    result = a3c(hub, tmp_path, "eval", "--checkpoint", "hub:me/agent", "--num-episodes", "30")
    assert result.returncode == 0, result.stderr
    assert first_scores(package) in " ".join(result.stdout.split())
    fetched = {line.rpartition("/")[2] for line in hub.requests if line.startswith("GET /me/")}
    assert fetched == {"MANIFEST.json", "config.json", "model.safetensors"}
    later = [line for line in hub.requests if line.startswith("GET /me/") and "MANIFEST" not in line]
    assert all(f"/resolve/{COMMIT}/" in line for line in later)
    assert_secret(result, tmp_path)


def test_a_public_repository_is_asked_for(hub, package, tmp_path):
    assert a3c(hub, tmp_path, "push", "me/agent", package, "--public").returncode == 0
    assert hub.created[0].get("visibility") == "public" or hub.created[0].get("private") is False


@pytest.mark.parametrize(
    ("failures", "token", "code", "words"),
    [
        ({}, "", 2, "no token for the Hub: set HF_TOKEN"),
        ({}, "hf_wrong", 2, "the Hub answered 401"),
        ({"POST /api/repos": 403}, TOKEN, 2, "the Hub answered 403 (no, Bearer ...)"),
        ({"POST /api/repos": 500}, TOKEN, 6, "the Hub answered 500"),
        ({"POST /api/models/me/agent/commit": 503}, TOKEN, 6, "the Hub answered 503"),
        ({"POST /api/models/me/agent/commit": "cut"}, TOKEN, 6, "is the network there?"),
    ],
    ids=["no token", "wrong token", "403", "500", "503 at the commit", "cut at the commit"],
)
def test_f39_failures_of_a_push_take_one_line(failures, token, code, words, hub, package, tmp_path):
    hub.failures = failures
    result = a3c(hub, tmp_path, "push", "me/agent", package, token=token)
    assert (result.returncode, result.stdout) == (code, "")
    *_, error = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert "Traceback" not in result.stderr
    assert hub.commits == 0
    assert_secret(result, tmp_path)


@pytest.mark.parametrize(
    ("failures", "code", "words"),
    [
        ({"HEAD": 401}, 2, "the Hub answered 401"),
        ({"HEAD": 404}, 2, "no such repository"),
        pytest.param({"HEAD": 500}, 6, "the Hub answered 500", marks=pytest.mark.slow),
        pytest.param(
            {f"GET /me/agent/resolve/{COMMIT}/config.json": "cut"}, 6, "cannot get config.json",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["401", "404", "500", "cut again and again"],
)  # fmt: skip
def test_f39_failures_of_a_download_take_one_line(failures, code, words, hub, package, tmp_path):
    hub.files = {name: (package / name).read_bytes() for name in os.listdir(package)}
    hub.failures = failures
    result = a3c(hub, tmp_path, "eval", "--checkpoint", "hub:me/agent")
    assert result.returncode == code, result.stderr
    *_, error = result.stderr.splitlines()
    assert words in error
    assert "Traceback" not in result.stderr
    assert_secret(result, tmp_path)


def test_f39_a_connection_cut_once_is_taken_up_again(hub, package, tmp_path):
    hub.files = {name: (package / name).read_bytes() for name in os.listdir(package)}
    hub.failures, hub.cuts_left = {"GET": "cut"}, 1
    (tmp_path / "loads.py").write_text("import a3c; print(a3c.load('hub:me/agent').evaluate(2)['scores'])")
    result = python(hub, tmp_path, str(tmp_path / "loads.py"))
    assert result.returncode == 0, result.stderr
    played = json.loads((package / "results.json").read_text())["protocol"]
    assert json.loads(result.stdout) == played["scores"][:2]


def test_f87_no_more_is_taken_than_was_announced(hub, package, tmp_path):
    hub.files = {name: (package / name).read_bytes() for name in os.listdir(package)}
    hub.failures = {f"GET /me/agent/resolve/{COMMIT}/config.json": "more"}
    result = a3c(hub, tmp_path, "eval", "--checkpoint", "hub:me/agent")
    assert result.returncode == 4, result.stderr
    assert "config.json is larger than the" in result.stderr
    assert hub.sent_bytes < 100 * 2**20
    assert "Traceback" not in result.stderr


def test_f87_a_hub_that_sends_a_byte_now_and_then_is_given_up(hub, package, tmp_path):
    hub.files = {name: (package / name).read_bytes() for name in os.listdir(package)}
    hub.failures = {"GET": "drip"}
    (tmp_path / "impatient.py").write_text(
        "import sys; from a3c.trained import hub; hub._PATIENCE_S = 3.0; from a3c.cli import main; "
        "sys.exit(main(['eval', '--checkpoint', 'hub:me/agent']))"
    )
    result = python(hub, tmp_path, str(tmp_path / "impatient.py"))
    assert result.returncode == 6, result.stderr
    assert "cannot get MANIFEST.json of hub:me/agent: no answer within 3 s" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_hub_is_not_trusted(hub, package, tmp_path):
    files = {name: (package / name).read_bytes() for name in os.listdir(package)}
    hub.files = {"q-learning.pkl": b"x"}
    result = a3c(hub, tmp_path / ".", "eval", "--checkpoint", "hub:me/agent")
    assert result.returncode == 4
    assert "pickled agents are never loaded. A Q table is learned anew in seconds" in result.stderr
    hub.files = {**files, "config.json": b" " * (2**20 + 1)}
    result = a3c(hub, tmp_path, "eval", "--checkpoint", "hub:me/agent", HF_HOME=str(tmp_path / "b"))
    assert result.returncode == 4
    assert "more than 1048576" in result.stderr
    assert not [line for line in hub.requests if line.startswith("GET") and "config" in line]
    hub.files = {**files, "model.safetensors": files["model.safetensors"][:-1] + b"x"}
    result = a3c(hub, tmp_path, "eval", "--checkpoint", "hub:me/agent", HF_HOME=str(tmp_path / "c"))
    assert result.returncode == 4
    assert "not what was written" in result.stderr


def test_a_missing_library_takes_one_line(package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["push", "me/agent", str(package)]) == 2
    assert capsys.readouterr().err == 'error: this needs huggingface_hub: pip install "a3c[hub]"\n'


@pytest.mark.parametrize("command", ["levels", "play", "plot", "package", "push"])
def test_help_is_instant(command):
    program = "import sys; from a3c.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    program += "print('heavy:', {'torch', 'gymnasium', 'cv2', 'matplotlib', 'pygame'} & set(sys.modules))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = run([sys.executable, "-c", program, command, "--help"], None, environ)
    assert result.stdout.endswith("heavy: set()\n")
    assert f"usage: a3c {command}" in result.stdout
