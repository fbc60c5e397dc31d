"""What an environment draws for people, whatever kind of picture it is."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from a3c.errors import UsageError

_CHANNELS = (1, 3, 4)  # grey, colours, colours with transparency


def picture(env: gymnasium.Env[Any, Any], env_id: str) -> np.ndarray:
    """What it draws, [H, W, 3] uint8. Raises UsageError when it draws nothing that is a picture."""
    try:
        return as_picture(env.render())
    except Exception as error:  # of any kind: drawing is others' code
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{env_id} cannot be drawn: {words}") from error


def as_picture(drawn: Any) -> np.ndarray:
    """[H, W, 3] uint8 of bytes, floats in 0..1 or truth values; grey, coloured or with transparency; the
    channels last or first; of a list of pictures, the newest. Raises ValueError for anything else."""
    pixels = np.asarray(drawn)
    if pixels.ndim == 4 and len(pixels):
        pixels = pixels[-1]
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[2] not in _CHANNELS and pixels.shape[0] in _CHANNELS:
        pixels = np.moveaxis(pixels, 0, 2)
    image = pixels.ndim == 3 and pixels.shape[2] in _CHANNELS and pixels.size > 0
    if not image or pixels.dtype.kind not in "buif":
        raise ValueError(f"{type(drawn).__name__} {list(pixels.shape)} of {pixels.dtype} is no picture")
    if pixels.dtype.kind in "bf":
        pixels = np.nan_to_num(pixels.astype(np.float64))
        pixels = (pixels * 255).round() if pixels.max() <= 1 else pixels
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return pixels[:, :, :3] if pixels.shape[2] > 1 else np.repeat(pixels, 3, axis=2)
