"""Video files: H.264 in .mp4, or .gif, written frame by frame through the ffmpeg that imageio-ffmpeg brings.

Needs no display, and keeps one frame in memory however long the game is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import numpy as np

from a3c.errors import StorageError, UsageError
from a3c.files import open_file
from a3c.storage.atomic import storage_errors

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


def find_ffmpeg() -> str:
    """The program's path. Its package is asked only where a video is made: what trains, on a machine of a
    cluster, say, has to do without. Raises UsageError where it is missing."""
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:  # the latter: the package without the program
        raise UsageError("a video needs ffmpeg: pip install imageio-ffmpeg") from error


class Video:
    """A video that appears at `path` when it is closed, unless it has no picture.

    Args:
        path: ends in .mp4 or .gif, in letters of any size.
        fps: frames per second. A GIF counts in hundredths of a second: single frames are up to 5 ms off,
            the whole is not.

    Raises:
        UsageError: there is no ffmpeg.
        StorageError: the file cannot be written (from `add` or from `close`); nothing is left of it.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._ffmpeg = find_ffmpeg()
        self._path, self._fps = path.resolve(), fps
        self._part = self._path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._shape: tuple[int, ...] = ()
        self._encoder: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the encoder runs)

    def add(self, picture: np.ndarray) -> None:
        """Adds one picture [H, W, 3] uint8; all have the size of the first."""
        if self._encoder is None:
            self._shape, self._encoder = picture.shape, self._start(*picture.shape[:2])
        if picture.shape != self._shape:
            raise ValueError(f"a picture of {self._shape} is needed, not of {picture.shape}")
        try:
            cast(IO[bytes], self._encoder.stdin).write(np.ascontiguousarray(picture, np.uint8).data)
        except OSError as error:
            raise self._failure(self._encoder) from error

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        suffix = self._path.suffix.lower()
        try:  # before ffmpeg, which would follow a link
            with storage_errors(f"write {self._path}"):
                os.close(open_file(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except StorageError:
            self._log.close()
            raise
        factor = max(1, ENLARGED_HEIGHT // height)
        enlarge = f"scale=iw*{factor}:ih*{factor}:flags=neighbor"
        rate = str(Fraction(self._fps).limit_denominator(1000))
        command = [
            self._ffmpeg, "-y", "-v", "error", "-nostdin",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0",
            "-filter_complex", f"{enlarge},{_FILTERS[suffix]}", *_ENCODERS[suffix], str(self._part),
        ]  # fmt: skip
        # In a session of its own: Ctrl-C reaches us, and we end the file properly.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """Finishes the file and puts it in place."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            try:
                cast(IO[bytes], encoder.stdin).close()
            except OSError as error:
                raise self._failure(encoder) from error
            if encoder.wait() != 0:
                raise self._failure(encoder)
            with storage_errors(f"write {self._path}"):
                os.replace(self._part, self._path)
        self._log.close()

    def discard(self) -> None:
        """Ends the encoder and removes what it wrote."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.kill()
            with contextlib.suppress(OSError):  # what was not written yet cannot be
                cast(IO[bytes], encoder.stdin).close()
            encoder.wait()
            self._part.unlink(missing_ok=True)
        self._log.close()

    def _failure(self, encoder: subprocess.Popen[bytes]) -> StorageError:
        encoder.wait()  # it ended or is ending: its pipe is closed
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        reason = words[-1] if words else f"ffmpeg ended with {encoder.returncode}"
        self._encoder = encoder
        self.discard()
        return StorageError(f"the video {self._path} could not be written: {reason}")
