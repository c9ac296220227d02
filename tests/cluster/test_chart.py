"""The Helm chart: what each example makes is legal and whole, what its values do, and which it refuses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

from app.builder import ingress_deployment, model_deployment
from app.commands.findings.whole_file import findings
from app.config.service import Config, read_serve_config
from cluster import chart, check_metrics
from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.charts import (
    CHART,
    EXAMPLES,
    PROD,
    RELEASES,
    ChartError,
    Objects,
    Values,
    example,
    lint,
    notes,
    rendered,
)
from tests.cluster.growth import machines_for
from tests.cluster.manifests import KUBERNETES, check, pod_template, ray_groups

MADE = {name: rendered(example(*examples)) for name, examples in RELEASES.items()}
by_release = pytest.mark.parametrize("release", RELEASES)
by_version = pytest.mark.parametrize("version", KUBERNETES)


def ray_service(objects: Objects) -> dict[str, Any]:
    (found,) = [one for (kind, _), one in objects.items() if kind == "RayService"]
    return found


def kinds(objects: Objects) -> set[str]:
    return {kind for kind, _ in objects}


def pods(objects: Objects) -> list[dict[str, Any]]:
    """The specs of all pods that come of these objects."""
    groups = [group["template"]["spec"] for group in ray_groups(ray_service(objects))]
    others = [one["spec"] for (kind, _), one in objects.items() if kind in ("StatefulSet", "Job")]
    return [*groups, *(one["template"]["spec"] for one in others), *(
        one["spec"] for (kind, _), one in objects.items() if kind == "Pod"
    )]  # fmt: skip


def secret_references(node: Any) -> Iterator[tuple[str, str]]:
    """The name and the key of each Secret that is named somewhere in there."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from secret_references(child)
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            yield node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]
        if "secret" in node:
            yield from ((node["secret"]["name"], item["key"]) for item in node["secret"]["items"])
        if node.get("mode") == "token":
            yield node["secretName"], "auth_token"


def served(objects: Objects, folder: Path) -> tuple[Path, Config]:
    """The Serve configuration of a release, as a file and as the service reads it."""
    file = folder / "config.yaml"
    file.write_text(ray_service(objects)["spec"]["serveConfigV2"])
    return file, read_serve_config(file)[1]


