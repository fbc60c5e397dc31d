"""A node's supervisor, as far as it needs no cluster."""

import json
import os
import subprocess
import sys

from a3c import __version__
from a3c.errors import EXIT_USAGE
from a3c.storage.run_lock import LOCK, RunLock
from tests.run_tools import PATIENCE_S, ROOT


def test_one_that_fails_leaves_no_folder_and_removes_those_of_killed_ones(tmp_path):
    killed, lives, begins, other = (tmp_path / f"a3c-node-{i}" for i in range(4))
    for folder in (killed, lives, begins):
        folder.mkdir()
    (killed / LOCK).touch()
    (killed / "worker-0.log").touch()
    other.symlink_to(tmp_path)  # somebody else's
    with RunLock(lives):
        done = subprocess.run(
            [sys.executable, "-m", "a3c.cluster.node", str(os.getpid())],
            input=json.dumps({"version": "0.0"}),
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.returncode == EXIT_USAGE
    assert (
        done.stderr.splitlines()[-1] == f"error: version {__version__} is installed here, and 0.0 on the head"
    )
    assert set(tmp_path.iterdir()) == {lives, begins, other}
