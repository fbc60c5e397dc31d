"""Checkpoints: written whole or not at all, read bit for bit as written or refused.

A run directory holds `ckpt-000012345/` folders, named by their step, and `best-000012345/` for the weights
with the best evaluated score. In each: `model.safetensors`, `optimizer.safetensors` and `agent.safetensors`
(where there is something to keep), `state.json`, and `MANIFEST.json`, written last, with the size and the
SHA-256 of the others and of itself. Neither tensor format notices a flipped bit by itself.

A second checkpoint of the same step is `ckpt-000012345-2/`: a folder in place is never overwritten.
Nothing that is read here is ever run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from a3c.errors import CheckpointError
from a3c.storage.atomic import publish_folder, read_regular, remove_folder, remove_leftovers, storage_errors
from a3c.storage.tensor_files import (
    MAX_BYTES,
    Tensors,
    decode_tensors,
    encode_tensors,
    load_state_dict,
    non_finite,
    one_line,
    read_safetensors,
)
from a3c.stores.parameters import Shapes, differences

SCHEMA = 1
"""Version of the layout and of the state's fields; a reader refuses a higher one."""

MANIFEST, STATE = "MANIFEST.json", "state.json"
MAX_MANIFEST_BYTES, MAX_STATE_BYTES = 2**16, 2**21
_TENSOR_FILES = {part: f"{part}.safetensors" for part in ("model", "optimizer", "agent")}
_NO_TENSORS = encode_tensors({})
_FORMAT = "a3c-checkpoint"
_NAME = re.compile(r"(ckpt|best)-([0-9]{9,18})(?:-([0-9]{1,9}))?")
_NOT_ITS_FAULT = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Kind = Literal["ckpt", "best"]
_log = logging.getLogger(__name__)


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


class Entry(NamedTuple):
    """A checkpoint's place in a run directory; entries sort from old to new."""

    step: int
    revision: int  # 1, or more where a step was written again
    path: Path


def entries(run_dir: Path, kind: Kind = "ckpt") -> list[Entry]:
    """The checkpoints of one kind by name alone, oldest first. Raises StorageError."""
    with storage_errors(f"list {run_dir}"):
        names = os.listdir(run_dir)
    matches = [match for match in map(_NAME.fullmatch, names) if match and match[1] == kind]
    return sorted(Entry(int(m[2]), int(m[3] or 1), run_dir / m[0]) for m in matches)


# ---------------------------------------------------------------------------------------------------
# Writing


def write_checkpoint(run_dir: Path, checkpoint: Checkpoint, step: int, kind: Kind = "ckpt") -> Path:
    """Commits a checkpoint and returns its folder.

    Raises:
        CheckpointError: weights, moments or state hold numbers that are not finite, or too much.
        StorageError: no room or no permission; nothing is left behind and older ones are untouched.
    """
    files = _encode(checkpoint)
    size = sum(map(len, files.values()))
    with storage_errors(f"write a checkpoint of {size / 1e6:.1f} MB in {run_dir}"):
        same_step = [entry.revision for entry in entries(run_dir, kind) if entry.step == step]
        revision = max(same_step, default=0) + 1
        path = run_dir / (f"{kind}-{step:09d}" + (f"-{revision}" if revision > 1 else ""))
        publish_folder(path, files)
    return path


def prune(run_dir: Path, keep: int) -> None:
    """Removes all but the checkpoints of the newest `keep` steps and the newest best one.

    Older ones go only after the newest proved readable: it is read back first. A step that was written
    again keeps its last revision.

    Raises:
        StorageError: an old one cannot be removed.
    """
    if keep < 1:
        raise ValueError("at least one checkpoint has to be kept")
    kinds: tuple[tuple[Kind, int], ...] = (("ckpt", keep), ("best", 1))
    for kind, number in kinds:
        found = entries(run_dir, kind)
        last_revisions = {entry.step: entry for entry in found}
        kept = sorted(last_revisions.values())[-number:]
        doomed = [entry for entry in found if entry not in kept]
        if doomed and _is_readable(found[-1].path):
            with storage_errors(f"remove old checkpoints from {run_dir}"):
                for entry in doomed:
                    remove_folder(entry.path)


