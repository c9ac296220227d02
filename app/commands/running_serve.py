"""Serve on a Ray that runs already, asked through Ray itself: Ray's dashboard need not be there.

Serve has no public function that takes a config file or tells a controller to do so: its controller is asked by name.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.commands.serve import ON_LOOPBACK
from app.commands.services import NoService
from app.keys.local import is_loopback

CONTROLLER = "SERVE_CONTROLLER_ACTOR"
NAMESPACE = "serve"
CONNECT_SECONDS = 10.0
TOKEN = Path(".ray") / "auth_token"  # in the user's home


@contextmanager
def joined(address: str) -> Iterator[None]:
    """This process is a driver of the cluster at an address, with this user's token. Raises NoService."""
    _refuse_silence(address)
    # Ray reads these when it is imported.
    if (Path.home() / TOKEN).exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if is_loopback(address.rpartition(":")[0]):
        os.environ |= ON_LOOPBACK
    import logging

    import ray

    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise NoService(f"There is no Ray at {address} that lets this user in: {_first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Raises NoService where nothing listens at HOST:PORT: Ray would try for minutes. Other addresses are Ray's own."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise NoService(f"There is no Ray at {address}: {error.strerror or error}. Check the address.") from None


def applications() -> dict[str, Any]:
    """Serve's overview of each application, by its name."""
    from ray import serve

    return dict(serve.status().applications)


def http_port() -> int:
    """The port on which the controller was started to serve. Raises NoService."""
    import ray

    return int(ray.get(_controller().get_http_config.remote()).port)


def args_of(application: str) -> dict[str, Any]:
    """The `args` with which an application was deployed last from a config file; empty where it was not."""
    import ray

    config = ray.get(_controller().get_app_configs.remote()).get(application)
    return {} if config is None else dict(config.args)


def apply(content: dict[str, Any]) -> None:
    """Hand the content of a Serve config file over. Serve then updates by itself. Raises NoService."""
    import ray
    from ray.serve.schema import ServeDeploySchema

    ray.get(_controller().apply_config.remote(ServeDeploySchema.model_validate(content)))


def shut_down() -> None:
    """Stop everything that is served there. Ray goes on."""
    from ray import serve

    serve.shutdown()


def _controller() -> Any:
    import ray

    try:
        return ray.get_actor(CONTROLLER, namespace=NAMESPACE)
    except ValueError:
        raise NoService("Ray runs there, and nothing is served on it.") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
