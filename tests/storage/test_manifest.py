"""The manifest: of checkpoints and of packages, as they are written now and as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from a3c.errors import CheckpointError
from a3c.storage.manifest import MANIFEST, Fetch, Layout, encode_manifest, read_manifest, verified

FILES = {"a.json": b"{}", "b.bin": b"\0" * 9}
LAYOUT = Layout("test", {"a.json": 10, "b.bin": 10, "c.bin": 10}, frozenset(("a.json",)))
WITH_OLDER = LAYOUT._replace(unsealed=True)


def folder(files: Mapping[str, bytes], manifest: bytes) -> Fetch:
    return lambda name, limit: {**files, MANIFEST: manifest}[name]


def unsealed(**changes: Any) -> bytes:
    """As packages had it."""
    manifest = json.loads(encode_manifest(LAYOUT, FILES))
    del manifest["sha256"]
    return json.dumps({**manifest, **changes}).encode()


def test_lists_what_was_written() -> None:
    fetch = folder(FILES, encode_manifest(LAYOUT, FILES))
    listed = read_manifest(LAYOUT, fetch)
    assert {name: verified(name, fetch, listed, LAYOUT) for name in listed} == FILES


@pytest.mark.parametrize("content", [b"{}x", b"[]", b""])
def test_another_content_is_refused(content: bytes) -> None:
    fetch = folder({**FILES, "a.json": content}, encode_manifest(LAYOUT, FILES))
    with pytest.raises(ValueError, match="not what was written"):
        verified("a.json", fetch, read_manifest(LAYOUT, fetch), LAYOUT)


def test_only_a_kind_that_has_older_ones_may_lack_the_digest() -> None:
    assert read_manifest(WITH_OLDER, folder(FILES, unsealed())).keys() == FILES.keys()
    with pytest.raises(ValueError, match="changed"):
        read_manifest(LAYOUT, folder(FILES, unsealed()))


def test_a_digest_that_is_there_has_to_be_right() -> None:
    changed = encode_manifest(WITH_OLDER, FILES).replace(b'"bytes": 9', b'"bytes": 8')
    with pytest.raises(ValueError, match="changed"):
        read_manifest(WITH_OLDER, folder(FILES, changed))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"schema": True},
        {"schema": "1"},
        {"files": {}},
        {"files": {"a.json": {"bytes": "2", "sha256": "0"}}},
        {"files": {"a.json": {"bytes": 2, "sha256": None}}},
        {"files": {"a.json": {"bytes": 2, "sha256": "0"}, "d.bin": {"bytes": 2, "sha256": "0"}}},
        {"sha256": None},
        {"tha256": "0"},
    ],
)
def test_other_forms_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"than test|without its size|changed|other fields"):
        read_manifest(WITH_OLDER, folder(FILES, unsealed(**changes)))


def test_a_newer_layout_is_told_from_damage() -> None:
    with pytest.raises(CheckpointError, match="layout 2 and this version reads up to 1"):
        read_manifest(WITH_OLDER, folder(FILES, unsealed(schema=2)))
