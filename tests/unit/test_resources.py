"""GPUs, shares of them, and sums: what fits loads, what cannot is refused with the names of the models."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.builder import model_deployment
from app.config.inventory import least_gpus
from app.config.resources import ACCELERATOR_LABEL
from app.config.service import parse_config
from contract.fields import ConfigError
from tests.unit.conftest import config_args
from tests.unit.test_scaling import entry, parse


def vllm(name: str = "alpha", kwargs: dict[str, Any] | None = None, **resources: Any) -> dict[str, Any]:
    return entry(id=name, engine_kwargs=kwargs or {}, resources=resources)


@pytest.mark.parametrize(
    "fitting",
    [
        vllm(num_gpus=0),
        vllm(num_gpus=1),
        vllm(num_gpus=2, kwargs={"tensor_parallel_size": 2}),
        vllm(num_gpus=8, kwargs={"tensor_parallel_size": 4, "pipeline_parallel_size": 2}),
        vllm(num_gpus=0.25, kwargs={"gpu_memory_utilization": 0.22}),
        vllm(num_gpus=0.5, kwargs={"gpu_memory_utilization": 0.5}),
        entry(task="images", engine="diffusers", resources={"num_gpus": 0.5}),
    ],
)
def test_what_fits_its_reservation_loads(fitting: dict[str, Any]) -> None:
    assert len(parse(fitting)) == 1


@pytest.mark.parametrize(
    ("accelerators", "where"),
    [
        ({}, {}),
        ({"accelerator_type": "H100"}, {"label_selector": {ACCELERATOR_LABEL: "H100"}}),
        (
            {"accelerators": ["H200", "H100"]},
            {
                "label_selector": {ACCELERATOR_LABEL: "H200"},
                "fallback_strategy": [{"label_selector": {ACCELERATOR_LABEL: "H100"}}],
            },
        ),
    ],
    ids=["any", "one", "the first that there is"],
)
def test_where_a_replica_runs_goes_by_the_node_s_label(accelerators: dict[str, Any], where: dict[str, Any]) -> None:
    (model,) = parse(vllm(num_gpus=1, **accelerators))
    assert model.resources.actor_options() == {"num_cpus": 1, "num_gpus": 1} | where


@pytest.mark.parametrize(
    ("model", "reported"),
    [
        (vllm(num_gpus=1, kwargs={"tensor_parallel_size": 2}), "tensor_parallel_size (2) takes 2. Set num_gpus to 2"),
        (
            vllm(num_gpus=2),
            "an engine without parallel sizes takes 1. Set num_gpus to 1, or engine_kwargs.tensor_paral",
        ),
        (vllm(kwargs={"tensor_parallel_size": 4}), "num_gpus: 0 is reserved, and tensor_parallel_size (4) takes 4"),
        (
            vllm(num_gpus=4, kwargs={"tensor_parallel_size": 4, "pipeline_parallel_size": 2}),
            "tensor_parallel_size (4) x pipeline_parallel_size (2) takes 8",
        ),
        (vllm(num_gpus=0.25), "engine_kwargs.gpu_memory_utilization is missing: this model shares a GPU"),
        (
            vllm(num_gpus=0.25, kwargs={"gpu_memory_utilization": 0.9}),
            "engine_kwargs.gpu_memory_utilization: 0.9 of the GPU's memory is more than the share that is reserved "
            "(num_gpus 0.25)",
        ),
        (
            vllm(num_gpus=0.5, kwargs={"gpu_memory_utilization": 0.5, "kv_cache_memory_bytes": "30G"}),
            "engine_kwargs.kv_cache_memory_bytes: with it vLLM no longer keeps to gpu_memory_utilization",
        ),
        (vllm(accelerator_type="H100"), "H100 is given, and num_gpus is 0"),
        (vllm(num_gpus=1, accelerator_type="H100", accelerators=["H200"]), "both given; keep one"),
    ],
)
def test_what_does_not_fit_its_reservation_is_refused_by_name(model: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(model)
    assert reported in str(caught.value)
    assert "models[0]" in str(caught.value)


class TestTheCluster:
    def test_sums_that_fit_load(self) -> None:
        models = [
            vllm("a", num_gpus=1, accelerator_type="L40S"),
            vllm("b", {"gpu_memory_utilization": 0.5}, num_gpus=0.5, accelerator_type="L40S"),
            vllm("c", {"gpu_memory_utilization": 0.5}, num_gpus=0.5),
            vllm("d", {"tensor_parallel_size": 2}, num_gpus=2, accelerators=["H100", "L40S"]),
        ]
        assert len(parse(*models, cluster={"gpus": {"L40S": 2, "H100": 2}})) == 4

    def test_without_an_inventory_nothing_is_added_up(self) -> None:
        assert parse(vllm(num_gpus=1, accelerator_type="H100") | {"scaling": {"min_replicas": 99, "max_replicas": 99}})

    @pytest.mark.parametrize(
        ("models", "gpus", "reported"),
        [
            (
                [vllm("a", num_gpus=1, accelerator_type="H100")],
                {"L40S": 4},
                "a runs on H100, and cluster.gpus has only L40S",
            ),
            (
                [vllm(name, num_gpus=1, accelerator_type="H100") for name in "abc"],
                {"H100": 2, "L40S": 8},
                "run on H100 need at least 3 GPUs (a 1 x 1, b 1 x 1, c 1 x 1), and there are 2",
            ),
            (
                [vllm(name, {"gpu_memory_utilization": 0.6}, num_gpus=0.6) for name in "ab"],
                {"L40S": 1},
                "need at least 2 GPUs (a 1 x 0.6, b 1 x 0.6), and there are 1",
            ),
            (
                [vllm("a", num_gpus=1), vllm("b", {"tensor_parallel_size": 2}, num_gpus=2) | {"mode": "flex"}],
                {"H100": 2},
                "need at least 3 GPUs (a 1 x 1, b 1 x 2), and there are 2",
            ),
        ],
        ids=["no such accelerator", "too many", "large shares", "no room for one that wakes"],
    )
    def test_impossible_sums_are_refused_with_the_names(
        self, models: list[dict[str, Any]], gpus: dict[str, int], reported: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(*models, cluster={"gpus": gpus})
        assert reported in str(caught.value)

    def test_models_that_sleep_take_turns(self) -> None:
        sleepers = [vllm(name, num_gpus=1) | {"mode": "flex"} for name in "abc"]
        assert len(parse(*sleepers, cluster={"gpus": {"H100": 1}})) == 3


@pytest.mark.parametrize(
    ("gpus", "room"),
    [({"L40S": 3}, False), ({"L40S": 4}, True), ({"L40S": 3, "H100": 9}, False), ({}, False)],
    ids=["none to spare", "one to spare", "one of another kind to spare", "no inventory"],
)
def test_an_update_starts_a_replica_first_where_the_inventory_has_room_for_it(gpus: dict[str, int], room: bool) -> None:
    models = [
        vllm("a", num_gpus=1, accelerator_type="L40S") | {"scaling": {"max_replicas": 2}},
        vllm("b", num_gpus=1, accelerator_type="L40S") | {"mode": "flex"},
    ]
    keys = [{"id": "a" * 12, "sha256": "0" * 64}]
    config = parse_config(config_args(models=models, keys=keys, cluster={"gpus": gpus}))
    assert [config.has_room_for_one_more(model) for model in config.models] == [room, room]
    (model, _) = config.models
    deployment = model_deployment(model, has_room=room)
    assert deployment._deployment_config.max_surge_percent == int(room)  # percent, and Serve rounds up


@given(st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 1, 2, 4]), max_size=12))
def test_the_bound_is_never_more_than_a_real_placement_needs(shares: list[float]) -> None:
    free: list[float] = []
    for share in sorted(shares, reverse=True):
        if share >= 1:
            free += [0.0] * int(share)
            continue
        for index, room in enumerate(free):
            if room >= share - 1e-9:
                free[index] = room - share
                break
        else:
            free.append(1 - share)
    assert least_gpus([(1, share) for share in shares]) <= len(free)
