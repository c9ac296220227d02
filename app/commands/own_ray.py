"""The Ray that a local service starts for itself, without the processes that nobody there asks for anything.

Private parts of Ray 2.60: `ray.init` has no switch for two of them. Each takes more than a second of a CPU to start.
The autoscaler would have a cloud start machines. The dashboard's server would tell Ray's makers how Ray is used; Ray
starts it, and waits for it, even where there is to be no dashboard.
"""

from typing import Any

import ray
from ray._private import ray_constants
from ray._private.node import Node

# Where the dashboard's server would answer. Nobody does; without an address, agents complain of it every second.
NOBODY = b"127.0.0.1:9"


def start(namespace: str, metrics_port: int) -> None:
    """Start it in this process and have it end with it. `metrics_port` is of its metrics agent; 0: one that is free."""
    Node.start_monitor = _leave_out
    Node.start_api_server = _name_nobody
    ray.init(namespace=namespace, include_dashboard=False, _metrics_export_port=metrics_port)


def _leave_out(_: Node) -> None:
    """In the place of what starts a process."""


def _name_nobody(node: Node, **_: Any) -> None:
    node._webui_url = ""
    namespace = ray_constants.KV_NAMESPACE_DASHBOARD
    node.get_gcs_client().internal_kv_put(ray_constants.DASHBOARD_ADDRESS.encode(), NOBODY, True, namespace)
