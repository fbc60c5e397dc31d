"""MANIFEST.json: which files a folder holds, each with its size and SHA-256; of checkpoints and of packages.

It is written last and holds its own digest, so that a file which changed, by accident or by a copy that went
wrong, is refused: neither tensor format notices a flipped bit by itself. It protects from no forger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from a3c.errors import CheckpointError
from a3c.storage.records import parse_json

MANIFEST = "MANIFEST.json"
SCHEMA = 1
"""Version of the layout of checkpoints and packages; a reader refuses a higher one."""

_MAX_BYTES = 2**16

Fetch = Callable[[str, int], bytes]
"""Gets the content of the file of that name, of at most so many bytes. Raises OSError or ValueError."""


class Layout(NamedTuple):
    """What a kind of folder holds."""

    format: str
    limits: Mapping[str, int]  # every file there can be, and the most bytes of it
    required: frozenset[str]
    unsealed: bool = False  # whether there are older ones whose manifest lacks its own digest


class Listed(NamedTuple):
    """What a manifest says of a file."""

    bytes: int
    sha256: str


def encode_manifest(layout: Layout, files: Mapping[str, bytes]) -> bytes:
    """The content of MANIFEST.json for the other files."""
    listed = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    return _sealed({"format": layout.format, "schema": SCHEMA, "files": listed})


def read_manifest(layout: Layout, fetch: Fetch) -> dict[str, Listed]:
    """The files that a manifest lists.

    Raises:
        CheckpointError: it is of a newer version.
        ValueError (or whatever a parser raises): it is not what was written, or of something else.
        OSError: it cannot be read.
    """
    data = fetch(MANIFEST, _MAX_BYTES)
    manifest = parse_json(data)
    sealed = "sha256" in manifest
    manifest.pop("sha256", None)
    if (sealed or not layout.unsealed) and _sealed(manifest) != data:
        raise ValueError("it was changed")
    if manifest["format"] != layout.format or type(manifest["schema"]) is not int:
        raise ValueError(f"it is of something else than {layout.format}")
    if manifest["schema"] > SCHEMA:
        raise too_new(manifest["schema"])
    if set(manifest) != {"format", "schema", "files"}:
        raise ValueError("it has other fields than a manifest")
    if not layout.required <= set(manifest["files"]) <= set(layout.limits):
        raise ValueError(f"it lists other files than {layout.format} has")
    return {name: _listed(entry) for name, entry in manifest["files"].items()}


def verified(name: str, fetch: Fetch, listed: Mapping[str, Listed], layout: Layout) -> bytes:
    """The content of a file, as it was written. Raises OSError, or ValueError when it is not."""
    wanted = listed[name]
    data = fetch(name, layout.limits[name])
    if len(data) != wanted.bytes or _sha256(data) != wanted.sha256:
        raise ValueError("not what was written, by its size or SHA-256")
    return data


def too_new(schema: Any) -> CheckpointError:
    """The refusal of something that a newer version wrote."""
    return CheckpointError(
        f"it has layout {schema} and this version reads up to {SCHEMA}; use a newer version"
    )


def _listed(entry: Any) -> Listed:
    size, digest = entry["bytes"], entry["sha256"]
    if type(size) is not int or type(digest) is not str:
        raise ValueError("it lists a file without its size and SHA-256")
    return Listed(size, digest)


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest's bytes, with its own digest inside."""
    return json_bytes({**manifest, "sha256": _sha256(json_bytes(manifest))})


def json_bytes(value: Any) -> bytes:
    """A value as JSON. Raises TypeError or ValueError for one that is none."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
