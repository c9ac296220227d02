"""The files for one machine with one GPU: Ray's own scheduler finds room for all of their replicas at once."""

import pytest

from app.builder import ingress_deployment, model_deployment
from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from tests.cluster.growth import machines_for

MACHINE = {"one": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4}}


@pytest.mark.parametrize("name", ["one-gpu-chat", "small"])
def test_one_machine_with_8_cores_and_a_gpu_has_room_for_every_replica(name: str) -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / f"{name}.yaml")
    replicas = [model_deployment(model).ray_actor_options for model in config.models]
    assert machines_for(MACHINE, [*replicas, ingress_deployment(config).ray_actor_options]) == {"one": 1}


def test_a_second_replica_of_a_model_that_shares_the_gpu_has_none() -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "small.yaml")
    replicas = [model_deployment(model).ray_actor_options for model in config.models]
    (chat,) = [model_deployment(model).ray_actor_options for model in config.models if model.task == "chat"]
    assert machines_for(MACHINE, [*replicas, chat]) == {"one": 2}
