"""Which checkpoints a run has, which of them stay, and which counts.

A run directory holds `ckpt-000012345/` folders, named by their step, and `best-000012345/` for the weights
with the best evaluated score. A second checkpoint of the same step is `ckpt-000012345-2/`: a folder in place
is never overwritten.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from a3c.errors import CheckpointError
from a3c.storage.atomic import publish_folder, remove_folder, remove_leftovers, storage_errors
from a3c.storage.checkpoint import Checkpoint, DamagedCheckpoint, encode_checkpoint, read_checkpoint

_NAME = re.compile(r"(ckpt|best)-([0-9]{9,18})(?:-([0-9]{1,9}))?")

Kind = Literal["ckpt", "best"]
_log = logging.getLogger(__name__)


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
# Staying


def write_checkpoint(run_dir: Path, checkpoint: Checkpoint, step: int, kind: Kind = "ckpt") -> Path:
    """Commits a checkpoint and returns its folder.

    Raises:
        CheckpointError: weights, moments or state hold numbers that are not finite, or too much.
        StorageError: no room or no permission; nothing is left behind and older ones are untouched.
    """
    files = encode_checkpoint(checkpoint)
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
