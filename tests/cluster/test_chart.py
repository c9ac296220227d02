"""The Helm chart: what each example makes is legal and whole, and which values it refuses."""

import json
import re
import tarfile
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

from app.builder import ingress_deployment, model_deployment
from app.commands.findings.whole_file import findings
from app.config.service import read_serve_config
from cluster import chart
from cluster.check_metrics import DASHBOARD, RULES
from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.charts import CHART, EXAMPLES, RELEASES, ChartError, Values, example, lint, made, package, rendered
from tests.cluster.growth import machines_for
from tests.cluster.manifests import KUBERNETES, check, kinds, pod_template, pods, ray_groups, ray_service, served

by_release = pytest.mark.parametrize("release", RELEASES)
by_version = pytest.mark.parametrize("version", KUBERNETES)


class TestEveryExample:
    def test_is_a_release_here(self) -> None:
        assert {name for names in RELEASES.values() for name in names} == {path.stem for path in EXAMPLES.iterdir()}

    @by_version
    @by_release
    def test_has_objects_that_kubernetes_and_the_operators_take(self, release: str, version: str) -> None:
        for manifest in made(release).values():
            check(manifest, version)
        for group in ray_groups(ray_service(made(release))):
            check(pod_template(group), version)

    @by_release
    def test_has_a_configuration_that_the_service_takes(self, release: str, tmp_path: Path) -> None:
        file, config = served(made(release), tmp_path)
        assert [str(one) for one in findings(file, quick=True)[0] if one.is_fault] == []
        assert config.keys == []
        assert str(config.key_path()) == "/etc/portico/keys.json"

    @by_release
    def test_has_groups_in_which_every_replica_finds_room_at_the_most(self, release: str, tmp_path: Path) -> None:
        _, config = served(made(release), tmp_path)
        ray = ray_service(made(release))["spec"]["rayClusterConfig"]
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
        for pod in pods(made(release)):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        options = ray_service(made(release))["spec"]["rayClusterConfig"]["autoscalerOptions"]
        assert options["securityContext"]["allowPrivilegeEscalation"] is False

    @by_release
    def test_holds_no_secret_and_mounts_claims_and_maps_that_are_there(self, release: str) -> None:
        objects = made(release)
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
        assert {(one.source, one.revision) for one in served(made(release), tmp_path)[1].models} <= known


def test_helm_lint_finds_nothing() -> None:
    assert lint() == []


def test_a_package_has_the_alerts_and_the_dashboard(tmp_path: Path) -> None:
    with tarfile.open(package(tmp_path)) as archive:
        for path in (RULES, DASHBOARD):
            member = archive.extractfile(f"portico/files/{path.name}")
            assert member is not None
            assert member.read() == path.read_bytes()


def test_a_misspelt_field_of_an_object_would_be_found() -> None:
    for manifest in {kind: one for name in RELEASES for (kind, _), one in made(name).items()}.values():
        wrong = json.loads(json.dumps(manifest))
        wrong["spec" if "spec" in wrong else "metadata"]["mispelt"] = {}
        with pytest.raises(jsonschema.ValidationError, match="mispelt"):
            check(wrong)


@pytest.mark.parametrize("name", chart.files())
def test_what_the_chart_repeats_is_up_to_date(name: str) -> None:
    assert (CHART / name).read_text() == chart.files()[name], "run `python -m cluster.chart`"


def test_versions_are_those_of_the_project() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (VERSION, VERSION)
    ray = ray_service(made("default"))["spec"]["rayClusterConfig"]
    assert f"\nray=={ray['rayVersion']} " in (PROJECT_FOLDER / "locks" / "gpu.txt").read_text()
    images = {container["image"] for pod in pods(made("eight-gpus")) for container in pod["containers"]}
    assert {image.rpartition(":")[2] for image in images if "/portico" in image} == {VERSION}


def test_a_release_of_another_name_shares_no_object_with_the_first() -> None:
    first, second = (rendered(example("eight-gpus"), release) for release in ("portico", "portico-canary"))
    shared = {name for name in set(first) & set(second) if name[0] != "PriorityClass"}  # which the values name
    assert shared == set()
    assert ("RayService", "trial-portico") in rendered({}, "trial")


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
    "fewer pods than there must be": ({"gateway": {"replicas": 1}}, "gateway: replicas must be minReplicas or more"),
    "a secret of a store that is not named": (
        {"secrets": {"hub": {"name": "a", "key": "b", "remote": {"key": "c"}}}},
        "secrets.hub.remote is set: name the store",
    ),
    "a secret of a store that has no name here": (
        {
            "secrets": {"hub": {"name": "", "key": "b", "remote": {"key": "c"}}},
            "externalSecrets": {"store": {"name": "vault", "kind": "SecretStore"}},
        },
        "secrets.hub.remote is set, and secrets.hub.name is empty",
    ),
    "another port than that of the pods": ({"serve": {"http_options": {"port": 9000}}}, "/serve/http_options/port"),
    "a download without an end": ({"prefetch": {"activeDeadlineSeconds": 0}}, "/prefetch/activeDeadlineSeconds"),
    "an unknown strategy": ({"upgrade": {"strategy": "Rolling"}}, "/upgrade/strategy"),
    "applications beside the chart's": ({"serve": {"applications": []}}, "/serve"),
}


@pytest.mark.parametrize("what", WRONG)
def test_helm_refuses(what: str) -> None:
    values, place = WRONG[what]
    with pytest.raises(ChartError, match=re.escape(place)):
        rendered(values)
