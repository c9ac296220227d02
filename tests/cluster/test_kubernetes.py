"""What the chart makes for the models of prod.yaml: all objects fit together and the configuration."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

from contract.project import PROJECT_FOLDER
from tests.cluster import charts
from tests.cluster.growth import machines_for
from tests.cluster.manifests import ray_groups
from tests.cluster.needs import (
    CONFIG,
    PROD,
    accelerator,
    gateway_options,
    least_gpus,
    model_options,
    models_by_accelerator,
    most_gpus,
)

OBJECTS = charts.rendered(charts.example(*charts.PROD))
SERVICE = OBJECTS["RayService", "portico"]["spec"]
RAY = SERVICE["rayClusterConfig"]
GROUPS = ray_groups(OBJECTS["RayService", "portico"])
TEMPLATES = [group["template"] for group in GROUPS]
CONTAINERS = [template["spec"]["containers"][0] for template in TEMPLATES]


def test_the_serve_configuration_is_prod_yaml() -> None:
    assert yaml.safe_load(SERVICE["serveConfigV2"]) == PROD


def test_the_serve_variables_are_the_image_s_own() -> None:
    """Every pod starts Ray through the profile, and no manifest sets what the profile sets."""
    for template, container in zip(TEMPLATES, CONTAINERS, strict=True):
        assert template["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
        assert container["command"][0] == "/opt/portico/cluster/with-profile"
        assert "$KUBERAY_GEN_RAY_START_CMD" in container["args"][0]
        assert [one["name"] for one in container.get("env", []) if one["name"].startswith("RAY_")] == []


@pytest.mark.parametrize("container", CONTAINERS, ids=[group.get("groupName", "head") for group in GROUPS])
def test_ray_is_started_as_the_operator_says(container: dict[str, Any], tmp_path: Path) -> None:
    """The operator's command is shell: `ray start --head --redis-password=$REDIS_PASSWORD --resources='{"a": 1}'`."""
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ray.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "REDIS_PASSWORD": "secret",
        "KUBERAY_GEN_RAY_START_CMD": """ray start  --redis-password=$REDIS_PASSWORD  --resources='{"a": 1}' """,
    }
    profile, *shell = container["command"]
    here = profile.replace("/opt/portico", str(PROJECT_FOLDER))
    reported = subprocess.run(
        [here, *shell, *container["args"]], env=variables, capture_output=True, text=True, check=True
    ).stdout
    assert reported.splitlines() == ["start", "--redis-password=secret", '--resources={"a": 1}']


