"""What the documents say is what the program does."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from a3c.cli import COMMANDS, main
from a3c.settings.flags import flags_page
from a3c.settings.presets import presets

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), ROOT / "checkpoints" / "README.md"]
    + [path for folder in ("docs", "benchmarks") for path in (ROOT / folder).rglob("*.md")]
)

REMOVED = {"benchmarks.averaging", "benchmarks.background", "benchmarks.steps_to_score"}
"""Scripts that answered their question; the pages of docs/experiments name them."""


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_every_flag_is_listed():
    assert (ROOT / "docs" / "flags.md").read_text() == flags_page(), "run `python -m a3c.settings.flags`"


def headings(document: Path) -> set[str]:
    """The anchors that a page's headings give it."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text()):
        page = document.parent / target if target else document
        assert page.exists(), target
        assert not anchor or anchor in headings(page), f"{target}#{anchor}"


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.stem != "CHANGELOG"], ids=name_of)
def test_paths_and_modules_exist(document: Path) -> None:
    text = document.read_text()
    for path in re.findall(r"`((?:a3c|evaluators|benchmarks|tests|docs|deploy)/[\w/.@-]+)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"python -m ((?:a3c|evaluators|benchmarks)(?:\.\w+)*)", text):
        assert name in REMOVED or find_spec(name), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_is_said_to_be_in_a_file_is_there(document: Path) -> None:
    """As in "`collect` in `a3c/training/rollouts.py`", or with a link to the file."""
    for name, file in re.findall(r"`(\w+)`\s(?:in\s|\()[`\[]([\w/]+\.py)", document.read_text()):
        found = [ROOT / file, ROOT / "a3c" / file, ROOT / "evaluators" / file]
        text = next(path for path in found if path.exists()).read_text()
        assert re.search(rf"\b(def {name}|class {name}|{name} =|{name}:)", text), f"{name} in {file}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_lines_are_at_most_125_columns_wide(document: Path) -> None:
    """Rows of tables may be wider."""
    lines = document.read_text().splitlines()
    assert not [line for line in lines if len(line) > 125 and not line.startswith("|")]


def commands(document: Path) -> list[str]:
    """What stands in code blocks and in backticks, each on one line."""
    text = re.sub(
        r" \\\n +", " ", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    )
    blocks = re.findall(r"^    (\S.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    return [*blocks, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))]


def trainings() -> list[str]:
    """The flags of every training that the documents name, also by way of a search or a benchmark."""
    start = r"(?:python run\.py|a3c run|(?:a3c tune|python -m benchmarks\.learning) .*--) (-.*)"
    found = {match[1] for d in DOCUMENTS for c in commands(d) if (match := re.fullmatch(start, c))}
    return sorted(flags for flags in found if "--load" not in flags and "--gpu-ids" not in flags)


@pytest.mark.parametrize("flags", trainings())
def test_every_training_in_the_documents_is_accepted(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--track" in flags and find_spec("wandb") is None:
        pytest.skip("wandb is an extra")
    monkeypatch.chdir(tmp_path)
    assert main(["run", *shlex.split(flags), "--dry-run"]) == 0, capsys.readouterr().err


def test_every_command_and_preset_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"a3c {name}" not in readme] == []
    assert [name for name in presets() if f"`{name}`" not in readme] == []


def test_every_wing_is_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    wings = [path.parent for top in ("a3c", "evaluators") for path in (ROOT / top).glob("*/__init__.py")]
    assert [str(wing) for wing in wings if f"(../{wing.relative_to(ROOT)})" not in text] == []


def test_every_curve_is_explained():
    """Each TensorBoard tag of a run stands in docs/metrics.md."""
    from a3c.agents.make import ALGORITHMS
    from a3c.settings.algorithms import ALGOS
    from a3c.stores.scoreboard import Scoreboard
    from evaluators.process.meter import EVALUATION_TAGS, interval_row, training_points

    text = (ROOT / "docs" / "metrics.md").read_text()
    for algo in ALGOS:
        names = ALGORITHMS[algo].metric_names
        before = Scoreboard(1, names).totals()
        after = {name: value + 1 for name, value in before.items()}
        tags = [*training_points(interval_row(before, after, 1.0, names)), *EVALUATION_TAGS.values()]
        missing = [tag for tag in tags if f"`{tag}`" not in text]
        assert not missing, f"{algo}: {missing}"
