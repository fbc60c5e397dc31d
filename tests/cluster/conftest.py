"""What tests on a real Ray cluster share."""

import socket

import pytest

from benchmarks.ray_cluster import Cluster


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
