"""What is stated once of each algorithm, and the words of flags that repeat it."""

from a3c.settings.algorithms import ACTOR_CRITICS, ALGOS, FACTS, MODELS, TABULAR, WITH_NETWORK
from a3c.settings.config import Config, settings


def test_kinds_of_algorithms_are_apart():
    assert set(TABULAR) | set(WITH_NETWORK) == set(ALGOS) - {"random"}
    assert not set(TABULAR) & set(WITH_NETWORK)
    assert set(ACTOR_CRITICS) <= set(WITH_NETWORK)
    assert Config().learn.algo in ALGOS
    assert len(set(MODELS)) == len(MODELS)


def test_flags_are_of_algorithms_that_exist():
    for setting in settings().values():
        assert set(setting.algos) <= set(ALGOS), setting.name


def test_words_of_flags_agree():
    epochs, model = settings()["epochs"].help, settings()["model"].help
    for algo in ACTOR_CRITICS:
        assert f"{FACTS[algo].epochs} for {algo}" in epochs
    for algo in WITH_NETWORK:
        assert FACTS[algo].models[0] in model
        assert "mlp" in FACTS[algo].models
