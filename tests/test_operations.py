"""docs/operations.md and docs/faults.md against the program: exit codes, faults and their tests."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from a3c import errors

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
FAULTS = (ROOT / "docs" / "faults.md").read_text()
ROWS = re.findall(r"^\| (F\d\d) (.*)$", FAULTS, re.MULTILINE)


def named(text: str) -> dict[str, bool]:
    """The tests a text names, and whether it says that they are slow."""
    return {name: bool(slow) for name, slow in re.findall(r"`(test_\w+)`( \(slow\))?", text)}


@cache
def written() -> dict[str, bool]:
    """Every test function of the project, and whether it is marked slow."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))
    return {
        node.name: any("pytest.mark.slow" in ast.unparse(mark) for mark in node.decorator_list)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_faults_have_a_row_each_in_order() -> None:
    numbers = [number for number, _ in ROWS]
    assert len(numbers) > 40
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[number for number, _ in ROWS])
def test_every_fault_names_tests_of_its_own_that_exist(number: str, row: str) -> None:
    tests = written()
    assert {name: tests.get(name) for name in named(row)} == named(row)
    assert [name for name in named(row) if f"_{number.lower()}_" in name], row


def test_every_exit_code_is_explained() -> None:
    section = OPERATIONS.partition("## Exit codes")[2].partition("## Signals")[0]
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} - {errors.EXIT_SIGNAL}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", section, re.MULTILINE)} == codes | {1}
