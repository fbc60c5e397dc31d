"""The shape of the house: imports run downwards only, every setting is used, dangerous calls are absent."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from a3c.settings.config import settings

ROOT = Path(__file__).parents[1]
PRODUCT = sorted(
    path for name in ("a3c", "evaluators", "benchmarks") for path in (ROOT / name).rglob("*.py")
) + sorted(ROOT.glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FACES = ("a3c", "a3c.__main__", "evaluators")

LAYERS = (
    "run eval benchmarks",
    "a3c.__main__",
    "a3c.api",
    "a3c.cli",
    "evaluators.sharing evaluators.levels evaluators.tuning",
    "evaluators.scoring evaluators.curves evaluators.process",
    "evaluators.showing",
    "evaluators.games",
    "a3c.cluster",
    "a3c.training",
    "a3c.console a3c.trained",
    "a3c.storage a3c.agents",
    "a3c.envs a3c.stores",
    "a3c.networks a3c.learning a3c.settings a3c.processes",
    "a3c.types a3c.errors a3c.files a3c.system",
)
"""Who stands on whom, the top first: a wing imports only from layers below its own."""

MAY_IMPORT = {
    "a3c.errors": "",
    "a3c.types": "",
    "a3c.files": "",
    "a3c.system": "",
    "a3c.processes": "a3c.errors a3c.files",
    "a3c.settings": "a3c.errors",
    "a3c.learning": "a3c.errors",
    "a3c.networks": "a3c.types",
    "a3c.envs": "a3c.settings a3c.types a3c.errors",
    "a3c.stores": "a3c.learning a3c.settings a3c.types a3c.errors a3c.files",
    "a3c.agents": "a3c.networks a3c.learning a3c.settings a3c.stores.parameters a3c.types a3c.errors",
    "a3c.storage": "a3c.stores a3c.settings a3c.types a3c.errors a3c.files a3c.system",
}
"""The whole of what some wings may import of the project."""

NEVER = {
    "a3c": "evaluators",  # but for the command line and the way in from Python, the composition roots
    "a3c.settings": "torch numpy gymnasium",
    "a3c.envs": "torch multiprocessing",
    "a3c.agents": "multiprocessing gymnasium",
    "a3c.networks": "multiprocessing gymnasium",
    "a3c.types": "multiprocessing gymnasium",
    "a3c.cluster.rules": "a3c.stores ray torch",
    "a3c.cluster.exchange": "a3c.stores ray torch",
    "a3c.cluster.replica": "a3c.stores ray",
    "a3c.training.rollouts": "a3c.stores a3c.processes multiprocessing",
    "a3c.training.worker": "a3c.processes.supervisor",
    "a3c.processes": "torch numpy",
    "a3c.processes.supervisor": "os signal time multiprocessing",
    "a3c.storage.checkpoint": "a3c.stores.shared",
    "a3c.storage.shelf": "a3c.stores.shared",
    "a3c.storage.manifest": "torch",
}
"""What these must not import besides."""

COMPOSITION_ROOTS = ("a3c.cli", "a3c.api.agent")
TORCH_FREE = (
    "a3c.api.train",
    "a3c.api.child",
    "a3c.cli",
    "a3c.settings.config",
    "a3c.settings.flags",
    "a3c.console.live",
    "a3c.storage.open_run",
    "a3c.storage.find_run",
    "a3c.console.status",
    "a3c.processes.supervisor",
    "a3c.console.doctor",
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> list[str]:
    """Full names of what a file imports, anywhere in it: "a3c.types" of `from a3c.types import Rollout`."""
    names: list[str] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return names


def below(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def of_ours(path: Path) -> list[str]:
    return [name for name in imports(path) if name.partition(".")[0] in ("a3c", "evaluators", "benchmarks")]


def layer(name: str) -> int:
    """The index of the layer that holds a module."""
    found = [i for i, wings in enumerate(LAYERS) for wing in wings.split() if below(name, wing)]
    assert len(found) == 1, f"{name} is in no layer of this file, or in two"
    return found[0]


def wing(name: str) -> str:
    return next(wing for wings in LAYERS for wing in wings.split() if below(name, wing))


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_imports_run_downwards(path: Path) -> None:
    name = module(path)
    if name in FACES:
        return
    for imported in of_ours(path):
        if imported != "a3c.__version__" and wing(imported) != wing(name):
            assert layer(imported) > layer(name), f"{name} imports {imported}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_wing_imports_what_is_allowed_to_it(package: str) -> None:
    allowed = [package, *MAY_IMPORT[package].split()]
    for path in PRODUCT:
        if below(module(path), package):
            found = [n for n in of_ours(path) if not any(below(n, a) for a in allowed)]
            assert not found, f"{module(path)} imports {found}"


@pytest.mark.parametrize("package", NEVER)
def test_nobody_imports_what_is_not_theirs(package: str) -> None:
    forbidden = NEVER[package].split()
    for path in PRODUCT:
        if below(module(path), package) and module(path) not in COMPOSITION_ROOTS:
            found = [n for n in imports(path) if any(below(n, f) for f in forbidden)]
            assert not found, f"{module(path)} imports {found}"


def test_ray_is_imported_by_one_wing_alone() -> None:
    found = {module(path) for path in PRODUCT for name in imports(path) if below(name, "ray")}
    assert found
    assert not [name for name in found if not below(name, "a3c.cluster")]


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {module(path): path for path in PRODUCT if module(path) not in FACES}
    graph = {
        name: {m for m in modules for i in imports(path) if m != name and m in (i, i.rpartition(".")[0])}
        for name, path in modules.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_command_line_starts_without_torch() -> None:
    heavy = "{'torch', 'numpy', 'gymnasium', 'cv2', 'matplotlib'}"
    program = f"import sys, {', '.join(TORCH_FREE)}; print({heavy} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout
    assert output == b"set()\n"


def test_every_setting_is_read() -> None:
    """No dead options: outside the module that defines it, each is used as an attribute."""
    read = {
        node.attr
        for path in PRODUCT
        if module(path) != "a3c.settings.config"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert set(settings()) - read == set()


FORBIDDEN_CALLS = {
    "pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "yaml.load", "os.system", "os.popen",
    "eval", "exec", "torch.load",
}  # fmt: skip
FORBIDDEN_ARGUMENTS = {("weights_only", False), ("allow_pickle", True), ("shell", True)}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_f24_nothing_runs_what_it_reads(path: Path) -> None:
    for name, call in calls(path):
        assert name not in FORBIDDEN_CALLS, f"{path}:{call.lineno}"
        for argument in call.keywords:
            value = argument.value.value if isinstance(argument.value, ast.Constant) else None
            assert (argument.arg, value) not in FORBIDDEN_ARGUMENTS, f"{path}:{call.lineno}"


GUARDED = (
    "a3c.storage", "a3c.trained", "a3c.console", "a3c.processes", "a3c.stores",
    "evaluators.process", "evaluators.showing", "evaluators.curves", "evaluators.tuning",
)  # fmt: skip
"""Wings that touch files in a run or a package, which others may have put there."""

PLAIN_OPENS = {"open", "os.open", "io.open", "os.truncate", "shutil.copy", "shutil.copyfile", "shutil.move"}
PLAIN_METHODS = {"open", "write_text", "read_text", "write_bytes", "read_bytes", "touch"}
NO_FILES_OF_A_RUN = {
    ("a3c.processes.child", "os.open(os.devnull, os.O_RDWR)"),
    ("a3c.processes.descriptors", "os.open(os.devnull, os.O_RDWR)"),
    (
        "a3c.processes.descriptors",
        "os.open(f'/proc/self/fd/{descriptor}', os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)",
    ),
    ("a3c.processes.spawning", "Path(f'/proc/{self.pid}/schedstat').read_text()"),
    ("a3c.processes.guardian", "Path(f'/proc/{pid}/stat').read_bytes()"),
    ("a3c.console.streams", "os.open(os.devnull, os.O_WRONLY)"),
    ("a3c.storage.run_lock", "os.open('/proc/locks', os.O_RDONLY)"),
}
"""Devices, and what the kernel tells."""


@pytest.mark.parametrize("wing", GUARDED)
def test_f80_files_of_a_run_are_opened_in_one_place(wing: str) -> None:
    """By a3c.files.open_file, which follows no link and waits for nobody."""
    for path in PRODUCT:
        if below(module(path), wing):
            found = {(module(path), ast.unparse(call)) for name, call in calls(path) if _opens(name)}
            assert found <= NO_FILES_OF_A_RUN


def _opens(name: str) -> bool:
    return name in PLAIN_OPENS or name.rpartition(".")[2] in PLAIN_METHODS


def test_asserts_are_not_for_users() -> None:
    nodes = ((path, node) for path in PRODUCT for node in ast.walk(tree(path)))
    assert not [f"{path}:{node.lineno}" for path, node in nodes if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", [p for p in TESTS if p.name.startswith("test_")], ids=module)
def test_tests_wait_for_conditions_not_for_time(path: Path) -> None:
    assert not [call.lineno for name, call in calls(path) if name == "time.sleep"]


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_files_and_functions_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"
