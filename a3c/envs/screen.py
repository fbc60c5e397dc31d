"""From the emulator's last two screens to one small gray picture."""

from __future__ import annotations

from functools import cache
from math import gcd

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


class Camera:
    """Takes gray pictures of an emulator: the maximum of two successive screens, because many games draw
    a sprite only every other frame, then one INTER_AREA resize to size x size.

    Each picture is what `getScreenGrayscale`, `np.maximum` and `cv2.resize` of whole screens would give,
    pixel for pixel, at half the time or less. Most of a screen stands still, and at 84 x 84, say, every
    tile of 5 x 40 pixels makes 2 x 21 of the picture; so only those tiles are done again that changed.
    """

    def __init__(self, emulator: ALEInterface, rows: slice, size: int) -> None:
        """
        Args:
            emulator: with a game in it; its screens are 160 pixels wide.
            rows: which of the screen's rows to show.
            size: height and width of the pictures.
        """
        height, width = emulator.getScreenDims()
        pal = height == PAL_HEIGHT
        self._read = emulator.getScreenGrayscale if pal else emulator.getScreen
        self._gray = np.arange(256, dtype=np.uint8) if pal else NTSC_GRAY
        self._turn = 0  # which pair of screens is the newer one
        self._screens = np.zeros((2, 2, height, width), np.uint8)  # [turn, earlier or later, ...]
        shown = self._screens[:, :, rows]
        height = shown.shape[2]
        self._words = shown.view(np.uint64).reshape(2, 2, -1)  # 8 pixels each, fast to compare and to move
        words = width // 8
        down, across = gcd(height, size), gcd(width, size, words)  # as many tiles as all can be cut into
        if size > min(height, width):  # then INTER_AREA interpolates, across the tiles
            down, across = 1, 1
        self._sources = _number_tiles(height, words, down, across)  # which words a tile is made of,
        self._targets = _number_tiles(size, size, down, across)  # and which pixels of a picture it makes
        self._tiles = _tile_of_each(height, words, down, across)
        self._changed = np.zeros(down * across, bool)
        self._tile_width, self._small_width = width // across, size // across

    def expose(self, later: bool) -> None:
        """Reads the emulator's screen, as the earlier or the later one of a pair."""
        self._read(self._screens[self._turn, int(later)])

    def develop(self, picture: np.ndarray, single: bool = False) -> None:
        """Makes the picture of the pair, or of the later screen alone.

        Args:
            picture: [size, size] uint8, contiguous, still holding the last one made (at first, zeros).
        """
        now, before = self._turn, 1 - self._turn
        if single:
            self._screens[now, 0] = self._screens[now, 1]
        words = self._words[now]
        differs = words != self._words[before]
        self._turn = before
        self._changed[:] = False
        self._changed[self._tiles[(differs[0] | differs[1]).nonzero()[0]]] = True
        changed = self._changed.nonzero()[0]
        if not len(changed):
            return
        colours = words.take(self._sources[changed], axis=1).view(np.uint8).reshape(2, -1)
        earlier, later = cv2.LUT(colours, self._gray)
        targets = self._targets[changed]
        shape = (self._small_width, targets.size // self._small_width)
        column = np.maximum(earlier, later).reshape(-1, self._tile_width)  # all tiles, one below the other
        small = cv2.resize(column, shape, interpolation=cv2.INTER_AREA)
        picture.reshape(-1)[targets] = small.reshape(targets.shape)


# Tables are shared by all games of a process; at 84 x 84 they take 120 KB.


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
