"""What every test gets: one thread per process, no window, no sound, and a way to wait."""

from __future__ import annotations

import os
import time
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
from hypothesis import settings

settings.register_profile("a3c", deadline=None, max_examples=50)
settings.load_profile("a3c")

WaitUntil = Callable[..., None]


@pytest.fixture
def wait_until() -> WaitUntil:
    """`wait_until(condition, timeout=10, what="...")`: polls until the condition holds, else fails."""

    def wait(condition: Callable[[], object], timeout: float = 10.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + timeout
        pause = 0.005
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come true within {timeout:g} s")
            time.sleep(pause)
            pause = min(0.1, pause * 1.5)

    return wait
