"""The objects of a release: what is in them, and whether Kubernetes, or the operator that one is for, takes them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from app.config.service import Config, read_serve_config
from tests.cluster.charts import Objects

SCHEMAS = {path.stem: path for path in Path(__file__).with_name("schemas").glob("*.json")}
KUBERNETES = ("1.31", "1.36")  # the oldest and the newest that the chart is for


def closed(schema: Any) -> Any:
    """`schema`, but an unknown field is a fault, as `kubectl apply --validate=strict` has it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(one) for name, one in schema.items()}
    if isinstance(found.get("properties"), dict) and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def check(manifest: dict[str, Any], version: str = KUBERNETES[0]) -> None:
    """Raises ValidationError (of jsonschema, which Kubernetes' is too)."""
    _check(json.dumps(manifest), version)


@cache  # most objects are in several releases
def _check(manifest: str, version: str) -> None:
    content = json.loads(manifest)
    path = SCHEMAS.get(content["kind"].lower())
    if path is None:
        kubernetes_validate.validate(content, version, strict=True)
    else:
        jsonschema.validate(content, closed(json.loads(path.read_text())))


def ray_groups(ray_service: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's group, then those of the workers."""
    ray = ray_service["spec"]["rayClusterConfig"]
    return [ray["headGroupSpec"], *ray["workerGroupSpecs"]]


def pod_template(group: dict[str, Any]) -> dict[str, Any]:
    """A group's pods as an object of Kubernetes' own: KubeRay's schema leaves them out."""
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}


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


def served(objects: Objects, folder: Path) -> tuple[Path, Config]:
    """The Serve configuration of a release, as a file and as the service reads it."""
    file = folder / "config.yaml"
    file.write_text(ray_service(objects)["spec"]["serveConfigV2"])
    return file, read_serve_config(file)[1]
