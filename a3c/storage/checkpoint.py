"""What a checkpoint is: encoded whole, read bit for bit as written, or refused.

A folder of `model.safetensors`, `optimizer.safetensors` and `agent.safetensors` (where there is something to
keep), `state.json`, and the manifest. Nothing that is read here is ever run. Which checkpoints a run has:
`a3c.storage.shelf`.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from a3c.errors import CheckpointError
from a3c.files import open_folder
from a3c.storage.atomic import read_regular
from a3c.storage.manifest import (
    MANIFEST,
    SCHEMA,
    Fetch,
    Layout,
    encode_manifest,
    json_bytes,
    read_manifest,
    too_new,
    verified,
)
from a3c.storage.records import parse_json
from a3c.storage.tensor_files import (
    MAX_BYTES,
    Tensors,
    decode_tensors,
    encode_tensors,
    non_finite,
    one_line,
    read_safetensors,
)
from a3c.stores.parameters import Shapes, differences

STATE = "state.json"
_TENSOR_FILES = {part: f"{part}.safetensors" for part in ("model", "optimizer", "agent")}
_LAYOUT = Layout(
    "a3c-checkpoint",
    {**dict.fromkeys(_TENSOR_FILES.values(), MAX_BYTES), STATE: 2**21},
    frozenset((_TENSOR_FILES["model"], STATE)),
)
_NO_TENSORS = encode_tensors({})
_NOT_ITS_FAULT = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class DamagedCheckpoint(CheckpointError):
    """The checkpoint's content is not what was written, or was never a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on.

    `state` is JSON: counters, best record, RNG, configuration, and what `check_compatible` compares: "env"
    (the environment's signature), "network" ({name: shape} of the model) and "algo". Writing adds "schema".
    """

    model: Tensors  # weights by name
    state: dict[str, Any]
    optimizer: Tensors = field(default_factory=dict)
    agent: Tensors = field(default_factory=dict)  # private tensors: target network, RNG state


# ---------------------------------------------------------------------------------------------------
# Writing


def encode_checkpoint(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The files of a checkpoint by name, the manifest last.

    Raises:
        CheckpointError: weights, moments or state hold numbers that are not finite, or too much.
    """
    files = {}
    for part, name in _TENSOR_FILES.items():
        tensors = getattr(checkpoint, part)
        if tensors or part == "model":
            files[name] = encode_tensors(tensors)
    for part in ("model", "optimizer"):
        # Hogwild: others may be writing to the tensors, so what is looked at are the bytes to be kept.
        bad = non_finite(decode_tensors(files.get(_TENSOR_FILES[part], _NO_TENSORS)))
        if bad:
            raise CheckpointError(f"{part} tensor {bad[0]!r} is not finite; no checkpoint was written")
    try:
        files[STATE] = json_bytes({**checkpoint.state, "schema": SCHEMA})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the state is not JSON ({error}); no checkpoint was written") from error
    for name, data in files.items():
        if len(data) > _LAYOUT.limits[name]:
            raise CheckpointError(f"{name} of {len(data)} bytes is too large; no checkpoint was written")
    return {**files, MANIFEST: encode_manifest(_LAYOUT, files)}


# ---------------------------------------------------------------------------------------------------
# Reading


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder, bit for bit as it was written.

    Raises:
        DamagedCheckpoint: its content is missing, changed or malformed.
        CheckpointError: it may be sound but cannot be read: permissions, memory, a newer version.
    """
    try:
        folder = open_folder(path)
        try:
            return _read(folder)
        finally:
            os.close(folder)
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: {error}") from error
    except OSError as error:
        kind = CheckpointError if error.errno in _NOT_ITS_FAULT else DamagedCheckpoint
        name = error.filename if error.filename != path else "its folder"
        raise kind(f"cannot read {name} of checkpoint {path}: {error.strerror}") from error
    except MemoryError as error:
        raise CheckpointError(f"not enough memory to read checkpoint {path}") from error


def _read(folder: int) -> Checkpoint:
    fetch = _from_folder(folder)
    with _blaming(MANIFEST):
        listed = read_manifest(_LAYOUT, fetch)
    with _blaming(STATE):
        state = parse_json(verified(STATE, fetch, listed, _LAYOUT))
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            raise ValueError("not the state of a run")
    parts: dict[str, Tensors] = {}
    for part, name in _TENSOR_FILES.items():
        if name in listed:
            with _blaming(name):
                parts[part] = decode_tensors(verified(name, fetch, listed, _LAYOUT))
                if part != "agent" and non_finite(parts[part]):
                    raise ValueError("it holds numbers that are not finite")
    return Checkpoint(state=state, **parts)


def _from_folder(folder: int) -> Fetch:
    """Reads from an open folder, where no link is followed."""

    def fetch(name: str, limit: int) -> bytes:
        if name not in _TENSOR_FILES.values():
            return read_regular(name, limit, folder)
        return read_safetensors(name, folder)

    return fetch


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, OSError, MemoryError):
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        raise DamagedCheckpoint(f"{name}: {one_line(error)}") from error


# ---------------------------------------------------------------------------------------------------
# Fitting


def check_compatible(state: Mapping[str, Any], *, env: Mapping[str, Any], network: Shapes, algo: str) -> None:
    """Raises CheckpointError, naming every field that differs, unless a checkpoint's state belongs to
    this environment (its signature), network ({name: shape}) and algorithm."""
    schema = state.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise too_new(schema)
    differing = [f"algorithm is {state.get('algo')}, not {algo}"] if state.get("algo") != algo else []
    differing += _differing_fields(state.get("env"), env)
    try:
        saved = {name: tuple(shape) for name, shape in state["network"].items()}
        differing += differences(network, saved)
    except (KeyError, TypeError, AttributeError):
        differing.append("it does not describe its network")
    if differing:
        raise CheckpointError(
            f"the checkpoint does not fit: {'; '.join(differing[:12])}"
            + (f"; and {len(differing) - 12} more" if len(differing) > 12 else "")
            + "; use its own settings, or start a new run from its weights with --init-from"
        )


def _differing_fields(saved: Any, wanted: Mapping[str, Any]) -> list[str]:
    if not isinstance(saved, Mapping):
        return ["it does not describe its environment"]
    wanted = json.loads(json.dumps(dict(wanted)))  # tuples become lists, as in the file
    saved = {name: value for name, value in saved.items() if name != "frame_rate"}  # older ones kept it
    names = [*wanted, *(name for name in saved if name not in wanted)]
    return [
        f"{name} is {saved.get(name)!r:.100}, not {wanted.get(name)!r:.100}"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
