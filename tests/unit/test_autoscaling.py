"""The autoscaling policy: situations and what they ask for, and what holds in all of them."""

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    TimeStampedValue,
)

from app.autoscaling import ApplicationPolicy, Bounds, Load, decide
from app.builder import model_deployment
from app.config.service import APPLICATION_POLICY, parse_config, read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

FLEX = Bounds(min_replicas=0, max_replicas=8, target_ongoing_requests=10, kv_cache_target=0.9)
ACTIVE = FLEX._replace(min_replicas=1)


@pytest.mark.parametrize(
    ("bounds", "load", "expected"),
    [
        pytest.param(FLEX, Load(0, 0, 0, 0), 0, id="asleep, and nobody asks"),
        pytest.param(FLEX, Load(0, 0, 0, 1), 1, id="asleep, and somebody asks"),
        pytest.param(FLEX, Load(0, 0, 0, 0.02), 1, id="asleep, and the mean hardly shows that somebody asks"),
        pytest.param(FLEX, Load(0, 1, 0, 0), 1, id="waking, and who woke it has gone"),
        pytest.param(FLEX, Load(0, 3, 0, 5), 3, id="waking"),
        pytest.param(FLEX, Load(1, 1, 0, 0), 0, id="idle in flex"),
        pytest.param(ACTIVE, Load(1, 1, 0, 0), 1, id="idle in active"),
        pytest.param(ACTIVE, Load(4, 4, 0, 0), 1, id="four that idle"),
        pytest.param(FLEX, Load(1, 1, 0.3, 0), 1, id="hardly anything to do"),
        pytest.param(ACTIVE, Load(1, 1, 10, 0), 1, id="just at the target"),
        pytest.param(ACTIVE, Load(1, 1, 10 + 1e-9, 0), 1, id="at the target but for the noise of a mean"),
        pytest.param(ACTIVE, Load(1, 1, 11, 0), 2, id="over the target"),
        pytest.param(ACTIVE, Load(2, 2, 20, 5), 3, id="a queue asks for one more"),
        pytest.param(ACTIVE, Load(2, 2, 20, 10), 4, id="and counts twice"),
        pytest.param(ACTIVE, Load(1, 1, 15, 200), 8, id="never over the most"),
        pytest.param(ACTIVE, Load(2, 2, 4, 0, (0.95, 0.95)), 3, id="few requests that fill the caches"),
        pytest.param(ACTIVE, Load(2, 2, 4, 0, (0.95, 0.3)), 2, id="one cache full, the other has room"),
        pytest.param(FLEX, Load(1, 1, 0, 0, (0.95,)), 0, id="a usage that was reported last is of no request any more"),
        pytest.param(ACTIVE, Load(4, 4, 19, 0), 2, id="fewer than the work was for"),
    ],
)
def test_a_situation_asks_for_so_many_replicas(bounds: Bounds, load: Load, expected: int) -> None:
    assert decide(load, bounds) == expected


LOADS = st.builds(
    Load,
    replicas=st.integers(0, 64),
    target_replicas=st.integers(0, 64),
    ongoing=st.floats(0, 1e5),
    queued=st.floats(0, 1e5),
    kv_cache_usage=st.lists(st.floats(0, 1), max_size=8).map(tuple),
)
BOUNDS = st.builds(
    lambda least, more, target, kv: Bounds(least, least + more, target, kv),
    st.integers(0, 8),
    st.integers(1, 64),
    st.floats(0.1, 1000),
    st.floats(0.1, 1),
)


@given(LOADS, BOUNDS)
def test_the_bounds_are_kept(load: Load, bounds: Bounds) -> None:
    assert bounds.min_replicas <= decide(load, bounds) <= bounds.max_replicas


@given(LOADS, BOUNDS)
def test_zero_only_where_nothing_is_asked(load: Load, bounds: Bounds) -> None:
    if decide(load, bounds) == 0:
        assert bounds.min_replicas == 0
        assert load.ongoing + load.queued == 0


@given(LOADS, BOUNDS)
def test_what_runs_always_has_its_room(load: Load, bounds: Bounds) -> None:
    if load.replicas:
        needed = math.ceil((load.ongoing + load.queued) / bounds.target_ongoing_requests - 1e-6)
        assert decide(load, bounds) >= min(needed, bounds.max_replicas)


@given(LOADS, BOUNDS, st.floats(0, 100))
def test_more_work_never_asks_for_fewer(load: Load, bounds: Bounds, more: float) -> None:
    assert decide(load._replace(queued=load.queued + more), bounds) >= decide(load, bounds)
    assert decide(load._replace(ongoing=load.ongoing + more), bounds) >= decide(load, bounds)


