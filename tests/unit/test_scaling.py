"""Modes, tasks and their defaults, contradictions, and what Serve gets."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import DeploymentSchema, RayActorOptionsSchema

from app.builder import model_deployment
from app.config.limits import Limits
from app.config.model_entry import ModelEntry
from app.config.scaling import CHAT_PER_SEQUENCE, MODES, TASKS, VLLM_MAX_NUM_SEQS, Scaling
from app.config.service import parse_config
from app.upstream.affinity import BLOCK_BYTES, MAX_BLOCKS
from app.upstream.prefix_map import USUAL_MAX_IMBALANCE, USUAL_REMEMBERED_BLOCKS
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

ENGINES = {
    "chat": "vllm",
    "embeddings": "sentence-transformers",
    "rerank": "sentence-transformers",
    "images": "diffusers",
    "transcriptions": "faster-whisper",
    "speech": "espeak-ng",
}


def entry(**changes: Any) -> dict[str, Any]:
    return {"id": "alpha", "task": "chat", "engine": "vllm", "source": "hub/name"} | changes


def parse(*entries: dict[str, Any], **args: Any) -> list[ModelEntry]:
    keys = [{"id": "a" * 12, "sha256": "0" * 64}]
    return parse_config(config_args(models=list(entries), keys=keys, **args)).models


def of_task(task: str, **changes: Any) -> ModelEntry:
    return parse(entry(task=task, engine=ENGINES[task], **changes))[0]


def test_mode_active_is_the_default_and_keeps_one_replica() -> None:
    scale = of_task("chat").scale
    assert (scale.min_replicas, scale.max_replicas, scale.is_fixed) == (1, 1, True)
    assert scale.downscale_to_zero_delay_s is None


def test_mode_flex_goes_to_zero_after_five_minutes_and_starts_with_one() -> None:
    scale = of_task("speech", mode="flex").scale
    assert (scale.min_replicas, scale.initial_replicas, scale.max_replicas) == (0, 1, 1)
    assert scale.downscale_to_zero_delay_s == 300
    assert MODES["flex"].downscale_delay_s < MODES["active"].downscale_delay_s


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_its_own_defaults(task: str) -> None:
    scale, usual = of_task(task).scale, TASKS[task]  # type: ignore[index]
    reported = (scale.target_ongoing_requests, scale.max_ongoing_requests, scale.max_queued_requests)
    assert reported == (usual.target_ongoing_requests, usual.max_ongoing_requests, usual.max_queued_requests)


@pytest.mark.parametrize(
    ("engine_kwargs", "expected"),
    [({}, (89, 256, 512)), ({"max_num_seqs": 16}, (11, 32, 64)), ({"max_num_seqs": 1}, (1, 2, 4))],
)
def test_chat_takes_seven_tenths_of_the_sequences_that_its_engine_runs(
    engine_kwargs: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    scale = of_task("chat", engine_kwargs=engine_kwargs).scale
    assert (scale.target_ongoing_requests, scale.max_ongoing_requests, scale.max_queued_requests) == expected


def test_what_the_engine_takes_by_itself_is_what_the_defaults_say() -> None:
    found = importlib.util.find_spec("vllm")  # its text: importing it takes seconds
    assert found
    assert found.submodule_search_locations
    source = (Path(found.submodule_search_locations[0]) / "config" / "scheduler.py").read_text()
    assert f"DEFAULT_MAX_NUM_SEQS: ClassVar[int] = {VLLM_MAX_NUM_SEQS}" in source


def test_each_number_may_be_given() -> None:
    given = {
        "max_replicas": 6,
        "initial_replicas": 2,
        "target_ongoing_requests": 3,
        "max_ongoing_requests": 5,
        "max_queued_requests": 7,
        "downscale_delay_s": 9,
        "downscale_to_zero_delay_s": 11,
        "surge": 50,
    }
    scale = of_task("images", mode="flex", scaling=given).scale
    assert {name: getattr(scale, name) for name in given} == given


def test_a_default_target_never_exceeds_what_a_replica_takes() -> None:
    assert of_task("embeddings", scaling={"max_ongoing_requests": 8}).scale.target_ongoing_requests == 8


def test_an_update_starts_new_replicas_first_where_no_gpu_must_be_spare() -> None:
    assert of_task("speech").scale.surge_percent(has_room=False) == 100
    assert of_task("images", resources={"num_gpus": 1}).scale.surge_percent(has_room=False) == 0
    assert of_task("images", resources={"num_gpus": 1}).scale.surge_percent(has_room=True) == 1  # rounded up to one


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"scaling": {"min_replicas": 0}}, "scaling.min_replicas: 0 contradicts mode active"),
        ({"mode": "flex", "scaling": {"min_replicas": 1}}, "scaling.min_replicas: 1 contradicts mode flex"),
        ({"scaling": {"downscale_to_zero_delay_s": 5}}, "scaling.downscale_to_zero_delay_s: mode active never goes"),
        ({"scaling": {"min_replicas": 3, "max_replicas": 2}}, "scaling.max_replicas (2) is under min_replicas (3)"),
        ({"mode": "flex", "scaling": {"initial_replicas": 2}}, "scaling.initial_replicas: 2 is not between"),
        ({"mode": "flex", "scaling": {"initial_replicas": 0}}, "scaling.initial_replicas: Input should be greater"),
        (
            {"scaling": {"target_ongoing_requests": 9, "max_ongoing_requests": 8}},
            "scaling.target_ongoing_requests: 9 is over max_ongoing_requests (8)",
        ),
        ({"mode": "sleepy"}, "models[0].mode: Input should be 'active' or 'flex'"),
        ({"routing": {"policy": "random"}}, "models[0].routing.policy: Input should be"),
        ({"routing": {"max_imbalance": 3}}, "max_imbalance is an option of policy prefix"),
        ({"task": "speech", "engine": "espeak-ng", "routing": {"policy": "prefix"}}, "prefix is for the task chat"),
    ],
)
def test_a_contradiction_is_refused_by_name(changes: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(entry(**changes))
    assert reported in str(caught.value)
    assert "models[0]" in str(caught.value)


def test_the_limit_of_waking_is_the_entry_s_own_or_the_one_for_all() -> None:
    config = parse_config(
        config_args(
            models=[
                entry(id="a", mode="flex"),
                entry(id="b", mode="flex", scaling={"wake_timeout_s": 7}),
                entry(id="c"),
            ],
            keys=[{"id": "a" * 12, "sha256": "0" * 64}],
            limits={"wake_timeout_s": 20},
        )
    )
    assert config.wake_timeouts_s() == {"a": 20, "b": 7}
    assert config.absence_timeouts_s() == {"c": 20}


class TestWhatServeGets:
    def test_serve_s_own_schema_takes_all_of_it(self) -> None:
        options = {"num_cpus": 2, "num_gpus": 1, "accelerators": ["H200", "H100"]}
        (model,) = parse(
            entry(
                mode="flex",
                scaling={"max_replicas": 4, "surge": 100},
                routing={"policy": "prefix", "max_imbalance": 3},
                resources=options,
            )
        )
        deployment = model_deployment(model)
        config = deployment._deployment_config
        DeploymentSchema.model_validate(
            {
                "name": deployment.name,
                "max_ongoing_requests": config.max_ongoing_requests,
                "max_queued_requests": config.max_queued_requests,
                "max_surge_percent": config.max_surge_percent,
                "autoscaling_config": config.autoscaling_config.model_dump(),
                "request_router_config": config.request_router_config.model_dump(),
                "graceful_shutdown_timeout_s": config.graceful_shutdown_timeout_s,
            }
        )
        actor = RayActorOptionsSchema.model_validate(deployment.ray_actor_options)
        assert actor.label_selector == {"ray.io/accelerator-type": "H200"}
        assert actor.fallback_strategy == [{"label_selector": {"ray.io/accelerator-type": "H100"}}]

    def test_a_fixed_number_needs_no_autoscaler(self) -> None:
        config = model_deployment(of_task("speech"))._deployment_config
        assert (config.num_replicas, config.autoscaling_config) == (1, None)

    @pytest.mark.parametrize(
        ("policy", "router"),
        [
            ("power_of_two", "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"),
            ("session", "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"),
            ("prefix", "app.upstream.prefix_router:PrefixRouter"),
        ],
    )
    def test_a_policy_is_a_router(self, policy: str, router: str) -> None:
        config = model_deployment(of_task("chat", routing={"policy": policy}))._deployment_config
        assert config.request_router_config.request_router_class == router


class TestVersions:
    """A deployment restarts where its version changes, and Serve gives all of an application one."""

    def version(self, **changes: Any) -> str:
        config = model_deployment(of_task("speech", **changes))._deployment_config
        config.version = "what Serve would give to every deployment"
        return str(config.version)

    def test_it_follows_from_what_the_replicas_run(self) -> None:
        before = self.version()
        assert before == self.version()
        assert before != self.version(env={"A": "1"})
        assert before != self.version(source="other")

    def test_numbers_of_replicas_and_routing_do_not_change_it(self) -> None:
        scaling = {"max_replicas": 3, "max_ongoing_requests": 2, "target_ongoing_requests": 1}
        assert self.version() == self.version(scaling=scaling, routing={"policy": "session"})

    def test_it_survives_the_copies_that_serve_makes(self) -> None:
        from ray.serve._private.config import DeploymentConfig

        deployment = model_deployment(of_task("speech")).options(name="other")
        version = deployment._deployment_config.version
        deployment._deployment_config.version = "other"
        assert DeploymentConfig.from_proto_bytes(deployment._deployment_config.to_proto_bytes()).version == version


def test_the_page_tells_the_defaults_as_they_are() -> None:
    page = (PROJECT_FOLDER / "docs" / "scaling.md").read_text()
    rows = {task: (usual.target_ongoing_requests, usual.max_ongoing_requests, usual.max_queued_requests)
            for task, usual in TASKS.items()}  # fmt: skip
    for task, numbers in rows.items():
        assert "| " + " | ".join(map(str, (task, *numbers))) + " |" in page
    per = CHAT_PER_SEQUENCE
    chat = (per.target_ongoing_requests, per.max_ongoing_requests, per.max_queued_requests)
    assert "| chat | " + " | ".join(f"{number} x `max_num_seqs`" for number in chat) + " |" in page
    for reported in (
        f"left out, it is {VLLM_MAX_NUM_SEQS}",
        f"after {MODES['flex'].downscale_to_zero_delay_s} s without a request",
        f"after {MODES['active'].downscale_delay_s} s of less work",
        f"after {MODES['flex'].downscale_delay_s} s |",
        f"after {Scaling().upscale_delay_s:g} s of more work",
        f"`look_back_s` ({Scaling().look_back_s:g} s)",
        f"`kv_cache_target` ({Scaling().kv_cache_target})",
        f"`drain_timeout_s` ({Scaling().drain_timeout_s:g} s)",
        f"`limits.wake_timeout_s` ({Limits().wake_timeout_s:g} s",
        f"`max_imbalance` ({USUAL_MAX_IMBALANCE})",
        f"`remembered_blocks`, {USUAL_REMEMBERED_BLOCKS}",
        f"blocks of {BLOCK_BYTES} bytes (at most {BLOCK_BYTES * MAX_BLOCKS // 1024} KiB)",
    ):
        assert reported in page, reported
