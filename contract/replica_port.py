"""The ports between replicas: that of Ray Serve, which it opens on all interfaces, and the address for our own."""

import sys
from ipaddress import ip_address
from typing import Any

LOOPBACK = "127.0.0.1"


def node_address() -> str:
    """Where other nodes reach this one, as Ray knows it; loopback without Ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return LOOPBACK
    return str(ray.util.get_node_ip_address())


def keep_on_loopback() -> None:
    """Where this node is reached on loopback only, let Serve's port be there too: the adapter to that name of Serve's.
    No effect without Serve.

    For the constructor of a replica's class: Serve opens the port once that has ended.
    """
    serve_replica = sys.modules.get("ray.serve._private.replica")
    if serve_replica is None:
        return
    import ray  # noqa: PLC0415 - engines run without it, too
    from ray._common.tls_utils import add_port_to_grpc_server  # noqa: PLC0415

    address = ray.util.get_node_ip_address()
    if not ip_address(address).is_loopback:
        return

    def add_port(server: Any, _: str) -> int:
        return add_port_to_grpc_server(server, f"{address}:0")  # type: ignore[no-any-return]

    serve_replica.add_port_to_grpc_server = add_port  # type: ignore[attr-defined]
