"""A Ray cluster of three nodes on this machine: `cluster/with-profile python -m tests.cluster.three_nodes PORT`.

The head has no work; each worker has room for one gateway replica and one model. Every node has a HAProxy of its own,
on a port of its own (the head's is PORT), because they share a machine here. A line of JSON is written for each node as
it is there. For every line that is read, another machine joins in place of the last.
"""

import json
import os
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

from tests.own_ports import free_port, haproxy_variables

WORKER_CPUS = 1
GATEWAY_LABEL = {"portico.io/role": "gateway"}


class Machine:
    """What one node must not share with the others of this machine: HAProxy's ports and files."""

    def __init__(self, name: str, http_port: int, cpus: int, labels: dict[str, str]) -> None:
        folder = Path(os.environ["RAY_TMPDIR"]) / name
        folder.mkdir()
        self.cpus, self.labels = cpus, labels
        self.http_port = http_port
        self.variables = haproxy_variables(folder) | {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(http_port)}

    def join(self, cluster: Cluster) -> None:
        node = cluster.add_node(
            num_cpus=self.cpus, labels=self.labels, env_vars=self.variables, include_dashboard=False
        )
        (raylet,) = node.all_processes["raylet"]
        reported = {
            "address": cluster.address,
            "node": node.node_id,
            "raylet": raylet.process.pid,
            "port": self.http_port,
        }
        print(json.dumps(reported), flush=True)


def main(port: int) -> None:
    cluster = Cluster()
    Machine("h", port, 0, {}).join(cluster)
    Machine("a", free_port(), WORKER_CPUS, GATEWAY_LABEL).join(cluster)
    last = Machine("b", free_port(), WORKER_CPUS, GATEWAY_LABEL)
    last.join(cluster)
    for _ in sys.stdin:
        last.join(cluster)


if __name__ == "__main__":
    main(int(sys.argv[1]))