def clean(run_dir: Path) -> None:
    """Removes what a killed writer left half done; for the only writer of a run, before it begins.
    Raises StorageError."""
    with storage_errors(f"clean up {run_dir}"):
        remove_leftovers(run_dir)


def _encode(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The files of a checkpoint by name, the manifest last."""
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
        files[STATE] = _json_bytes({**checkpoint.state, "schema": SCHEMA})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the state is not JSON ({error}); no checkpoint was written") from error
    for name, data in files.items():
        if len(data) > (MAX_STATE_BYTES if name == STATE else MAX_BYTES):
            raise CheckpointError(f"{name} of {len(data)} bytes is too large; no checkpoint was written")
    listed = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    return {**files, MANIFEST: _sealed({"format": _FORMAT, "schema": SCHEMA, "files": listed})}


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sealed(manifest: dict[str, Any]) -> bytes:
    """The manifest's bytes, with its own digest inside."""
    return _json_bytes({**manifest, "sha256": _sha256(_json_bytes(manifest))})


# ---------------------------------------------------------------------------------------------------
# Reading


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder, bit for bit as it was written.

    Raises:
        DamagedCheckpoint: its content is missing, changed or malformed.
        CheckpointError: it may be sound but cannot be read: permissions, memory, a newer version.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
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
    with _blaming(MANIFEST):
        listed = _read_manifest(read_regular(MANIFEST, MAX_MANIFEST_BYTES, folder))
    with _blaming(STATE):
        state = json.loads(_verified(read_regular(STATE, MAX_STATE_BYTES, folder), listed[STATE]))
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            raise ValueError("not the state of a run")
    parts: dict[str, Tensors] = {}
    for part, name in _TENSOR_FILES.items():
        if name in listed:
            with _blaming(name):
                parts[part] = decode_tensors(_verified(_read_tensor_file(name, folder), listed[name]))
                if part != "agent" and non_finite(parts[part]):
                    raise ValueError("it holds numbers that are not finite")
    return Checkpoint(state=state, **parts)


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, OSError, MemoryError):
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        raise DamagedCheckpoint(f"{name}: {one_line(error)}") from error


def _read_manifest(data: bytes) -> dict[str, Any]:
    """The files a manifest lists, once it is known to be the one that was written."""
    manifest = json.loads(data)
    manifest.pop("sha256")
    if _sealed(manifest) != data:
        raise ValueError("it was changed")
    if manifest["format"] != _FORMAT or not isinstance(manifest["schema"], int):
        raise ValueError("not the manifest of a checkpoint")
    if manifest["schema"] > SCHEMA:
        raise _too_new(manifest["schema"])
    files: dict[str, Any] = manifest["files"]
    required, known = {_TENSOR_FILES["model"], STATE}, {*_TENSOR_FILES.values(), STATE}
    if not required <= set(files) <= known:
        raise ValueError("it lists other files than a checkpoint has")
    return files


def _too_new(schema: Any) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint has layout {schema} and this version reads up to {SCHEMA}; use a newer version"
    )


