"""Videos decode, with as many frames as were written, at the right rate."""

import cv2
import numpy as np
import pytest
from PIL import Image

from a3c.errors import StorageError
from evaluators.showing.video import Video


def frames(count, height, width):
    """A bar that stands still for three frames at a time, so that merged frames would be noticed."""
    for i in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[i // 3 * 3 : i // 3 * 3 + 10, 20:60] = (250, 100, 0)
        yield frame


def record(path, fps, count=60, height=211, width=161):
    video = Video(path, fps)
    for frame in frames(count, height, width):
        video.add(frame)
    video.close()
    return path


def decode(path):
    capture = cv2.VideoCapture(str(path))
    decoded = []
    while (got := capture.read())[0]:
        decoded.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB))
    return decoded, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("fps", [4, 15, 20, 60])
def test_mp4_decodes_with_every_frame(tmp_path, fps):
    path = record(tmp_path / "game.mp4", fps)
    decoded, rate = decode(path)
    assert (len(decoded), rate) == (60, fps)
    assert np.abs(decoded[0][5, 40].astype(int) - (250, 100, 0)).max() < 25  # 4:2:0 bends colours a little
    assert [p.name for p in tmp_path.iterdir()] == ["game.mp4"]


@pytest.mark.parametrize("fps", [4, 15, 20, 50])
def test_gif_has_every_frame_and_lasts_as_long(tmp_path, fps):
    with Image.open(record(tmp_path / "game.gif", fps)) as image:
        durations = []
        for i in range(image.n_frames):
            image.seek(i)
            durations.append(image.info["duration"])
        assert len(durations) == 60
        assert sum(durations) == pytest.approx(60_000 / fps, abs=10)
        image.seek(0)
        assert image.convert("RGB").getpixel((40, 5)) == (250, 100, 0)


def test_small_screens_are_enlarged(tmp_path):
    decoded, _ = decode(record(tmp_path / "atari.mp4", 15, 3, height=210, width=160))
    assert decoded[0].shape == (420, 320, 3)


def test_a_folder_that_cannot_be_written_gives_one_clear_error(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*: No such file"):
        record(tmp_path / "gone" / "game.mp4", 15, count=500)


def test_a_video_that_is_given_up_leaves_nothing(tmp_path):
    video = Video(tmp_path / "game.mp4", 15)
    video.add(next(frames(1, 210, 160)))
    with pytest.raises(ValueError, match="is needed"):
        video.add(next(frames(1, 100, 100)))
    video.discard()
    assert list(tmp_path.iterdir()) == []


def test_without_a_picture_there_is_no_file(tmp_path):
    Video(tmp_path / "game.mp4", 15).close()
    assert list(tmp_path.iterdir()) == []
