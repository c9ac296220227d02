"""The files for Ray's cluster launcher: Ray takes them, they fit the configuration, and open nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from app.config.resources import ACCELERATOR_LABEL
from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.charts import CHART
from tests.cluster.growth import machines_for
from tests.cluster.needs import (
    CONFIG,
    accelerator,
    gateway_options,
    model_options,
    models_by_accelerator,
    most_gpus,
)

# The cloud -> what its machines have in place of an accelerator of prod.yaml, as its header says.
INSTEAD = {"aws": {}, "gcp": {"L40S": "RTX-PRO-6000"}}
PATHS = [PROJECT_FOLDER / "cluster" / f"{cloud}.yaml" for cloud in INSTEAD]
by_cloud = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert content["provider"]["type"] == path.stem
    return content


@by_cloud
def test_ray_takes_the_file(path: Path) -> None:
    prepared = prepare_config(read(path))
    validate_config(prepared)
    assert prepared["setup_commands"] == prepared["head_setup_commands"] == prepared["worker_setup_commands"] == []


@by_cloud
def test_ray_would_find_a_misspelt_field(path: Path) -> None:
    with pytest.raises(Exception, match="head_start_ray_command'"):
        validate_config(prepare_config(read(path) | {"head_start_ray_command": []}))


@by_cloud
def test_every_node_starts_ray_with_the_profile(path: Path) -> None:
    content = read(path)
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [command for command in content[name] if "ray start" in command]
        assert "/opt/portico/cluster/with-profile ray start" in start
        assert "RAY_" not in start.replace("$RAY_HEAD_IP", "")


@by_cloud
def test_the_head_has_no_work_and_its_dashboard_is_on_loopback(path: Path) -> None:
    content = read(path)
    assert content["available_node_types"][content["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][-1]


@by_cloud
def test_no_port_is_opened_and_every_node_has_the_token(path: Path) -> None:
    content = read(path)
    assert "IpPermissions" not in content["provider"].get("security_group", {})
    assert "/home/portico/.ray/auth_token" in content["file_mounts"]
    assert not any("publish" in option or "privileged" in option for option in content["docker"]["run_options"])


@by_cloud
def test_what_the_configuration_names_is_there(path: Path) -> None:
    content = read(path)
    mounted = [*content["file_mounts"], *[o.split(":")[-1] for o in content["docker"]["run_options"] if "volume" in o]]
    needed = [CONFIG.key_file, CONFIG.kept_images.secret_file, CONFIG.kept_images.location, CONFIG.budgets.snapshot]
    for place in needed:
        assert place
        assert any(place.startswith(folder + "/") for folder in mounted), place


@by_cloud
def test_a_new_file_system_is_given_to_the_image_s_user(path: Path) -> None:
    image = (PROJECT_FOLDER / "cluster" / "Dockerfile").read_text()
    assert "USER 1000:1000" in image
    *_, mount, owner = read(path)["initialization_commands"]
    assert mount.endswith(" /mnt/shared")
    assert owner == "sudo chown 1000:1000 /mnt/shared"


def machine_with(path: Path, accelerator: str) -> dict[str, Any]:
    labels = {ACCELERATOR_LABEL: INSTEAD[path.stem].get(accelerator, accelerator)}
    types = read(path)["available_node_types"].values()
    (machine,) = [one for one in types if one.get("labels") == labels]
    return machine


@by_cloud
@pytest.mark.parametrize("model", CONFIG.models, ids=lambda model: model.id)
def test_every_model_has_machines_that_it_fits_on(path: Path, model: Any) -> None:
    machine = machine_with(path, accelerator(model))
    assert machine["resources"]["GPU"] >= model.resources.num_gpus
    assert machine["resources"]["CPU"] >= model.resources.num_cpus


@by_cloud
@pytest.mark.parametrize("model", CONFIG.models, ids=lambda model: model.id)
def test_the_autoscaler_starts_the_right_machine_for_a_model(path: Path, model: Any) -> None:
    options = json.dumps(model_options(model))
    for there, here in INSTEAD[path.stem].items():
        options = options.replace(f'"{there}"', f'"{here}"')
    (machine,) = machines_for(read(path)["available_node_types"], [json.loads(options)])
    assert read(path)["available_node_types"][machine] == machine_with(path, accelerator(model))


@by_cloud
def test_the_autoscaler_starts_machines_without_a_gpu_for_the_gateway(path: Path) -> None:
    node_types = read(path)["available_node_types"]
    assert set(machines_for(node_types, [gateway_options()] * CONFIG.ingress.replicas)) == {"gateway"}


@by_cloud
@pytest.mark.parametrize(("name", "models"), models_by_accelerator().items(), ids=lambda value: str(value)[:5])
def test_all_models_fit_at_their_most(path: Path, name: str, models: list[Any]) -> None:
    machine = machine_with(path, name)
    assert most_gpus(models) <= machine["max_workers"] * machine["resources"]["GPU"]


@by_cloud
def test_there_may_be_as_many_machines_as_the_types_say(path: Path) -> None:
    content = read(path)
    types = [one for name, one in content["available_node_types"].items() if name != content["head_node_type"]]
    assert sum(one["max_workers"] for one in types) == content["max_workers"]


@by_cloud
def test_the_image_is_the_one_of_kubernetes(path: Path) -> None:
    image = yaml.safe_load((CHART / "values.yaml").read_text())["image"]
    assert read(path)["docker"]["image"] == f"{image['repository']}:{image['tag'] or VERSION}"
