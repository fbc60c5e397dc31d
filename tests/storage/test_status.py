"""status.json by anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from a3c.storage.run_directory import STATUS, read_status
from a3c.storage.status import typed_status


def test_what_a_run_writes_stays(tmp_path: Path) -> None:
    status = {
        "state": "running", "steps": 5, "mean_lag": 0.5, "eta_s": None, "command": ["run.py"], "future": [1],
        "workers": [{"id": 0, "state": "running", "phase": "env"}], "evaluator": {"pid": 7},
    }  # fmt: skip
    (tmp_path / STATUS).write_text(json.dumps(status))
    assert read_status(tmp_path) == status


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("steps", "many", None),
        ("steps", float("inf"), None),
        ("steps", 10**400, None),
        ("steps", True, None),
        ("state", 5, None),
        ("workers", "abc", []),
        ("workers", [1, None, {"pid": "x"}], [{"pid": None}]),
        ("evaluator", [], None),
        ("evaluator", {"last_score": "abc", "phase": 3}, {"last_score": None, "phase": None}),
        ("message", "\x1b]0;mine\x07\nnext", "\\x1b]0;mine\\x07\nnext"),
        ("message", "\udc80", "\\udc80"),
    ],
)
def test_f83_a_field_of_another_kind_is_left_out(field: str, value: Any, read: Any) -> None:
    assert typed_status({field: value}) == {field: read}
