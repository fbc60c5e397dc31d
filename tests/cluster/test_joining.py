import json
import subprocess

import pytest

from a3c.cluster import joining
from a3c.cluster.address import check_address
from a3c.cluster.joining import find_cluster, has_token
from a3c.errors import UsageError
from a3c.settings.config import Config, resolve_resumed
from benchmarks.ray_cluster import free_port
from tests.run_tools import ROOT, script

INSECURE = Config().replace(cluster="127.0.0.1:6379", cluster_insecure=True)


@pytest.fixture(autouse=True)
def _without_token(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def _with_ray(monkeypatch):
    """Installed, as far as one looks."""
    monkeypatch.setattr(joining.importlib.util, "find_spec", lambda name: pytest.__spec__)


def test_f92_without_ray(monkeypatch):
    monkeypatch.setattr(joining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "a3c\[cluster\]"'):
        find_cluster(INSECURE)


def test_f92_nothing_is_left_of_a_start_without_a_cluster(tmp_path):
    flags = ["--env", "CartPole-v1", "--cluster", f"127.0.0.1:{free_port()}", "--cluster-insecure"]
    done = script("run.py", *flags, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: --cluster")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_with_ray")
def test_f92_an_open_cluster_is_refused_unless_it_is_wanted():
    with pytest.raises(UsageError, match=r"ray get-auth-token.*RAY_AUTH_MODE=token.*--cluster-insecure"):
        find_cluster(INSECURE.replace(cluster_insecure=False))


def test_a_token_counts_where_ray_is_told_to_use_it(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    assert not has_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert has_token()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert not has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    assert has_token()


@pytest.mark.parametrize("address", ["here", "host:", ":6379", "host:port", "host:70000"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match=f"--cluster {address}: it is HOST:PORT"):
        check_address(address)


@pytest.mark.usefixtures("_with_ray")
@pytest.mark.parametrize(("strangers", "insecure", "taken"), [(0, 0, 1), (1, 0, 0), (1, 1, 1)])
def test_f92_a_cluster_that_takes_in_everybody_is_refused(monkeypatch, strangers, insecure, taken):
    """Ray takes a token along to a cluster that asks for none."""

    def run(command, env, **_):
        comes_in = strangers or env["RAY_AUTH_TOKEN"] == "a" * 64
        answer = b'{"address": "10.0.0.1:6379"}' if comes_in else b'{"error": "InvalidAuthToken"}'
        return subprocess.CompletedProcess(command, 0, answer, b"")

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setattr(subprocess, "run", run)
    config = Config().replace(cluster="auto", cluster_insecure=bool(insecure))
    if taken:
        assert find_cluster(config).cluster.cluster == "10.0.0.1:6379"
    else:
        with pytest.raises(UsageError, match=r"takes in whoever comes.*RAY_AUTH_MODE=token.*--cluster-ins"):
            find_cluster(config)


@pytest.mark.usefixtures("_with_ray")
def test_f92_no_cluster_at_the_address():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UsageError, match=rf"--cluster {address}: nobody answers there .*ray start --head"):
        find_cluster(INSECURE.replace(cluster=address))


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_f92_a_host_whose_name_is_none(host):
    with pytest.raises(UsageError, match="nobody answers there"):
        check_address(f"{host}:6379")


def test_no_module_of_the_current_folder_is_run(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("open('ran', 'x').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(joining.os.environ, "PYTHONPATH", str(ROOT))
    with pytest.raises(UsageError, match="takes this machine in"):
        joining.probe("auto")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("output", "words"),
    [(b'{"error": "InvalidAuthToken"}\n', "InvalidAuthToken"), (b"", "exit code 1"), (None, "no answer")],
)
def test_f92_a_cluster_that_does_not_take_this_machine(monkeypatch, output, words):
    def run(command, **_):
        if output is None:
            raise subprocess.TimeoutExpired(command, 60)
        return subprocess.CompletedProcess(command, 1, output, b"")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UsageError, match=f"--cluster auto: no Ray cluster takes this machine in: .*{words}"):
        joining.probe("auto")


def test_the_address_is_that_of_the_cluster(monkeypatch):
    output = b'hello\n{"address": "10.0.0.1:6379"}\n{"level": "INFO"}\n[raylet] bye\n'  # Ray's words among it
    done = subprocess.CompletedProcess([], 0, output, b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert joining.probe("auto") == "10.0.0.1:6379"


def test_a_cluster_needs_worker_processes(tmp_path):
    done = script("run.py", "--env", "CartPole-v1", "--cluster", "auto", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "--cluster needs worker processes" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_is_resumed_on_a_cluster_only_where_it_is_asked_for():
    saved = Config().replace(cluster="10.0.0.1:6379", cluster_insecure=True, cluster_rule="sum")
    resumed = resolve_resumed(saved, {})
    assert (resumed.cluster.cluster, resumed.cluster.cluster_insecure) == ("", False)
    assert resumed.cluster.cluster_rule == "sum"
    assert json.dumps(resumed.to_dict())
