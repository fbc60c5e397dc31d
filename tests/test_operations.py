"""docs/operations.md against the program: faults and their tests, exit codes, files."""

import re
from pathlib import Path

from a3c import errors

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "operations.md").read_text()
ROWS = dict(re.findall(r"^\| F(\d\d) (.*)$", TEXT, re.MULTILINE))


def test_every_fault_has_a_test_or_a_reason():
    assert list(ROWS) == [f"{n:02}" for n in range(1, 48)]
    for number, row in ROWS.items():
        named = re.findall(r"`(test_\w+)`", row)
        assert any(f"_f{number}_" in name for name in named) or "tested with the" in row, row


def test_every_test_named_there_exists():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_f\d\d_\w+)`", TEXT):
        assert f"def {name}(" in sources, name


def test_every_exit_code_is_explained():
    section = TEXT.partition("## Exit codes")[2].partition("## Signals")[0]
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} - {errors.EXIT_SIGNAL}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", section, re.MULTILINE)} == codes | {1}
