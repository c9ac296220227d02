"""What `python -m app serve FILE` runs in a process of its own: Ray, Serve, and the application of a config file.

It does what `serve run FILE` does, and what that has no option for: the models of `start_first` are up before the rest
begins to start, and a Ray that it starts itself has no dashboard. Private parts of Serve 2.60, as its own command uses.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve._private.constants import SERVE_NAMESPACE
from ray.serve.schema import ApplicationStatus, LoggingConfig, ServeDeploySchema

from app.config.service import read_serve_config

BUILDER, BUILDER_OF_FIRST = "app.builder:build", "app.builder:build_first"
POLL_SECONDS = 0.25
UNDER_WAY = frozenset({ApplicationStatus.NOT_STARTED, ApplicationStatus.DEPLOYING})


def run(path: Path) -> None:
    """Serve a config file until this process is interrupted. Raises ConfigError, and what Ray raises."""
    content, _ = read_serve_config(path)
    schema = ServeDeploySchema.model_validate(content)
    elsewhere = os.environ.get("RAY_ADDRESS")
    ray.init(elsewhere, namespace=SERVE_NAMESPACE, **({} if elsewhere else {"include_dashboard": False}))
    try:
        client = serve_start(
            http_options=schema.http_options.model_dump(),
            proxy_location=schema.proxy_location,
            grpc_options=schema.grpc_options.model_dump(),
            global_logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
            controller_options=schema.controller_options,
        )
        if (first := only_first(content)) is not None:
            client.deploy_apps(ServeDeploySchema.model_validate(first))
            _wait_until_settled(schema.applications[0].name)
        client.deploy_apps(schema)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()


def only_first(content: dict[str, Any]) -> dict[str, Any] | None:
    """`content` of a config file, so that its first application is of the models of `start_first`; None without such.

    The rest of it stays, so that the update to `content` itself restarts nothing.
    """
    application, *others = content["applications"]
    if not application["args"].get("start_first") or application["import_path"] != BUILDER:
        return None
    return content | {"applications": [application | {"import_path": BUILDER_OF_FIRST}, *others]}


def _wait_until_settled(application: str) -> None:
    """Wait until the application is up, or has failed: that may not keep the other models from starting."""
    while True:
        found = serve.status().applications.get(application)
        if found is not None and found.status not in UNDER_WAY:
            return
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