def _read_tensor_file(name: str, folder: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with open(fd, "rb") as file:
        return read_safetensors(file)


def _verified(data: bytes, listed: Mapping[str, Any]) -> bytes:
    if len(data) != listed["bytes"] or _sha256(data) != listed["sha256"]:
        raise ValueError("not what was written, by its size or SHA-256")
    return data


def _is_readable(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        _log.warning("%s; older checkpoints are kept", error)
        return False
    return True


# ---------------------------------------------------------------------------------------------------
# Finding


def newest_checkpoint(run_dir: Path, *, set_aside: bool = True) -> tuple[Path, Checkpoint] | None:
    """The newest sound checkpoint of a run and its folder; None when the run never wrote one.

    Damaged ones that are newer are logged as warnings and renamed `corrupt-...`.

    Args:
        set_aside: False only looks, for those who do not own the run.

    Raises:
        CheckpointError: there are checkpoints, but none is sound: never a silent start from scratch.
    """
    return _newest(run_dir, "ckpt", set_aside)


def best_checkpoint(run_dir: Path, *, set_aside: bool = True) -> tuple[Path, Checkpoint] | None:
    """The same for the weights with the best evaluated score."""
    return _newest(run_dir, "best", set_aside)


def _newest(run_dir: Path, kind: Kind, set_aside: bool) -> tuple[Path, Checkpoint] | None:
    damaged: list[tuple[Path, str]] = []
    for entry in reversed(entries(run_dir, kind)):
        try:
            checkpoint = read_checkpoint(entry.path)
        except DamagedCheckpoint as error:
            if not entry.path.exists() and not entry.path.is_symlink():
                return _newest(run_dir, kind, set_aside)  # the trainer pruned it meanwhile: newer ones exist
            damaged.append((entry.path, str(error)))
            continue
        for path, why in damaged:
            place = move_aside(path, "corrupt") if set_aside else path
            _log.warning("%s; it is kept as %s, and %s is used", why, place.name, entry.path.name)
        return entry.path, checkpoint
    with storage_errors(f"list {run_dir}"):
        earlier = [n for n in os.listdir(run_dir) if n.startswith((f"corrupt-{kind}-", f"aside-{kind}-"))]
    if damaged or earlier:
        why = damaged[0][1] if damaged else f"only {', '.join(sorted(earlier)[:3])}"
        raise CheckpointError(
            f"no sound checkpoint is left in {run_dir} ({why}); name another with --load PATH or start anew"
        )
    return None


def move_aside(path: Path, prefix: str) -> Path:
    """Renames a checkpoint so that it counts no more but can be looked at. Raises StorageError."""
    place, number = path.with_name(f"{prefix}-{path.name}"), 1
    while os.path.lexists(place):
        number += 1
        place = path.with_name(f"{prefix}-{path.name}.{number}")
    with storage_errors(f"rename {path}"):
        os.rename(path, place)
    return place


def rewind(run_dir: Path, path: Path) -> list[Path]:
    """Makes `path` the newest checkpoint of its run: later ones, also best ones, become `aside-...`.

    Needed before going on from an earlier checkpoint, or the next resume would take up the abandoned
    future, and retention would remove the new one as the oldest.

    Returns:
        The new places of what was set aside.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise CheckpointError(f"{path} is not named like a checkpoint (ckpt-000012345)")
    step = int(match[2])
    later = [e.path for kind in ("ckpt", "best") for e in entries(run_dir, kind) if e.step > step]
    if match[1] == "ckpt":
        revision = int(match[3] or 1)
        later += [e.path for e in entries(run_dir) if e.step == step and e.revision > revision]
    return [move_aside(place, "aside") for place in later]


# ---------------------------------------------------------------------------------------------------
# Fitting


def check_compatible(state: Mapping[str, Any], *, env: Mapping[str, Any], network: Shapes, algo: str) -> None:
    """Raises CheckpointError, naming every field that differs, unless a checkpoint's state belongs to
    this environment (its signature), network ({name: shape}) and algorithm."""
    schema = state.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise _too_new(schema)
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
        f"{name} is {saved.get(name)!r}, not {wanted.get(name)!r}"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]


def load_initial_weights(path: Path) -> Tensors:
    """Weights by name to start a new run from: of a checkpoint's folder, a `.safetensors` file, or a state
    dict saved by torch. Raises CheckpointError."""
    if (path / MANIFEST).exists():
        return read_checkpoint(path).model
    if path.is_dir():
        raise CheckpointError(f"{path} is no checkpoint; name a run's ckpt-... or best-... folder, or a file")
    return load_state_dict(path)
