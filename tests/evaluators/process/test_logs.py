"""Both logs of a run share one axis of steps."""

import json

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from a3c.types import Counters
from evaluators.process.logs import RunLogs, forget_after, settings_table
from tests.evaluators.fakes import make_session


def steps_of(path):
    return [json.loads(line)["env_steps"] for line in path.read_text().splitlines()]


def test_a_resumed_run_has_one_monotonic_axis(tmp_path):
    for resumed_at, steps in ((None, (100, 200, 300, 400)), (200, (250, 350))):
        logs = RunLogs(tmp_path, resumed_at, pytest.fail)
        for step in steps:
            logs.write("train", Counters(env_steps=step), step / 10, {"x": 1.0}, {"train/x": float(step)})
        logs.close()
    assert steps_of(tmp_path / "metrics.jsonl") == [100, 200, 250, 350]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("train/x")] == [100, 200, 250, 350]


def test_a_curve_has_one_value_at_a_step(tmp_path):
    """Nobody trains for a while, or an evaluator is replaced: the same weights are scored twice."""
    for _ in range(2):  # the second one comes after the first was killed
        logs = RunLogs(tmp_path, None, pytest.fail)
        for kind in ("evaluation", "evaluation", "recheck"):
            logs.write(kind, Counters(env_steps=100), 1.0, {}, {f"eval/{kind}": 1.0})
        logs.close()
    assert steps_of(tmp_path / "metrics.jsonl") == [100] * 6
    events = EventAccumulator(str(tmp_path)).Reload()
    for kind in ("evaluation", "recheck"):
        assert [e.step for e in events.Scalars(f"eval/{kind}")] == [100]


def test_f27_what_cannot_be_written_is_told_once_and_again_when_it_can(tmp_path):
    run_dir, warnings, now = tmp_path / "run", [], [0.0]
    run_dir.write_text("a file where the folder should be")
    logs = RunLogs(run_dir, None, warnings.append, clock=lambda: now[0])
    for step in (1, 2):
        logs.write("train", Counters(env_steps=step), 0.0, {}, {"x": 1.0})
    assert [w.partition(" ")[0] for w in warnings] == ["metrics.jsonl", "TensorBoard"]
    run_dir.unlink()
    run_dir.mkdir()
    now[0] = 1000.0
    logs.write("train", Counters(env_steps=3), 0.0, {}, {"x": 1.0})
    logs.close()
    assert "2 were dropped" in warnings[2]
    assert "2 were dropped" in warnings[3]
    assert steps_of(run_dir / "metrics.jsonl") == [3]


def test_a_resumed_run_forgets_the_rows_it_goes_through_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    forget_after(path, 10)  # there is no file yet
    path.write_text("".join(json.dumps({"env_steps": n}) + "\n" for n in (5, 10, 15)) + '{"torn')
    forget_after(path, 10)
    assert steps_of(path) == [5, 10]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_f83_rows_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    path, warnings = tmp_path / "metrics.jsonl", []
    rows = ['{"kind": "train", "env_steps": 5}', '{"kind": "train", "env_steps": 15}']
    odd = [
        '{"kind": "train", "env_steps": null}',
        '{"kind": [], "env_steps": "5"}',
        "{}",
        "[",
        "5",
        "[" * 99_999,
    ]
    path.write_text("\n".join([rows[0], *odd, rows[1], '{"torn']))
    logs = RunLogs(tmp_path, 10, warnings.append)
    logs.write("train", Counters(env_steps=12), 1.0, {}, {"train/x": 1.0})
    logs.close()
    assert steps_of(path) == [5, 12]
    assert warnings == ["metrics.jsonl: 7 rows cannot be read and are left out"]


@pytest.mark.parametrize(
    "settings", [{"env": "CartPole-v1"}, {"env": "Breakout-v0", "model": "a3c-small"}, {"env": "Pong-v4"}]
)
def test_settings_and_network_are_shown(tmp_path, settings):
    session = make_session(tmp_path / "run", **settings)
    logs = RunLogs(session.run_dir, None, pytest.fail)
    logs.describe(session.config, session.env, 0)
    logs.draw_network(session.config, session.env)
    logs.close()
    events = EventAccumulator(str(session.run_dir)).Reload()
    assert {"config/text_summary", "environment/text_summary"} <= set(events.Tags()["tensors"])
    assert any("actor_linear" in node.name for node in events.Graph().node)


def test_the_hparams_tab_has_all_runs_with_their_settings_and_scores(tmp_path):
    for name, score, settings in (("one", 50.0, {"lr": 0.1}), ("two", 60.0, {"lr": 0.2, "seed": 5})):
        session = make_session(tmp_path / name, **settings)
        logs = RunLogs(session.run_dir, None, pytest.fail)
        logs.describe(session.config, session.env, 0)
        logs.write("evaluation", Counters(env_steps=10), 1.0, {}, {"eval/score_mean": score})
        logs.close()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["one", "two"]
    experiment, groups = hparams_tab(tmp_path)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert {name for name, info in infos.items() if info.differs} == {"lr", "seed"}
    assert {"algo", "gamma", "optimizer"} <= infos.keys()
    assert not {"run_dir", "grace", "replay_size", "eval_every"} & infos.keys()
    found = {
        group.sessions[0].name: (group.hparams["lr"].number_value, group.metric_values[0].value)
        for group in groups.session_groups
    }
    assert found == {"one": (0.1, 50.0), "two": (0.2, 60.0)}
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/score_mean"]


def hparams_tab(folder):
    """What TensorBoard's HParams tab is given: the experiment, and the runs in it."""
    events = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    data = MultiplexerDataProvider(events, str(folder))
    backend, request = Context(TBContext(data_provider=data)), RequestContext()
    wanted = api_pb2.GetExperimentRequest(include_metrics=True)
    experiment = get_experiment.Handler(request, backend, "", wanted).run()
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING, api_pb2.STATUS_SUCCESS]
    page = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=statuses)
    return experiment, list_session_groups.Handler(request, backend, "", page).run()


def test_the_settings_are_a_table_of_what_matters_here(tmp_path):
    config = make_session(tmp_path / "run", lr=0.5, env_kwargs={"sutton_barto_reward": True}).config
    lines = settings_table(config).splitlines()
    assert lines[0] == "| setting | value | default |"
    assert "| --lr | **0.5** | 0.0001 |" in lines
    assert "| --gamma | 0.99 | 0.99 |" in lines
    assert "| --env-kwargs | **sutton_barto_reward=True** |  |" in lines
    assert not any("--replay-size" in line or "--frame-skip" in line for line in lines)
