"""From the emulator's last two screens to one small gray picture."""

from __future__ import annotations

import ctypes
import threading
import zlib
from functools import cache
from importlib.util import find_spec
from math import gcd
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ale_py import ALEInterface

CROPS = {
    "ms_pacman": (2, 170),
    "space_invaders": (8, 196),
    "asteroids": (16, 194),
    "video_pinball": (42, 220),
}
"""First row of the game itself and the one after its last, as in rl_a3c_pytorch (dgriff777, config.json:
crop1 and crop2 + 160)."""

DEFAULT_CROP = (34, 194)

PAL_HEIGHT = 250
"""Rows of a European screen; the few games that have them come with other colours than NTSC."""

# fmt: off
NTSC_GRAY = np.array([  # 16 hues of 8 luminances
      0,  74, 111, 142, 170, 192, 214, 236,    64,  95, 122, 148, 172, 193, 214, 233,
     63,  87, 110, 131, 150, 167, 184, 199,    59,  85, 107, 129, 148, 167, 183, 199,
     44,  68,  90, 110, 128, 146, 161, 176,    51,  74,  95, 115, 132, 149, 164, 178,
     39,  63,  85, 107, 125, 143, 159, 174,    22,  49,  73,  96, 116, 136, 153, 169,
     17,  41,  64,  85, 104, 121, 137, 153,    32,  60,  85, 109, 130, 150, 168, 186,
     40,  69,  95, 120, 141, 162, 182, 200,    43,  74, 101, 127, 151, 173, 193, 212,
     40,  71,  98, 124, 147, 169, 189, 207,    41,  74, 104, 132, 157, 181, 203, 223,
     47,  79, 107, 133, 157, 179, 200, 220,    47,  79, 107, 133, 157, 179, 200, 220,
], np.uint8).repeat(2)
"""Gray value of each of the console's colours (their numbers are even), as the emulator has it."""
# fmt: on


class _Screens(threading.local):
    """What was read last from any emulator, in this thread: its memory is at hand, whoever's turn it is."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], np.ndarray] = {}

    def pair(self, shape: tuple[int, int]) -> np.ndarray:
        """The earlier and the later screen, [2, *shape] uint8."""
        found = self.pairs.get(shape)
        if found is None:
            found = self.pairs[shape] = np.zeros((2, *shape), np.uint8)
        return found


_screens = _Screens()


class Camera:
    """Takes gray pictures of an emulator: the maximum of two successive screens, because many games draw
    a sprite only every other frame, then one INTER_AREA resize to size x size.

    Each picture is what `getScreenGrayscale`, `np.maximum` and `cv2.resize` of whole screens would give,
    pixel for pixel, in a fraction of the time. Most of a screen stands still, and at 84 x 84, say, every
    tile of 5 x 40 pixels makes 2 x 21 of the picture; so only those tiles are done again that changed: by
    screen.c, which is compiled when the package is installed, or else by numpy and OpenCV.

    A step exposes and develops in one thread, without another camera's between.
    """

    def __init__(self, emulator: ALEInterface, rows: slice, size: int) -> None:
        """
        Args:
            emulator: with a game in it; its screens are 160 pixels wide.
            rows: which of the screen's rows to show.
            size: height and width of the pictures.
        """
        self._shape = emulator.getScreenDims()
        pal = self._shape[0] == PAL_HEIGHT
        self._read = emulator.getScreenGrayscale if pal else emulator.getScreen
        rows = slice(*rows.indices(self._shape[0]))
        gray = np.arange(256, dtype=np.uint8) if pal else NTSC_GRAY
        before = np.zeros((2, rows.stop - rows.start, self._shape[1]), np.uint8)
        film = _CompiledFilm if _fits(*before.shape[1:], size) else _PlainFilm
        self._film: _Film = film(before, rows, gray, size)

    def expose(self, later: bool) -> None:
        """Reads the emulator's screen, as the earlier or the later one of a pair."""
        self._read(_screens.pair(self._shape)[int(later)])

    def develop(self, picture: np.ndarray, single: bool = False) -> None:
        """Makes the picture of the pair, or of the later screen alone.

        Args:
            picture: [size, size] uint8, contiguous, still holding the last one made (at first, zeros).
        """
        pair = _screens.pair(self._shape)
        if single:
            pair[0] = pair[1]
        self._film.develop(pair, picture)