def test_the_policy_reads_serve_s_contexts() -> None:
    context: Any = SimpleNamespace(
        current_num_replicas=2,
        target_num_replicas=2,
        total_num_requests=14.0,
        total_queued_requests=10.0,
        aggregated_metrics={"kv_cache_usage": {"a": 0.1, "b": 0.2}},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        config=SimpleNamespace(
            get_target_ongoing_requests=lambda: 10.0, policy=SimpleNamespace(policy_kwargs={"kv_cache_target": 0.9})
        ),
    )
    assert ApplicationPolicy()({"alpha": context, "beta": context}) == ({"alpha": 3, "beta": 3}, {})
    context.total_queued_requests = None
    context.config.policy.policy_kwargs["kv_cache_target"] = 0.05
    assert ApplicationPolicy()({"alpha": context}) == ({"alpha": 6}, {})
    context.aggregated_metrics = None
    assert ApplicationPolicy()({"alpha": context}) == ({"alpha": 2}, {})


class Controller:
    """The part of Serve's controller that scales, with one sleeping model of ours and one gateway that asks for it."""

    def __init__(self) -> None:
        from ray.serve._private.autoscaling_state import AutoscalingStateManager
        from ray.serve._private.deployment_info import DeploymentInfo

        entry = {"id": "a", "task": "speech", "engine": "espeak-ng", "source": "espeak-ng", "mode": "flex"}
        keys = [{"id": "a" * 12, "sha256": "0" * 64}]
        deployment = model_deployment(parse_config(config_args(models=[entry], keys=keys)).models[0])
        config = deployment._deployment_config
        self.id = DeploymentID("a", "portico")
        self.manager = AutoscalingStateManager()
        info = DeploymentInfo(config, deployment._replica_config, 0, "", version=config.version)
        self.started = self.manager.register_deployment(self.id, info, 0)

    def build(self, policy: str | None) -> None:
        """What happens when an application with or without a policy of its own has been built, as an update does."""
        from ray.serve.config import AutoscalingPolicy

        if policy is None:
            self.manager.deregister_application("portico")
        else:
            self.manager.register_application("portico", AutoscalingPolicy(policy_function=policy))

    def asked(self, requests: int) -> None:
        now = time.time()
        waiting = [TimeStampedValue(now - 1, requests), TimeStampedValue(now, requests)]
        report = HandleMetricReport(self.id, "h", "actor", DeploymentHandleSource.REPLICA, waiting, {}, now)
        self.manager._app_autoscaling_states["portico"].record_request_metrics_for_handle(report)

    def decides(self, target: int) -> int:
        return int(self.manager.get_decision_num_replicas("portico", {self.id: target})[self.id])


class TestInServesController:
    def test_a_model_starts_once_and_then_wakes_for_a_request(self) -> None:
        controller = Controller()
        controller.build(APPLICATION_POLICY)
        assert controller.started == 1
        assert controller.decides(0) == 0
        controller.asked(1)
        assert controller.decides(0) == 1

    def test_an_idle_model_keeps_its_replica_until_the_delay_is_over(self) -> None:
        controller = Controller()
        controller.build(APPLICATION_POLICY)
        controller.manager.update_running_replica_ids(controller.id, [ReplicaID("r", controller.id)])
        assert [controller.decides(1) for _ in range(3)] == [1, 1, 1]
        later = time.time() + 301
        with patch("ray.serve.autoscaling_policy.time.time", lambda: later):
            assert controller.decides(1) == 0

    def test_after_an_update_that_leaves_it_alone_it_still_wakes(self) -> None:
        controller = Controller()
        controller.build(APPLICATION_POLICY)
        controller.build(APPLICATION_POLICY)
        controller.asked(1)
        assert controller.decides(0) == 1

    def test_without_a_policy_of_the_application_serve_forgets_it(self) -> None:
        """Why the file must name one. Where this fails, Serve has mended it, and the line may go."""
        controller = Controller()
        controller.build(None)
        assert not controller.manager.should_autoscale_deployment(controller.id)


def test_a_file_whose_models_scale_must_name_that_policy(tmp_path: Path) -> None:
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    path = tmp_path / "serve.yaml"
    application = content["applications"][0]
    path.write_text(yaml.safe_dump(content))
    read_serve_config(path)  # none of its models scales
    application["args"]["models"][0]["mode"] = "flex"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="autoscaling_policy: models of this file scale"):
        read_serve_config(path)
    application["autoscaling_policy"] = {"policy_function": APPLICATION_POLICY}
    path.write_text(yaml.safe_dump(content))
    read_serve_config(path)
