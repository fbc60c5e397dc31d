"""A trained agent as a folder to share: no pickle, every file with its size and SHA-256.

    model.safetensors   the weights, float32, or float16 or bfloat16 (`a3c package --half`)
    config.json         settings, environment and network, so that it can be rebuilt
    results.json        scores of whole games and how they were made
    replay.mp4          one game
    metrics.csv         the learning curve
    README.md           the model card
    MANIFEST.json       what is in the others

Nothing that is read here is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from a3c.errors import A3CError, CheckpointError
from a3c.settings.config import from_dict
from a3c.storage import manifest
from a3c.storage.atomic import read_regular
from a3c.storage.checkpoint import Checkpoint
from a3c.storage.manifest import MANIFEST, Fetch, Layout
from a3c.storage.records import parse_json
from a3c.storage.tensor_files import (
    MAX_BYTES,
    Tensors,
    decode_tensors,
    non_finite,
    one_line,
    read_safetensors,
)

CONFIG, MODEL, RESULTS = "config.json", "model.safetensors", "results.json"
REPLAY, METRICS, CARD = "replay.mp4", "metrics.csv", "README.md"

_LAYOUT = Layout(
    "a3c-agent",
    {CONFIG: 2**20, RESULTS: 2**20, CARD: 2**20, METRICS: 2**26, REPLAY: 2**28, MODEL: MAX_BYTES},
    frozenset((CONFIG, MODEL)),
    unsealed=True,
)

HALF = (torch.float16, torch.bfloat16)
"""Formats in which weights may be kept, to take half the room; they are float32 once they are read."""

_STATE = ("schema", "config", "env", "network", "algo", "counters")
"""What a package keeps of a checkpoint's state."""

_RUN_SETTINGS = ("seed", "max_steps")
"""What is kept of the group "run": workers, devices and folders are of the place where it was trained, as is
the whole group "cluster"."""


def encode_config(checkpoint: Checkpoint) -> bytes:
    """The content of config.json."""
    kept = {name: checkpoint.state[name] for name in _STATE}
    settings = dict(kept["config"])
    settings["run"] = {name: settings["run"][name] for name in _RUN_SETTINGS}
    settings.pop("cluster", None)
    kept["config"] = settings
    return (json.dumps({"format": _LAYOUT.format, **kept}, indent=1, sort_keys=True) + "\n").encode()


def encode_manifest(files: Mapping[str, bytes]) -> bytes:
    """The content of MANIFEST.json for the other files."""
    return manifest.encode_manifest(_LAYOUT, files)


def is_package(path: Path) -> bool:
    """Whether a folder looks like one."""
    return os.path.lexists(path / MANIFEST) and os.path.lexists(path / CONFIG)


def folder(path: Path) -> Fetch:
    """Reads from a folder on the disk; links are not followed."""

    def fetch(name: str, limit: int) -> bytes:
        return read_safetensors(path / name) if name == MODEL else read_regular(path / name, limit)

    return fetch


def read_package(fetch: Fetch, name: str) -> Checkpoint:
    """The agent in a package, each file as the manifest lists it.

    Args:
        fetch: gets its files.
        name: what to call it in messages.

    Raises:
        CheckpointError: a file is missing, too large, changed, or does not hold what it should.
    """
    try:
        listed = manifest.read_manifest(_LAYOUT, fetch)
        config = parse_json(manifest.verified(CONFIG, fetch, listed, _LAYOUT))
        if config.pop("format") != _LAYOUT.format or set(config) != set(_STATE):
            raise ValueError(f"{CONFIG} is not that of an agent")
        from_dict(config["config"], f"{name}: {CONFIG}")
        if not isinstance(config["env"]["env_id"], str):
            raise ValueError(f"{CONFIG} names no environment")
        model = decode_tensors(manifest.verified(MODEL, fetch, listed, _LAYOUT))
        if bad := non_finite(model):
            raise ValueError(f"its weight {bad[0]} is not finite")
    except A3CError:
        raise
    except OSError as error:
        file = error.filename or "a file"
        raise CheckpointError(f"{name}: {file} cannot be read: {error.strerror}") from error
    except Exception as error:  # parsers of hostile bytes raise anything
        raise CheckpointError(f"{name} is no sound package: {one_line(error)}") from error
    return Checkpoint(widened(model), config)


def widened(weights: Tensors) -> Tensors:
    """Weights with those that are kept in 16 bits as float32."""
    return {name: tensor.float() if tensor.dtype in HALF else tensor for name, tensor in weights.items()}


def verify_package(path: Path) -> dict[str, Path]:
    """The files of a package in a folder, all of them as the manifest lists them, to be sent elsewhere.
    Raises CheckpointError."""
    read_package(folder(path), str(path))
    try:
        listed = manifest.read_manifest(_LAYOUT, folder(path))
        for name in listed:
            manifest.verified(name, folder(path), listed, _LAYOUT)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no sound package: {one_line(error)}") from error
    return {name: path / name for name in (*listed, MANIFEST)}
