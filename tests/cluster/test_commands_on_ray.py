"""Commands that ask a real Ray cluster, whose nodes are raylets on loopback: `make cluster`."""

import os
import socket

import pytest

from tests.cluster.ray_tools import TOKEN, Cluster, free_port
from tests.run_tools import ROOT, run_to_the_end

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster():
    """With one node besides the head's."""
    if any(name.startswith(("eth", "en", "wl")) for _, name in socket.if_nameindex()):
        pytest.fail("Ray would bind to this machine's network: these tests are for `make cluster`")
    cluster = Cluster()
    try:
        cluster.add()
        yield cluster
    finally:
        cluster.close()


def doctor(address, folder, **environ):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **TOKEN, **environ}
    return run_to_the_end("-m", "a3c", "doctor", "--cluster", address, cwd=folder, environ=environ)


def test_doctor_looks_at_every_node(tmp_path, cluster):
    done = doctor(cluster.address, tmp_path)
    lines = [line for line in done.stdout.splitlines() if line[6:].startswith("cluster ")]
    assert done.returncode == 0, done.stdout
    assert "2 nodes" in lines[0]
    for what in ("python 3.", "its clock agrees", "MB/s"):
        assert sum(what in line for line in lines) == 2, lines


def test_doctor_says_who_is_not_taken_in(tmp_path, cluster):
    done = doctor(cluster.address, tmp_path, RAY_AUTH_TOKEN="b" * 64)
    assert done.returncode == 2
    assert "does not take this machine in" in done.stdout
    done = doctor(f"127.0.0.1:{free_port()}", tmp_path)
    assert done.returncode == 2
    assert "nobody answers there" in done.stdout