def test_the_head_has_no_work_and_survives() -> None:
    assert RAY["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    redis = OBJECTS["Service", "portico-redis"]
    port = redis["spec"]["ports"][0]["port"]
    assert RAY["gcsFaultToleranceOptions"]["redisAddress"] == f"{redis['metadata']['name']}:{port}"
    assert RAY["enableInTreeAutoscaling"] is True
    assert RAY["autoscalerOptions"]["version"] == "v2"
    assert RAY["authOptions"] == {"mode": "token", "secretName": "portico-ray-token"}


def group_of(accelerator: str) -> dict[str, Any]:
    (group,) = [group for group in RAY["workerGroupSpecs"] if group["groupName"] == accelerator.lower()]
    return group


def limits_of(group: dict[str, Any]) -> dict[str, str]:
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("model", CONFIG.models, ids=lambda model: model.id)
def test_every_model_has_pods_that_it_fits_in(model: Any) -> None:
    limits = limits_of(group_of(accelerator(model)))
    assert model.resources.num_gpus <= int(limits["nvidia.com/gpu"])
    assert model.resources.num_cpus <= int(limits["cpu"])


@pytest.mark.parametrize(("name", "models"), models_by_accelerator().items(), ids=lambda value: str(value)[:5])
def test_all_models_fit_at_their_least_and_at_their_most(name: str, models: list[Any]) -> None:
    group = group_of(name)
    per_pod = int(limits_of(group)["nvidia.com/gpu"])
    assert least_gpus(models) <= group["minReplicas"] * per_pod
    assert most_gpus(models) <= group["maxReplicas"] * per_pod
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert CONFIG.cluster.gpus[name] == group["maxReplicas"] * per_pod, "the inventory of prod.yaml is of other groups"


@pytest.mark.parametrize("model", CONFIG.models, ids=lambda model: model.id)
def test_the_autoscaler_starts_a_pod_of_the_right_group_for_a_model(model: Any) -> None:
    replicas = [model_options(model)] * model.scale.max_replicas
    (group,) = machines_for(_generate_available_node_types_from_ray_cr_spec(RAY), replicas)
    assert group == accelerator(model).lower()


def test_the_autoscaler_starts_pods_without_a_gpu_for_the_gateway() -> None:
    node_types = _generate_available_node_types_from_ray_cr_spec(RAY)
    assert set(machines_for(node_types, [gateway_options()] * CONFIG.ingress.replicas)) == {"gateway"}


def test_a_gateway_replica_fits_beside_others_without_a_gpu() -> None:
    group = next(one for one in RAY["workerGroupSpecs"] if one["groupName"] == "gateway")
    assert int(limits_of(group)["cpu"]) * group["minReplicas"] >= CONFIG.ingress.replicas * CONFIG.ingress.num_cpus


def test_what_the_configuration_names_is_mounted() -> None:
    """The key file and the image secret from Secrets, the images and the snapshot in a folder that every pod has."""
    named = [CONFIG.key_file, CONFIG.kept_images.secret_file]
    shared = [CONFIG.kept_images.location, CONFIG.budgets.snapshot]
    assert all(named + shared)
    for template, container in zip(TEMPLATES, CONTAINERS, strict=True):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        secrets = volumes[mounts["/etc/portico"]["name"]]["projected"]["sources"]
        files = [f"/etc/portico/{item['path']}" for source in secrets for item in source["secret"]["items"]]
        assert set(files) == set(named)
        assert "subPath" not in mounts["/etc/portico"], "a changed Secret would not arrive"
        assert volumes[mounts["/mnt/shared"]["name"]]["persistentVolumeClaim"]["claimName"] == "portico-shared"
        assert all(str(path).startswith("/mnt/shared/") for path in shared)
    assert OBJECTS["PersistentVolumeClaim", "portico-shared"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_worker_that_ends_has_the_time_to_hand_its_work_on() -> None:
    """Kubernetes waits longer than Ray, and Ray longer than a replica may finish what it has."""
    lines = (PROJECT_FOLDER / "cluster" / "serve.env").read_text().splitlines()
    drain_s = int(dict(line.split("=", 1) for line in lines if "=" in line)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    for group in RAY["workerGroupSpecs"]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= drain_s + 30
    times = [CONFIG.ingress.drain_timeout_s, *(model.scale.drain_timeout_s for model in CONFIG.models)]
    assert max(times) + 240 <= drain_s, "those that replace a replica need time to start"


def test_only_the_api_is_open_to_everybody() -> None:
    rules = OBJECTS["NetworkPolicy", "portico"]["spec"]
    assert rules["podSelector"]["matchLabels"].items() <= TEMPLATES[0]["metadata"]["labels"].items()
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    for_everybody = [rule for rule in rules["ingress"] if "from" not in rule]
    assert [port["port"] for rule in for_everybody for port in rule["ports"]] == [PROD["http_options"]["port"]]


def test_evictions_leave_some_pods_of_every_group_and_take_some() -> None:
    """Shares would not work: a RayCluster has no scale."""
    budgets = {name: one["spec"] for (kind, name), one in OBJECTS.items() if kind == "PodDisruptionBudget"}
    for group in RAY["workerGroupSpecs"]:
        budget = budgets.pop(f"portico-{group['groupName']}")
        assert 1 <= budget["minAvailable"] < group["minReplicas"]
        labels = group["template"]["metadata"]["labels"] | {"ray.io/group": group["groupName"]}
        assert budget["selector"]["matchLabels"] == labels
    redis = budgets.pop("portico-redis")
    pods = OBJECTS["StatefulSet", "portico-redis"]["spec"]["template"]["metadata"]["labels"]
    assert redis["selector"]["matchLabels"] == pods
    assert budgets == {}