class TestEveryExample:
    def test_is_a_release_here(self) -> None:
        assert {name for names in RELEASES.values() for name in names} == {path.stem for path in EXAMPLES.iterdir()}

    @by_version
    @by_release
    def test_has_objects_that_kubernetes_and_the_operators_take(self, release: str, version: str) -> None:
        for manifest in MADE[release].values():
            check(manifest, version)
        for group in ray_groups(ray_service(MADE[release])):
            check(pod_template(group), version)

    @by_release
    def test_has_a_configuration_that_the_service_takes(self, release: str, tmp_path: Path) -> None:
        file, config = served(MADE[release], tmp_path)
        assert [str(one) for one in findings(file, quick=True)[0] if one.is_fault] == []
        assert config.keys == []
        assert str(config.key_path()) == "/etc/portico/keys.json"

    @by_release
    def test_has_groups_in_which_every_replica_finds_room_at_the_most(self, release: str, tmp_path: Path) -> None:
        _, config = served(MADE[release], tmp_path)
        ray = ray_service(MADE[release])["spec"]["rayClusterConfig"]
        replicas = [
            model_deployment(one).ray_actor_options for one in config.models for _ in range(one.scale.max_replicas)
        ]
        gateways = [ingress_deployment(config).ray_actor_options] * config.ingress.replicas
        machines = machines_for(_generate_available_node_types_from_ray_cr_spec(ray), [*replicas, *gateways])
        for group in ray["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            assert machines.get(group["groupName"], 0) <= group["maxReplicas"]

    @by_release
    def test_has_pods_without_privileges(self, release: str) -> None:
        for pod in pods(MADE[release]):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        options = ray_service(MADE[release])["spec"]["rayClusterConfig"]["autoscalerOptions"]
        assert options["securityContext"]["allowPrivilegeEscalation"] is False

    @by_release
    def test_holds_no_secret_and_mounts_claims_and_maps_that_are_there(self, release: str) -> None:
        objects = MADE[release]
        assert "Secret" not in kinds(objects)
        volumes = [volume for pod in pods(objects) for volume in pod.get("volumes", [])]
        claims = {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
        maps = {one["configMap"]["name"] for one in volumes if "configMap" in one}
        assert {("PersistentVolumeClaim", name) for name in claims} <= set(objects)
        assert {("ConfigMap", name) for name in maps} <= set(objects)

    @by_release
    def test_names_a_revision_that_prod_yaml_has_too(self, release: str, tmp_path: Path) -> None:
        configs = [read_serve_config(path)[1] for path in (PROJECT_FOLDER / "serve_configs").glob("*.yaml")]
        known = {(model.source, model.revision) for config in configs for model in config.models}
        assert {(one.source, one.revision) for one in served(MADE[release], tmp_path)[1].models} <= known


def test_helm_lint_finds_nothing() -> None:
    assert lint() == []


@pytest.mark.parametrize("kind", sorted({kind for objects in MADE.values() for kind, _ in objects}))
def test_a_misspelt_field_of_an_object_would_be_found(kind: str) -> None:
    found = next(one for objects in MADE.values() for (its, _), one in objects.items() if its == kind)
    wrong = json.loads(json.dumps(found))
    wrong["spec" if "spec" in wrong else "metadata"]["mispelt"] = {}
    with pytest.raises(jsonschema.ValidationError, match="mispelt"):
        check(wrong)


@pytest.mark.parametrize("name", chart.files())
def test_what_the_chart_repeats_is_up_to_date(name: str) -> None:
    assert (CHART / name).read_text() == chart.files()[name], "run `python -m cluster.chart`"


def test_versions_are_those_of_the_project() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (VERSION, VERSION)
    ray = ray_service(MADE["default"])["spec"]["rayClusterConfig"]
    assert f"\nray=={ray['rayVersion']} " in (PROJECT_FOLDER / "locks" / "gpu.txt").read_text()
    images = {container["image"] for pod in pods(MADE["eight-gpus"]) for container in pod["containers"]}
    assert {image.rpartition(":")[2] for image in images if "/portico" in image} == {VERSION}


def test_a_release_of_another_name_shares_no_object_with_the_first() -> None:
    first, second = (rendered(example("eight-gpus"), release) for release in ("portico", "portico-canary"))
    shared = {name for name in set(first) & set(second) if name[0] != "PriorityClass"}  # which the values name
    assert shared == set()
    assert ("RayService", "trial-portico") in rendered({}, "trial")


class TestValues:
    """What they change."""

    def test_a_tag_of_the_image_and_its_secret_reach_every_pod(self) -> None:
        image = {"repository": "ghcr.example/portico", "tag": "7", "pullSecret": "registry"}
        for pod in pods(rendered(example("eight-gpus", image=image))):
            assert pod["imagePullSecrets"] == [{"name": "registry"}]
            for container in pod["containers"]:
                assert container["image"] in ("ghcr.example/portico:7", "redis:7.2.5-alpine")

    def test_models_may_be_changed_one_field_at_a_time_on_the_command_line(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        values["models"][0]["engine_kwargs"]["max_model_len"] = 8192
        config = yaml.safe_load(ray_service(rendered(values))["spec"]["serveConfigV2"])
        assert config["applications"][0]["args"]["models"] == values["models"]

    def test_the_inventory_is_the_sum_of_the_groups_of_an_accelerator(self, tmp_path: Path) -> None:
        group = {"replicas": 1, "minReplicas": 1, "cpu": 8, "memory": "64Gi"}
        groups = [
            {"name": "one", "accelerator": "L40S", "gpus": 1, "maxReplicas": 3} | group,
            {"name": "four", "accelerator": "L40S", "gpus": 4, "maxReplicas": 2} | group,
            {"name": "any", "gpus": 8, "maxReplicas": 9} | group,
        ]
        _, config = served(rendered(example(gpuGroups=groups)), tmp_path)
        assert config.cluster.gpus == {"L40S": 11}

    def test_placement_reaches_the_pods_of_its_group_alone(self) -> None:
        placement = {
            "nodeSelector": {"pool": "a"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
        }
        head, gateway, *_ = ray_groups(ray_service(rendered(example(gateway=placement))))
        assert placement.items() <= gateway["template"]["spec"].items()
        assert placement.keys() & head["template"]["spec"].keys() == set()

    def test_the_hub_s_token_is_only_where_models_load(self) -> None:
        objects = MADE["eight-gpus"]
        for group in ray_groups(ray_service(objects)):
            (container,) = group["template"]["spec"]["containers"]
            known = [one["name"] for one in container.get("env", [])]
            assert known == (["HF_TOKEN"] if "nvidia.com/gpu" in container["resources"]["limits"] else [])

    def test_a_managed_redis_takes_the_place_of_the_chart_s_own(self) -> None:
        objects = rendered(example(redis={"enabled": False, "address": "redis.example.com:6380"}))
        assert "StatefulSet" not in kinds(objects)
        options = ray_service(objects)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        assert options["redisAddress"] == "redis.example.com:6380"
        assert "gcsFaultToleranceOptions" not in ray_service(MADE["one-gpu"])["spec"]["rayClusterConfig"]

    def test_a_claim_that_is_there_takes_the_place_of_the_chart_s_own(self) -> None:
        objects = rendered(example("eight-gpus", sharedStorage={"existingClaim": "models"}))
        assert "PersistentVolumeClaim" not in kinds(objects)
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for pod in pods(objects)
            for volume in pod.get("volumes", [])
            if "persistentVolumeClaim" in volume
        }
        assert claims == {"models"}

    def test_without_images_no_secret_for_them_is_mounted(self) -> None:
        for group in ray_groups(ray_service(MADE["one-gpu"])):
            (secrets,) = [one["projected"] for one in group["template"]["spec"]["volumes"] if one["name"] == "secrets"]
            assert [one["secret"]["name"] for one in secrets["sources"]] == ["portico-keys"]

    def test_the_api_may_be_for_some_clients_only_and_for_the_smoke_test(self) -> None:
        clients = [{"namespaceSelector": {"matchLabels": {"team": "search"}}}]
        objects = rendered(example("eight-gpus", networkPolicy={"clients": clients}))
        rules = objects["NetworkPolicy", "portico"]["spec"]["ingress"]
        (api,) = [rule for rule in rules if [port["port"] for port in rule.get("ports", [])] == [8000]]
        assert api["from"][0] == clients[0]
        assert api["from"][1]["podSelector"]["matchLabels"] == objects["Pod", "portico-smoke"]["metadata"]["labels"]
        assert "NetworkPolicy" not in kinds(rendered(example(networkPolicy={"enabled": False})))


class TestUpgrade:
    def test_changes_the_strategy_alone(self) -> None:
        before, after = ray_service(MADE["several-accelerators"]), ray_service(MADE["incremental-upgrade"])
        changed = [name for name, one in after["spec"].items() if one != before["spec"][name]]
        assert changed == ["upgradeStrategy"]
        assert before["spec"]["upgradeStrategy"] == {"type": "NewCluster"}

    def test_is_one_that_the_operator_takes(self) -> None:
        """What its own check asks for, and no schema says."""
        spec = ray_service(MADE["incremental-upgrade"])["spec"]
        options = spec["upgradeStrategy"]["clusterUpgradeOptions"]
        assert spec["upgradeStrategy"]["type"] == "NewClusterWithIncrementalUpgrade"
        assert 0 < options["stepSizePercent"] <= options["maxSurgePercent"] <= 100
        assert options["intervalSeconds"] > 0
        assert options["gatewayClassName"]
        assert spec["rayClusterConfig"]["enableInTreeAutoscaling"] is True

    def test_step_by_step_asks_which_service_clients_come_through(self) -> None:
        values = example(*PROD, "incremental-upgrade", endpoint={"service": ""})
        with pytest.raises(ChartError, match=r"endpoint\.service is empty"):
            rendered(values)


class TestWayIn:
    def test_an_ingress_sends_to_the_endpoint(self) -> None:
        ingress = MADE["incremental-upgrade"]["Ingress", "portico"]["spec"]
        (rule,) = ingress["rules"]
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": "portico-gateway-istio", "port": {"number": 80}}
        assert ingress["tls"] == [{"hosts": ["ai.example.com"], "secretName": "ai-example-com"}]

    def test_an_http_route_sends_to_kuberay_s_service_for_as_long_as_a_stream_may_last(self) -> None:
        (rule,) = MADE["eight-gpus"]["HTTPRoute", "portico"]["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "portico-serve-svc", "port": 8000}]
        lines = (PROJECT_FOLDER / "cluster" / "serve.env").read_text().splitlines()
        longest = dict(line.split("=", 1) for line in lines if "=" in line)["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]
        assert rule["timeouts"] == {"request": f"{longest}s"}

    def test_there_is_none_unless_asked_for(self) -> None:
        assert kinds(MADE["default"]) & {"Ingress", "HTTPRoute"} == set()


class TestMonitoring:
    OBJECTS = MADE["eight-gpus"]

    def test_prometheus_finds_the_metrics_port_of_every_ray_pod(self) -> None:
        monitor = self.OBJECTS["PodMonitor", "portico"]["spec"]
        ports = {one["port"] for one in monitor["podMetricsEndpoints"]}
        for group in ray_groups(ray_service(self.OBJECTS)):
            assert monitor["selector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
            (container,) = group["template"]["spec"]["containers"]
            assert ports <= {one["name"] for one in container["ports"]}

    def test_the_alerts_are_those_of_the_project(self) -> None:
        rule = self.OBJECTS["PrometheusRule", "portico"]
        assert rule["spec"] == yaml.safe_load(check_metrics.RULES.read_text())
        assert rule["metadata"]["labels"]["release"] == "prometheus"

    def test_the_dashboard_is_that_of_the_project(self) -> None:
        dashboard = self.OBJECTS["ConfigMap", "portico-dashboard"]
        assert dashboard["data"] == {"portico.json": check_metrics.DASHBOARD.read_text()}
        assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"

    def test_there_is_none_unless_asked_for(self) -> None:
        assert kinds(MADE["default"]) & {"PodMonitor", "PrometheusRule", "ConfigMap"} == set()


class TestSecrets:
    def test_come_from_the_store_under_the_names_that_pods_look_for(self) -> None:
        objects = MADE["external-secrets"]
        made = {
            (one["spec"]["target"]["name"], data["secretKey"])
            for (kind, _), one in objects.items()
            if kind == "ExternalSecret"
            for data in one["spec"]["data"]
        }
        others = [one for (kind, _), one in objects.items() if kind != "ExternalSecret"]
        references = set(secret_references(others))
        assert made == references

    def test_are_not_asked_of_a_store_that_is_not_named(self) -> None:
        assert "ExternalSecret" not in kinds(MADE["several-accelerators"])


class TestSmoke:
    def test_is_a_pod_of_helm_test_with_a_key_of_its_own(self) -> None:
        pod = MADE["eight-gpus"]["Pod", "portico-smoke"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        (container,) = pod["spec"]["containers"]
        assert container["args"] == ["portico", "smoke", "http://portico-serve-svc:8000/v1"]
        (key,) = container["env"]
        assert (key["name"], key["valueFrom"]["secretKeyRef"]) == (
            "OPENAI_API_KEY", {"name": "portico-smoke", "key": "api-key"},
        )  # fmt: skip
        assert "helm -n inference test portico --logs" in notes(example("eight-gpus"))

    def test_is_not_there_without_a_key(self) -> None:
        assert "Pod" not in kinds(MADE["default"])
        assert "helm" not in notes({})


class TestPrefetch:
    @staticmethod
    def job(values: dict[str, Any]) -> dict[str, Any]:
        (found,) = [one for (kind, _), one in rendered(values).items() if kind == "Job"]
        return found

    def test_reads_the_configuration_of_the_service(self) -> None:
        objects = MADE["eight-gpus"]
        job = self.job(example("eight-gpus"))
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["portico", "fetch", "/etc/portico-config/config.yaml"]
        config = objects["ConfigMap", job["metadata"]["name"]]["data"]["config.yaml"]
        assert yaml.safe_load(config) == yaml.safe_load(ray_service(objects)["spec"]["serveConfigV2"])

    def test_is_another_job_for_other_weights_and_the_same_for_other_options(self) -> None:
        values = example("eight-gpus")
        name = self.job(values)["metadata"]["name"]
        other = json.loads(json.dumps(values))
        other["models"][0]["engine_kwargs"]["max_num_seqs"] = 1
        assert self.job(other)["metadata"]["name"] == name
        other["models"][0]["revision"] = "0" * 40
        assert self.job(other)["metadata"]["name"] != name

    def test_as_a_hook_it_comes_before_an_upgrade(self) -> None:
        job = self.job(example("eight-gpus", prefetch={"hooks": ["post-install", "pre-upgrade"]}))
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"
        assert job["metadata"]["name"] == "portico-prefetch"


WRONG: dict[str, tuple[Values, str]] = {
    "no model": ({"models": []}, "/models"),
    "a misspelt field of a model": (
        {"models": [{"id": "a", "task": "chat", "engine": "vllm", "source": "./a", "engine_args": {}}]},
        "engine_args",
    ),
    "an unknown task": ({"models": [{"id": "a", "task": "talk", "engine": "vllm", "source": "./a"}]}, "/models/0/task"),
    "a wrong bound of the configuration": ({"config": {"limits": {"max_body_bytes": -1}}}, "max_body_bytes"),
    "a field that the chart fills in": ({"config": {"key_file": "/keys.json"}}, "key_file"),
    "a misspelt value": ({"gatway": {}}, "gatway"),
    "a misspelt field of a group": ({"gateway": {"nodeSelectors": {}}}, "nodeSelectors"),
    "a group of GPUs without memory": (
        {"gpuGroups": [{"name": "a", "gpus": 1, "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "cpu": 1}]},
        "memory",
    ),
    "no secret for keys": ({"secrets": {"keys": {"name": "", "key": "k"}}}, "/secrets/keys/name"),
    "another key of Ray's token": ({"secrets": {"rayToken": {"name": "a", "key": "token"}}}, "/secrets/rayToken/key"),
    "an ingress without hosts": ({"ingress": {"enabled": True}}, "/ingress/hosts"),
    "a route without a Gateway": ({"httpRoute": {"enabled": True}}, "/httpRoute/parentRefs"),
    "an unknown strategy": ({"upgrade": {"strategy": "Rolling"}}, "/upgrade/strategy"),
    "applications beside the chart's": ({"serve": {"applications": []}}, "/serve"),
}


@pytest.mark.parametrize("what", WRONG)
def test_helm_refuses(what: str) -> None:
    values, place = WRONG[what]
    with pytest.raises(ChartError, match=re.escape(place)):
        rendered(values)
