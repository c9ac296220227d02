"""Whether an object is what Kubernetes, or the operator that it is for, takes; an unknown field is a fault."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

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
