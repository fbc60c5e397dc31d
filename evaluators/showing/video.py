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
from typing import IO, cast

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np

from a3c.errors import StorageError, UsageError

FORMATS = (".mp4", ".gif")

ENLARGED_HEIGHT = 420
"""Smaller pictures are enlarged by a whole factor towards this height, to make an Atari screen visible."""

_ENCODERS = {
    ".mp4": ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"],
    ".gif": ["-f", "gif"],
}

# H.264 in 4:2:0 needs even sides. A GIF gets a palette per frame: one for all would need all in memory.
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
        size: (height, width) of the frames, in pixels.

    Raises:
        UsageError: another ending.
        StorageError: the file cannot be written (here, from `write` or from `close`).
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        check_format(path)
        self.path, self.size, self.frames = path.resolve(), size, 0
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the encoder runs)
        # In a session of its own: Ctrl-C reaches us, and we end the file properly.
        self._encoder = subprocess.Popen(
            self._command(fps),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )
        self._pipe = cast(IO[bytes], self._encoder.stdin)

    def _command(self, fps: float) -> list[str]:
        height, width = self.size
        suffix = self.path.suffix.lower()
        factor = max(1, ENLARGED_HEIGHT // height)
        enlarge = f"scale=iw*{factor}:ih*{factor}:flags=neighbor"
        rate = str(Fraction(fps).limit_denominator(1000))
        return [
            imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0",
            "-filter_complex", f"{enlarge},{_FILTERS[suffix]}", *_ENCODERS[suffix], str(self._part),
        ]  # fmt: skip

    def write(self, frame: np.ndarray) -> None:
        """Adds one frame [H, W, 3] uint8."""
        if frame.shape != (*self.size, 3):
            raise ValueError(f"a frame of {(*self.size, 3)} is needed, not of {frame.shape}")
        try:
            self._pipe.write(np.ascontiguousarray(frame, np.uint8).data)
        except OSError as error:
            raise self._failure() from error
        self.frames += 1

    def close(self) -> None:
        """Finishes the file and puts it in place."""
        try:
            self._pipe.close()
        except OSError as error:
            raise self._failure() from error
        if self._encoder.wait() != 0:
            raise self._failure()
        os.replace(self._part, self.path)
        self._log.close()

    def discard(self) -> None:
        """Ends the encoder and removes what it wrote."""
        self._encoder.kill()
        with contextlib.suppress(OSError):  # what was not written yet cannot be
            self._pipe.close()
        self._encoder.wait()
        self._part.unlink(missing_ok=True)
        self._log.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _failure(self) -> StorageError:
        self._encoder.wait()  # it ended or is ending: its pipe is closed
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        self.discard()
        reason = words[-1] if words else f"ffmpeg ended with {self._encoder.returncode}"
        return StorageError(f"the video {self.path} could not be written: {reason}")
