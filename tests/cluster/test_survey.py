"""`a3c doctor --cluster`: what it says of nodes; real ones are asked in test_commands_on_ray.py."""

import json
import sys
from types import SimpleNamespace

import pytest

from a3c.console import doctor


@pytest.fixture
def survey(monkeypatch):
    """The module, also where there is no Ray."""
    pytest.importorskip("ray", reason="asks Ray")
    from a3c.cluster import survey

    return survey


def test_without_ray(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    [finding] = doctor.cluster("auto")
    assert (finding.level, finding.text) == ("FAIL", "Ray is missing")


def test_each_line_of_the_survey_is_a_finding_and_its_end_is_looked_at(monkeypatch):
    finding = json.dumps({"level": "ok", "text": "3 nodes", "fix": ""})
    lines = ["[2026-11-27 core_worker.cc:1] words", '{"level": "INFO"}', "[1, 2, 3]", finding, ""]
    program = f"print({chr(10).join(lines)!r}, flush=True); raise SystemExit(9)"
    there = SimpleNamespace(executable=sys.executable)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: there)
    run = doctor.subprocess.Popen
    monkeypatch.setattr(
        doctor.subprocess, "Popen", lambda command, **how: run([sys.executable, "-c", program], **how)
    )
    found = list(doctor.cluster("auto"))
    assert [(f.level, f.text) for f in found] == [
        ("ok", "3 nodes"),
        ("FAIL", "asking the nodes ended with exit code 9"),
    ]


def test_versions_that_differ(survey):
    here = {"python": "3.11", "a3c": "1.0", "torch": "2.10"}
    assert list(survey.compare({**here, "a3c": "0.9", "torch": ""}, here)) == [
        ("FAIL", "a3c 0.9, and 1.0 here", "install the same there"),
        ("warn", "torch is missing, and 2.10 here", "install the same there"),
    ]
    assert list(survey.compare(here, here)) == [("ok", "python 3.11, a3c 1.0, torch 2.10", "")]


def test_clocks_and_lines(survey):
    assert survey.clock(-61.0, 0.01)[:2] == ("warn", "its clock is 61.0 s behind")
    assert survey.clock(0.9, 0.2)[0] == "ok"
    assert survey.line(5e6, 0.1)[:2] == ("warn", "5 MB/s, a call takes 100.0 ms")
    assert survey.line(100e6, 0.001)[0] == "ok"
