"""What the values of the Helm chart change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import check_metrics
from contract.project import PROJECT_FOLDER
from tests.cluster.charts import CHART, PROD, ChartError, example, made, merged, notes, rendered
from tests.cluster.manifests import check, kinds, pods, ray_groups, ray_service, served


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


class TestPods:
    def test_the_image_and_the_secret_of_its_registry_reach_every_pod(self) -> None:
        digest = f"sha256:{'0' * 64}"
        image = {"repository": "registry.example/portico", "tag": "7", "digest": digest, "pullSecret": "registry"}
        for pod in pods(rendered(example("eight-gpus", image=image))):
            assert pod["imagePullSecrets"] == [{"name": "registry"}]
            for container in pod["containers"]:
                assert container["image"] in (f"registry.example/portico:7@{digest}", "redis:7.2.5-alpine")

    def test_models_are_served_as_they_are_written(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        values["models"][0]["engine_kwargs"]["max_model_len"] = 8192
        config = yaml.safe_load(ray_service(rendered(values))["spec"]["serveConfigV2"])
        assert config["applications"][0]["args"]["models"] == values["models"]

    def test_the_inventory_is_the_sum_of_the_groups_of_an_accelerator(self, tmp_path: Path) -> None:
        group = {"replicas": 1, "minReplicas": 1, "cpu": 8, "memory": "64Gi"}
        groups = [
            {"name": "one", "accelerator": "L40S", "gpus": 1, "maxReplicas": 3} | group,
            {"name": "four", "accelerator": "L40S", "gpus": 4, "maxReplicas": 2} | group,
            {"name": "large", "accelerator": "H100", "gpus": 8, "maxReplicas": 1} | group,
        ]
        _, config = served(rendered(example(gpuGroups=groups)), tmp_path)
        assert config.cluster.gpus == {"L40S": 11, "H100": 8}

    def test_there_is_no_inventory_where_the_gpus_of_a_group_may_be_any(self, tmp_path: Path) -> None:
        """An inventory of the others alone would refuse models that this group has room for."""
        group = {"replicas": 1, "minReplicas": 1, "maxReplicas": 1, "cpu": 8, "memory": "64Gi"}
        groups = [
            {"name": "named", "accelerator": "L40S", "gpus": 1} | group,
            {"name": "any", "gpus": 8} | group,
        ]
        model = {"id": "large", "task": "chat", "engine": "vllm", "source": "a/b", "resources": {"num_gpus": 4}}
        model["engine_kwargs"] = {"tensor_parallel_size": 4}
        _, config = served(rendered(example(gpuGroups=groups, models=[model])), tmp_path)
        assert config.cluster.gpus == {}

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

    def test_pods_have_the_priority_classes_that_are_made(self) -> None:
        objects = made("eight-gpus")
        made_here = {name for kind, name in objects if kind == "PriorityClass"}
        groups = ray_groups(ray_service(objects))
        named = [group["template"]["spec"].get("priorityClassName") for group in groups]
        assert set(filter(None, named)) == made_here
        assert named[0] == "portico-head"

    def test_the_hub_s_token_is_only_where_models_load(self) -> None:
        objects = made("eight-gpus")
        for group in ray_groups(ray_service(objects)):
            (container,) = group["template"]["spec"]["containers"]
            known = [one["name"] for one in container.get("env", [])]
            assert known == (["HF_TOKEN"] if "nvidia.com/gpu" in container["resources"]["limits"] else [])

    def test_the_hub_s_token_is_on_gateway_pods_too_where_a_model_without_a_gpu_may_load(self) -> None:
        values = example("eight-gpus")
        values["models"].append({"id": "small", "task": "speech", "engine": "vits", "source": "a/b"})
        with_token = {
            group.get("groupName", "head")
            for group in ray_groups(ray_service(rendered(values)))
            for one in group["template"]["spec"]["containers"][0].get("env", [])
            if one["name"] == "HF_TOKEN"
        }
        assert with_token == {"gateway", "h100"}

    def test_variables_reach_every_container_of_the_image(self) -> None:
        variable = {"name": "NO_PROXY", "value": "*"}
        for pod in pods(rendered(example("eight-gpus", env=[variable]))):
            (container,) = pod["containers"]
            assert (variable in container.get("env", [])) == ("/portico:" in container["image"])

    def test_without_a_password_redis_and_ray_do_without_one(self) -> None:
        objects = rendered(example(secrets={"redis": {"name": ""}}))
        (container,) = objects["StatefulSet", "portico-redis"]["spec"]["template"]["spec"]["containers"]
        assert "env" not in container
        assert container["args"] == [
            "exec redis-server --appendonly yes --maxmemory-policy noeviction --protected-mode no"
        ]
        assert container["readinessProbe"]["exec"]["command"] == ["sh", "-c", "redis-cli ping | grep -q PONG"]
        options = ray_service(objects)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        assert options == {"redisAddress": "portico-redis:6379"}
        check(objects["StatefulSet", "portico-redis"])

    def test_a_managed_redis_takes_the_place_of_the_chart_s_own(self) -> None:
        objects = rendered(example(redis={"enabled": False, "address": "redis.example.com:6380"}))
        assert "StatefulSet" not in kinds(objects)
        options = ray_service(objects)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
        assert options["redisAddress"] == "redis.example.com:6380"
        assert "gcsFaultToleranceOptions" not in ray_service(made("one-gpu"))["spec"]["rayClusterConfig"]

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
        for group in ray_groups(ray_service(made("one-gpu"))):
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
        before, after = ray_service(made("several-accelerators")), ray_service(made("incremental-upgrade"))
        changed = [name for name, one in after["spec"].items() if one != before["spec"][name]]
        assert changed == ["upgradeStrategy"]
        assert before["spec"]["upgradeStrategy"] == {"type": "NewCluster"}

    def test_is_one_that_the_operator_takes(self) -> None:
        """What its own check asks for, and no schema says."""
        spec = ray_service(made("incremental-upgrade"))["spec"]
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
        ingress = made("incremental-upgrade")["Ingress", "portico"]["spec"]
        (rule,) = ingress["rules"]
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": "portico-gateway-istio", "port": {"number": 80}}
        assert ingress["tls"] == [{"hosts": ["ai.example.com"], "secretName": "ai-example-com"}]

    def test_an_http_route_sends_to_kuberay_s_service_for_as_long_as_a_stream_may_last(self) -> None:
        (rule,) = made("eight-gpus")["HTTPRoute", "portico"]["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "portico-serve-svc", "port": 8000}]
        lines = (PROJECT_FOLDER / "cluster" / "serve.env").read_text().splitlines()
        longest = dict(line.split("=", 1) for line in lines if "=" in line)["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]
        assert rule["timeouts"] == {"request": f"{longest}s"}

    def test_there_is_none_unless_asked_for(self) -> None:
        assert kinds(made("default")) & {"Ingress", "HTTPRoute"} == set()


class TestMonitoring:
    def test_prometheus_finds_the_metrics_port_of_every_ray_pod(self) -> None:
        monitor = made("eight-gpus")["PodMonitor", "portico"]["spec"]
        ports = {one["port"] for one in monitor["podMetricsEndpoints"]}
        for group in ray_groups(ray_service(made("eight-gpus"))):
            assert monitor["selector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
            (container,) = group["template"]["spec"]["containers"]
            assert ports <= {one["name"] for one in container["ports"]}

    def test_the_alerts_are_those_of_the_project(self) -> None:
        rule = made("eight-gpus")["PrometheusRule", "portico"]
        assert rule["spec"] == yaml.safe_load(check_metrics.RULES.read_text())
        assert rule["metadata"]["labels"]["release"] == "prometheus"

    def test_the_dashboard_is_that_of_the_project(self) -> None:
        dashboard = made("eight-gpus")["ConfigMap", "portico-dashboard"]
        assert dashboard["data"] == {"portico.json": check_metrics.DASHBOARD.read_text()}
        assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"

    def test_there_is_none_unless_asked_for(self) -> None:
        assert kinds(made("default")) & {"PodMonitor", "PrometheusRule", "ConfigMap"} == set()


class TestSecrets:
    def test_come_from_the_store_under_the_names_that_pods_look_for(self) -> None:
        objects = made("external-secrets")
        from_the_store = {
            (one["spec"]["target"]["name"], data["secretKey"])
            for (kind, _), one in objects.items()
            if kind == "ExternalSecret"
            for data in one["spec"]["data"]
        }
        others = [one for (kind, _), one in objects.items() if kind != "ExternalSecret"]
        references = set(secret_references(others))
        assert from_the_store == references

    def test_are_there_already_unless_a_store_has_them(self) -> None:
        assert "ExternalSecret" not in kinds(made("several-accelerators"))


class TestSmoke:
    def test_is_a_pod_of_helm_test_with_a_key_of_its_own(self) -> None:
        pod = made("eight-gpus")["Pod", "portico-smoke"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        (container,) = pod["spec"]["containers"]
        assert container["args"] == ["portico", "smoke", "http://portico-serve-svc:8000/v1"]
        (key,) = container["env"]
        assert (key["name"], key["valueFrom"]["secretKeyRef"]) == (
            "OPENAI_API_KEY", {"name": "portico-smoke", "key": "api-key"},
        )  # fmt: skip
        assert "helm -n inference test portico --logs" in notes(example("eight-gpus"))

    def test_is_not_there_without_a_key(self) -> None:
        assert "Pod" not in kinds(made("default"))
        assert "helm" not in notes({})


class TestPrefetch:
    @staticmethod
    def job(values: dict[str, Any]) -> dict[str, Any]:
        (found,) = [one for (kind, _), one in rendered(values).items() if kind == "Job"]
        return found

    def test_reads_the_configuration_of_the_service(self) -> None:
        objects = made("eight-gpus")
        job = self.job(example("eight-gpus"))
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["portico", "fetch", "/etc/portico-config/config.yaml"]
        config = objects["ConfigMap", "portico-prefetch"]["data"]["config.yaml"]
        assert yaml.safe_load(config) == yaml.safe_load(ray_service(objects)["spec"]["serveConfigV2"])

    def test_is_another_job_for_other_weights_or_another_pod_and_the_same_for_other_options(self) -> None:
        values = example("eight-gpus")
        name = self.job(values)["metadata"]["name"]
        other = json.loads(json.dumps(values))
        other["models"][0]["engine_kwargs"]["max_num_seqs"] = 1
        assert self.job(other)["metadata"]["name"] == name
        for changed in (
            {"revision": "0" * 40},
            {"adapters": [{"id": "sql", "source": "a/sql"}]},
            {"engine_kwargs": {"safety_checker": "a/checker"}},
            {"engine_kwargs": {"safety_checker_revision": "0" * 40}},
        ):
            other = json.loads(json.dumps(values))
            other["models"][0] = merged(other["models"][0], changed)
            assert self.job(other)["metadata"]["name"] != name, changed
        other = example("eight-gpus", env=[{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}])
        assert self.job(other)["metadata"]["name"] != name, "the pod of a Job cannot be changed"

    def test_as_a_hook_it_comes_before_an_upgrade(self) -> None:
        job = self.job(example("eight-gpus", prefetch={"hooks": ["post-install", "pre-upgrade"]}))
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"
        assert job["metadata"]["name"] == "portico-prefetch"

    def test_ends_after_two_hours_or_what_the_values_say(self) -> None:
        job = self.job(example("eight-gpus"))
        assert job["spec"]["activeDeadlineSeconds"] == 7200
        longer = self.job(example("eight-gpus", prefetch={"activeDeadlineSeconds": 1_000_000}))
        assert longer["spec"]["activeDeadlineSeconds"] == 1_000_000
        assert longer["metadata"]["name"] != job["metadata"]["name"], "one that has failed would not run again"
        assert (
            "activeDeadlineSeconds"
            not in self.job(example("eight-gpus", prefetch={"activeDeadlineSeconds": None}))["spec"]
        )

    def test_before_the_installation_it_needs_a_claim_that_is_there(self) -> None:
        prefetch = {"hooks": ["pre-install"]}
        with pytest.raises(ChartError, match=r"set sharedStorage\.existingClaim"):
            rendered(example("eight-gpus", prefetch=prefetch))
        job = self.job(example("eight-gpus", prefetch=prefetch, sharedStorage={"existingClaim": "models"}))
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install"

    def test_before_the_installation_the_hub_s_secret_is_not_there_from_a_store(self) -> None:
        values = example(
            "eight-gpus",
            "external-secrets",
            prefetch={"hooks": ["pre-install"]},
            sharedStorage={"existingClaim": "models"},
        )
        with pytest.raises(ChartError, match=r"secrets\.hub\.remote.*post-install"):
            rendered(values)
