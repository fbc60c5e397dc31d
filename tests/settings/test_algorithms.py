"""What is stated once of each algorithm, and the words of flags that repeat it."""

import pytest

from a3c.settings.algorithms import (
    ACTOR_CRITICS,
    ALGOS,
    FACTS,
    MODELS,
    TABULAR,
    WITH_NETWORK,
    check_observation,
    default_model,
)
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


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("mlp", (3, 84, 84), "takes a vector"),
        ("mlp-deep", (1, 6, 6), "takes a vector"),
        ("nature", (4,), "takes images"),
        ("nature", (3, 35, 90), "36 pixels"),
        ("a3c-small", (3, 90, 35), "36 pixels"),
        ("a3c-lstm", (1, 84, 84), "80x80 images, not 84x84; take --model nature"),
        ("pixels", (3, 20, 90), "29 pixels"),
        ("minatar", (3, 2, 90), "3 pixels"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        check_observation(model, shape)


@pytest.mark.parametrize("algo", WITH_NETWORK)
def test_every_algorithm_has_a_network_for_pictures_and_vectors(algo):
    for shape in ((4,), (1, 3, 3), (3, 30, 200), (4, 80, 80), (3, 400, 600)):
        check_observation(default_model(algo, shape), shape)
    assert default_model(algo, (4,)) == "mlp"
    assert default_model(algo, (3, 2, 90)) is None
