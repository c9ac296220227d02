"""Gives each deployment a version of its own. Private parts of Serve 2.60; the one file that knows them.

Serve gives every deployment of an application one version, a hash of the application's whole configuration. A change of
one model's entry would so restart every model, and the gateway with all its open streams.
"""

import hashlib
from typing import Any

import orjson
import ray
from ray.serve import Deployment
from ray.serve._private.config import DeploymentConfig


class OwnVersion(DeploymentConfig):  # type: ignore[misc]
    """A deployment's configuration that keeps the version it has."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "version" or self.version is None:
            super().__setattr__(name, value)


def with_version(deployment: Deployment, *parts: Any) -> Deployment:
    """`deployment`, restarted only where `parts` (plain data), its resources or the `runtime_env` change."""
    code = ray.get_runtime_context().runtime_env if ray.is_initialized() else {}
    content = orjson.dumps([parts, dict(code)], option=orjson.OPT_SORT_KEYS, default=str)
    version = hashlib.sha256(content).hexdigest()
    config = deployment._deployment_config
    values = {**dict(config), "version": version}
    deployment._deployment_config = OwnVersion.model_construct(config.model_fields_set | {"version"}, **values)
    return deployment
