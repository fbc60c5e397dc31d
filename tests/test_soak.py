"""F43: the soak's conclusions, on processes that are known to grow or not."""

import random

import pytest

from benchmarks.soak import conclude, fit, text_of

HOUR = range(0, 3600, 15)


def life(pid, mb_per_hour=0.0, fds=lambda t: 13, noise=2.0, until=3600):
    rng = random.Random(pid)
    for t in HOUR:
        if t < until:
            used = (200 + mb_per_hour * t / 3600 + rng.gauss(0, noise)) * 1e6
            size = {"rss": used, "uss": used, "pss": used}
            yield {"t": t, "pid": pid, "name": f"worker-{pid}", **size, "fds": fds(t), "threads": 2, "cpu": t}


def test_a_line_is_found():
    slope, error = fit([0, 1800, 3600], [1.0, 2.0, 3.0])
    assert slope == pytest.approx(2.0)
    assert error == pytest.approx(0.0, abs=1e-6)


def test_f43_processes_that_do_not_grow():
    result = conclude([*life(1), *life(2, 0.5), *life(3, fds=lambda t: 13 + (t % 60 == 0))], 600)
    assert result["verdict"] == "flat"
    assert result["minutes"] == pytest.approx(49.8, abs=0.1)
    assert "worker-2" in text_of(result)


@pytest.mark.parametrize(
    ("leak", "words"), [({"mb_per_hour": 5.0}, "USS by"), ({"fds": lambda t: 13 + t // 600}, "descriptors")]
)
def test_f43_a_leak_is_seen(leak, words):
    result = conclude([*life(1), *life(2, **leak)], 600)
    assert result["verdict"].startswith(f"grows: worker-2: {words}")


def test_shared_memory_and_the_folder_are_watched():
    whole = [{"t": t, "disk": t * 1000, "shm": t * 1000} for t in HOUR]
    result = conclude([*life(1), *whole], 0)
    assert result["verdict"] == "grows: /dev/shm"
    assert result["folder_mb_per_hour"] == pytest.approx(3.6)


def test_what_died_early_is_only_counted():
    result = conclude([*life(1), *life(2, 50.0, until=1200)], 600)
    assert (result["verdict"], result["short_lived_processes"]) == ("flat", 1)