class _PlainFilm:
    """The tiles of the last pair of screens, compared and made again by numpy and OpenCV.

    Args:
        before: [2, height, width] uint8, the part of the screens that the last picture was made of; written.
        rows: which of a screen's rows that part is.
        gray: of each colour.
        size: of the picture.
    """

    def __init__(self, before: np.ndarray, rows: slice, gray: np.ndarray, size: int) -> None:
        self._rows, self._gray = rows, gray
        _, height, width = before.shape
        self._before = before.view(np.uint64).reshape(2, -1)  # 8 pixels each, fast to compare and to move
        words = width // 8
        down, across = _cut(height, width, size)
        self._sources = _number_tiles(height, words, down, across)  # which words a tile is made of,
        self._targets = _number_tiles(size, size, down, across)  # and which pixels of a picture it makes
        self._tiles = _tile_of_each(height, words, down, across)
        self._changed = np.zeros(down * across, bool)
        self._tile_width, self._small_width = width // across, size // across

    def develop(self, pair: np.ndarray, picture: np.ndarray) -> None:
        words = pair[:, self._rows].view(np.uint64).reshape(2, -1)
        differs = words != self._before
        self._changed[:] = False
        self._changed[self._tiles[(differs[0] | differs[1]).nonzero()[0]]] = True
        changed = self._changed.nonzero()[0]
        if not len(changed):
            return
        sources = self._sources[changed]
        colours = words.take(sources, axis=1)
        self._before[:, sources] = colours
        earlier, later = cv2.LUT(colours.view(np.uint8).reshape(2, -1), self._gray)
        targets = self._targets[changed]
        shape = (self._small_width, targets.size // self._small_width)
        column = np.maximum(earlier, later).reshape(-1, self._tile_width)  # all tiles, one below the other
        small = cv2.resize(column, shape, interpolation=cv2.INTER_AREA)
        picture.reshape(-1)[targets] = small.reshape(targets.shape)


# Tables are shared by all games of a process; at 84 x 84 they take 120 KB.


def _cut(height: int, width: int, size: int) -> tuple[int, int]:
    """As many tiles, down and across, as all can be cut into: the screen, its words, and the picture."""
    if size > min(height, width):  # then INTER_AREA interpolates, across the tiles
        return 1, 1
    return gcd(height, size), gcd(width, size, width // 8)


@cache
def _number_tiles(height: int, width: int, down: int, across: int) -> np.ndarray:
    """The numbers of the cells of each of down x across equal tiles, [tile, cell of the tile]."""
    cells = np.arange(height * width).reshape(down, height // down, across, width // across)
    return cells.swapaxes(1, 2).reshape(down * across, -1)


@cache
def _tile_of_each(height: int, width: int, down: int, across: int) -> np.ndarray:
    """The number of the tile that each cell belongs to, [cell]."""
    tiles = np.arange(down * across).reshape(down, 1, across, 1)
    return np.broadcast_to(tiles, (down, height // down, across, width // across)).reshape(-1)


# ---------------------------------------------------------------------------------------------------
# Compiled


class _CTaps(ctypes.Structure):
    _fields_ = (("first", ctypes.c_void_p), ("weights", ctypes.c_void_p), ("most", ctypes.c_int64))


class _CCamera(ctypes.Structure):
    _fields_ = (
        ("gray", ctypes.c_void_p), ("before", ctypes.c_void_p), ("same", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in
          ("down", "across", "rows", "columns", "small_rows", "small_columns", "halves")),
        ("vertical", _CTaps), ("horizontal", _CTaps),
    )  # fmt: skip


def _load() -> Any:
    """The compiled function; None where there is none, none that fits this machine, or an older one, which
    would take what it is given for something else."""
    spec = find_spec("a3c.envs._screen")
    if spec is None or spec.origin is None:
        return None
    try:
        library = ctypes.PyDLL(spec.origin)  # keeps the GIL: it takes less time than giving it back
        made_of = ctypes.c_uint32.in_dll(library, "source").value
        function = library.develop
        if made_of != zlib.crc32(Path(__file__).with_name("screen.c").read_bytes()):
            return None
    except (OSError, AttributeError, ValueError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p] * 4, None
    return function


_develop = _load()

COMPILED = _develop is not None
"""Whether screen.c was compiled with this installation."""

_MOST_ROWS, _MOST_COLUMNS = 256, 160  # of a tile, as in screen.c


class _CompiledFilm:
    """The same as `_PlainFilm`, by screen.c."""

    def __init__(self, before: np.ndarray, rows: slice, gray: np.ndarray, size: int) -> None:
        _, height, width = before.shape
        down, across = _cut(height, width, size)
        down_by, across_by = height // down, width // across
        vertical, horizontal = _taps(down_by, size // down), _taps(across_by, size // across)
        same = np.ones((down, across), np.uint8)
        self._camera = _CCamera(
            gray.ctypes.data, before.ctypes.data, same.ctypes.data, down, across, down_by, across_by,
            size // down, size // across,
            height == width == 2 * size, _pointers(vertical), _pointers(horizontal),
        )  # fmt: skip
        self._behind = before, same, gray, vertical, horizontal  # kept, for their addresses are there
        self._rows = rows
        self._pair = self._picture = np.zeros(0)  # of the last call; to ask for addresses takes time
        self._addresses = (0, 0, 0, 0)

    def develop(self, pair: np.ndarray, picture: np.ndarray) -> None:
        if pair is not self._pair or picture is not self._picture:
            self._pair, self._picture = pair, picture
            earlier, later = pair[:, self._rows]
            pointers = (earlier.ctypes.data, later.ctypes.data, picture.ctypes.data)
            self._addresses = (ctypes.addressof(self._camera), *pointers)
        _develop(*self._addresses)


@cache
def _taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of which of `length` pixels each of `size` is made, and with which weights, asked of OpenCV: the first
    of as many as any is made of, and the weights [most, size], some of them 0."""
    of_all = cv2.resize(np.eye(length, dtype=np.float32), (size, length), interpolation=cv2.INTER_AREA).T
    there = of_all != 0
    most = int(there.sum(1).max())
    first = np.minimum(there.argmax(1), length - most).astype(np.int32)
    weights = of_all[np.arange(size), first + np.arange(most)[:, np.newaxis]]
    return first, np.ascontiguousarray(weights)


def _pointers(taps: tuple[np.ndarray, np.ndarray]) -> _CTaps:
    return _CTaps(*(part.ctypes.data for part in taps), len(taps[1]))


@cache
def _fits(height: int, width: int, size: int) -> bool:
    """Whether screen.c makes the very pictures that this machine's OpenCV does; found out by trying it."""
    down, across = _cut(height, width, size)
    if not COMPILED or size > min(height, width):
        return False
    if height // down > _MOST_ROWS or width // across > _MOST_COLUMNS:
        return False
    random = np.random.default_rng(0)
    gray = np.arange(256, dtype=np.uint8)
    befores, pictures = np.zeros((2, 2, height, width), np.uint8), np.zeros((2, size, size), np.uint8)
    all_rows = slice(0, height)
    films: list[_Film] = [_PlainFilm(befores[0], all_rows, gray, size)]
    films.append(_CompiledFilm(befores[1], all_rows, gray, size))
    for _ in range(4):
        pair = random.integers(0, 256, (2, height, width), np.uint8)
        for film, picture in zip(films, pictures, strict=True):
            film.develop(pair, picture)
    return np.array_equal(*pictures)


_Film = _PlainFilm | _CompiledFilm
