"""What every test gets: one thread per process, no window, no sound, and a way to wait."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

# Before anything imports torch, numpy, cv2 or pygame, here and in every child process.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    SDL_VIDEODRIVER="dummy",
    SDL_AUDIODRIVER="dummy",
    PYGAME_HIDE_SUPPORT_PROMPT="1",
)

import pytest
from hypothesis import HealthCheck, settings

from tests.run_tools import PATIENCE_S, wait_for

# Shells ignore SIGINT for background jobs and nohup SIGHUP, which is inherited; the tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples each time, or a test might fail for somebody who changed something else; others with
# --hypothesis-profile=explore. How long it takes to make them is no reason to fail.
settings.register_profile(
    "a3c", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("a3c"), derandomize=False)
settings.load_profile("a3c")

WaitUntil = Callable[..., None]


@pytest.fixture
def wait_until() -> WaitUntil:
    """`wait_until(condition, timeout_s=..., what="...")`: polls until the condition holds, else fails."""

    def wait(
        condition: Callable[[], object], timeout_s: float = PATIENCE_S, what: str = "the condition"
    ) -> object:
        return wait_for(condition, timeout_s, what)

    return wait
