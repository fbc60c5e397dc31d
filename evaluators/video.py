"""Video files: H.264 in .mp4, or .gif, written frame by frame through the ffmpeg that imageio-ffmpeg brings.

Needs no display, and keeps one frame in memory however long the game is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from a3c.errors import StorageError, UsageError

FORMATS = (".mp4", ".gif")

ENLARGED_HEIGHT = 420
"""Smaller pictures are enlarged by a whole factor towards this height, so that an Atari screen can be seen."""

_ENCODERS = {
    ".mp4": ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"],
    ".gif": ["-f", "gif"],
}

# H.264 in 4:2:0 needs even sides. A GIF gets a palette per frame: one for all would hold every frame in memory.
_FILTERS = {
    ".mp4": "pad=ceil(iw/2)*2:ceil(ih/2)*2",
    ".gif": "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none",
}


def check_format(path: Path) -> None:
    """Raises UsageError when the name's ending is none of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--video {path}: the name must end in {' or '.join(FORMATS)}")


class Video:
    """A video that appears at `path` when it is closed; a context manager that leaves nothing after an error.

    Args:
        path: ends in .mp4 or .gif.
        fps: frames per second. A GIF counts in hundredths of a second: single frames are up to 5 ms off,
            the whole is not.

    Raises:
        UsageError: another ending.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        check_format(path)
        self.path, self.fps, self.frames = path.resolve(), fps, 0
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._log = tempfile.TemporaryFile()
        self._ffmpeg: subprocess.Popen[bytes] | None = None

    def write(self, frame: np.ndarray) -> None:
        """Adds one frame [H, W, 3] uint8, of the size of the first one."""
        if self._ffmpeg is None:
            self._ffmpeg = self._start(frame.shape[0], frame.shape[1])
        assert self._ffmpeg.stdin is not None  # it was opened as a pipe
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frame, np.uint8).data)
        except OSError as error:
            raise self._failure() from error
        self.frames += 1

    def close(self) -> None:
        """Finishes the file and puts it in place."""
        if self._ffmpeg is None:
            return
        try:
            self._ffmpeg.communicate()
        except OSError:
            self._ffmpeg.wait()  # it ended first; its own words say why
        if self._ffmpeg.returncode != 0:
            raise self._failure()
        os.replace(self._part, self.path)
        self._log.close()

    def discard(self) -> None:
        """Ends the encoder and removes what it wrote."""
        if self._ffmpeg is not None:
            self._end()
        self._part.unlink(missing_ok=True)
        self._log.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        suffix = self.path.suffix.lower()
        factor = max(1, ENLARGED_HEIGHT // height)
        enlarge = f"scale=iw*{factor}:ih*{factor}:flags=neighbor"
        rate = str(Fraction(self.fps).limit_denominator(1000))
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0",
            "-filter_complex", f"{enlarge},{_FILTERS[suffix]}", *_ENCODERS[suffix], str(self._part),
        ]  # fmt: skip
        # A group of its own: Ctrl-C reaches us, and we end the file properly.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )

    def _end(self) -> None:
        assert self._ffmpeg is not None and self._ffmpeg.stdin is not None
        self._ffmpeg.kill()
        with contextlib.suppress(OSError):  # what was not written yet cannot be
            self._ffmpeg.stdin.close()
        self._ffmpeg.wait()

    def _failure(self) -> StorageError:
        assert self._ffmpeg is not None  # only a started encoder fails
        self._end()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        self._part.unlink(missing_ok=True)
        reason = words[-1] if words else f"ffmpeg ended with {self._ffmpeg.returncode}"
        return StorageError(f"the video {self.path} could not be written: {reason}")
