"""What `portico serve FILE` runs in a process of its own: Ray, Serve, and the application of a config file.

It does what `serve run FILE` does, and what that has no option for: the models of `start_first` are up before the rest
begins to start, and a Ray that it starts itself is a small one. Private parts of Serve 2.60, as its own command uses.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import ray

from app.commands import own_ray
from app.commands.http_options import host_of, port_of
from app.commands.serve_probe import Probe
from app.config.service import read_serve_config

BUILDER, BUILDER_OF_FIRST = "app.builder:build", "app.builder:build_first"
LIMIT_SECONDS = 2.0  # for the gateway to take a limit
NAMESPACE = "serve"  # in which Serve looks for its own actors
FAILED = "DEPLOY_FAILED"  # of an application, and of a deployment
UNDER_WAY = frozenset({"NOT_STARTED", "DEPLOYING"})  # of an application
POLL_SECONDS = 0.25
PROXY_SECONDS = 60
LISTED_SECONDS = 30.0  # for the gateway to see that models are up, once Serve says so


class NoGateway(Exception):
    """The gateway did not start. The message is its error."""


def run(path: Path, metrics_port: int) -> None:
    """Serve a config file until this process is interrupted. Raises ConfigError, NoGateway, and what Ray raises."""
    content, _ = read_serve_config(path)
    _start_ray(metrics_port)
    try:
        _deploy(content)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        _stop([application["name"] for application in content["applications"]])


def _start_ray(metrics_port: int) -> None:
    """Start a Ray on this machine, or join that of RAY_ADDRESS. Serve is imported while Ray's processes start."""
    importing = threading.Thread(target=import_module, args=["ray.serve"])
    importing.start()
    if elsewhere := os.environ.get("RAY_ADDRESS"):
        ray.init(elsewhere, namespace=NAMESPACE)
    else:
        own_ray.start(NAMESPACE, metrics_port)
    importing.join()


def _deploy(content: dict[str, Any]) -> None:
    from ray.serve._private.api import _create_controller_and_proxy_refs
    from ray.serve._private.client import ServeControllerClient
    from ray.serve.schema import ServeDeploySchema

    schema, first = ServeDeploySchema.model_validate(content), only_first(content)
    options = schema.controller_options
    if "RAY_ADDRESS" not in os.environ:
        options = options and options.model_copy(update={"runtime_env": variables_to_set(options.runtime_env)})
    controller, proxies = _create_controller_and_proxy_refs(
        schema.http_options.model_dump(),
        schema.grpc_options.model_dump(),
        schema.logging_config,  # of the controller and the proxies too: they write to the same terminal
        None,
        options,
        schema.proxy_location,
    )
    client = ServeControllerClient(controller)
    client.deploy_apps(schema if first is None else ServeDeploySchema.model_validate(first))
    ray.get(proxies, timeout=PROXY_SECONDS)  # they start meanwhile; Serve's own function waits for them first
    _wait_until_settled(schema.applications[0].name)
    if first is not None:
        _wait_until_listed(Probe(host_of(content), port_of(content)), schema.applications[0].args["start_first"])
        client.deploy_apps(schema)


def only_first(content: dict[str, Any]) -> dict[str, Any] | None:
    """`content` of a config file, so that its first application is of the models of `start_first`; None without such.

    The rest of it stays, so that the update to `content` itself restarts nothing.
    """
    application, *others = content["applications"]
    if not application["args"].get("start_first") or application["import_path"] != BUILDER:
        return None
    return content | {"applications": [application | {"import_path": BUILDER_OF_FIRST}, *others]}


def variables_to_set(
    runtime_env: dict[str, Any] | None, environment: Mapping[str, str] = os.environ
) -> dict[str, Any] | None:
    """The controller's `runtime_env`, in which Serve takes variables only, without those that `environment` has.

    Ray's processes inherit these. One that is given variables is started anew, and so is each that the controller asks
    for; without any they take one that Ray has started by then.
    """
    variables = (runtime_env or {}).get("env_vars", {})
    left = {name: value for name, value in variables.items() if environment.get(name) != value}
    return {"env_vars": left} if left else None


def _wait_until_settled(application: str) -> None:
    """Wait until the application is up, or has failed: that may not keep the other models from starting.

    Raises NoGateway where the gateway failed: nobody would ever answer.
    """
    from ray import serve

    from app.serving.ingress import INGRESS_NAME

    while True:
        found = serve.status().applications.get(application)
        if found is not None and found.status not in UNDER_WAY:
            break
        time.sleep(POLL_SECONDS)
    gateway = found.deployments.get(INGRESS_NAME)
    if gateway is None or gateway.status == FAILED:
        raise NoGateway((gateway or found).message)


def _wait_until_listed(probe: Probe, models: list[str], seconds: float = LISTED_SECONDS) -> None:
    """Wait until the gateway knows what became of these models: whoever waits for one would wait for the others too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        chosen = [one for one in probe.look().models if one.id in models]
        if chosen and all(one.is_settled for one in chosen):
            return
        time.sleep(POLL_SECONDS)


def _stop(applications: list[str]) -> None:
    """Let requests under way end, for as long as who started this process lets it; then stop Serve.

    Serve's own shutdown ends its proxies first, and with them every connection of a client.
    """
    from ray import serve

    with suppress(TimeoutError):
        for name in applications:
            _limit_drain(name)
            serve.delete(name)
    serve.shutdown()


def _limit_drain(application: str) -> None:
    """Have the gateway end its streams before this service is killed, and say so to their clients."""
    from ray.serve.handle import DeploymentHandle

    from app.commands.foreground import DRAIN_SECONDS
    from app.serving.ingress import INGRESS_NAME

    gateway = DeploymentHandle(INGRESS_NAME, application)
    gateway._init(_run_router_in_separate_loop=True)  # this process has no loop that runs
    try:
        gateway.broadcast("limit_drain", DRAIN_SECONDS).results(timeout_s=LIMIT_SECONDS)
    except Exception as error:  # there may be no gateway yet, or not of ours: then there are no streams
        print(f"{application}: streams that take too long will be cut: {error}", flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
