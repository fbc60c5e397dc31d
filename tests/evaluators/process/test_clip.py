"""The animated picture of a game in the logs."""

import io

import numpy as np
import pytest
from PIL import Image

from evaluators.process.clip import LAST_STEPS, Clip


def picture(shade, height=400, width=600):
    return np.full((height, width, 3), shade, np.uint8)


def test_it_shows_how_a_game_ended():
    clip = Clip(fps=15)
    for step in range(LAST_STEPS + 40):
        clip.add(picture(step % 250))
    gif, size = clip.encode()
    shown = Image.open(io.BytesIO(gif))
    assert (shown.format, shown.n_frames, shown.info["loop"]) == ("GIF", LAST_STEPS, 0)
    assert size == (shown.height, shown.width) == (133, 200)
    assert shown.info["duration"] == pytest.approx(1000 / 15, abs=10)
    shown.seek(LAST_STEPS - 1)
    assert shown.convert("RGB").getpixel((0, 0))[0] == pytest.approx((LAST_STEPS + 39) % 250, abs=4)


def test_small_pictures_stay_as_they_are_and_keep_no_buffer_of_others():
    clip, buffer = Clip(fps=60), picture(7, 60, 80)
    clip.add(buffer)
    buffer[:] = 200
    gif, size = clip.encode()
    assert size == (60, 80)
    assert Image.open(io.BytesIO(gif)).convert("RGB").getpixel((5, 5)) == pytest.approx((7, 7, 7), abs=4)


def test_without_a_picture_there_is_none():
    with pytest.raises(ValueError, match="no picture"):
        Clip(fps=60).encode()
