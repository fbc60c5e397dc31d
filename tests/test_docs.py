"""What the documents say is what the program does."""

import re
from pathlib import Path

from a3c.settings.flags import flags_page

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_flag_is_listed():
    assert (ROOT / "docs" / "flags.md").read_text() == flags_page(), "run `python -m a3c.settings.flags`"


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_curve_is_explained():
    """Each TensorBoard tag of a run stands in docs/metrics.md."""
    from a3c.agents.make import metric_names
    from a3c.settings.groups import ALGOS
    from a3c.stores.scoreboard import Scoreboard
    from evaluators.process.meter import EVALUATION_TAGS, interval_row, training_points

    text = (ROOT / "docs" / "metrics.md").read_text()
    for algo in ALGOS:
        names = metric_names(algo)
        before = Scoreboard(1, names).totals()
        after = {name: value + 1 for name, value in before.items()}
        tags = [*training_points(interval_row(before, after, 1.0, names)), *EVALUATION_TAGS.values()]
        missing = [tag for tag in tags if f"`{tag}`" not in text]
        assert not missing, f"{algo}: {missing}"
