"""`cluster/with-profile python -m tests.cluster.rendered_haproxy`: HAProxy's files, one for each line that it reads.

A line is a JSON list: FOLDER, PORT, [SERVER, ...], FALLBACK. Serve's own template is rendered into FOLDER/haproxy.cfg,
as its proxy does on a node with prod.yaml's `http_options`, for one application whose gateway replicas listen at the
ports SERVER, and Serve's own proxy at FALLBACK, if that is not null. Each is answered by an empty line.
"""

import json
import os
import sys
from pathlib import Path

import yaml
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from contract.project import PROJECT_FOLDER
from tests.own_ports import free_port


def render(folder: Path, port: int, servers: list[int], fallback: int | None) -> None:
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "prod.yaml").read_text())
    options = HTTPOptions(**content["http_options"] | {"host": "127.0.0.1", "port": port})
    config = HAProxyConfig(
        http_options=options,
        socket_path=str(folder / "admin.sock"),
        metrics_socket_path=str(folder / "metrics.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        stats_port=free_port(),
        metrics_port=free_port(),
    )
    config.has_received_routes = config.has_received_servers = True
    gateway = BackendConfig(
        name="portico",
        path_prefix="/",
        app_name="portico",
        servers=[ServerConfig(name=f"replica-{at}", host="127.0.0.1", port=at) for at in servers],
        fallback_server=None if fallback is None else ServerConfig(name="fallback", host="127.0.0.1", port=fallback),
    )
    backends = {"portico": gateway} if servers else {}
    HAProxyApi(config, backends, str(folder / "haproxy.cfg"))._generate_config_file_internal()


if __name__ == "__main__":
    os.umask(0o077)
    for line in sys.stdin:
        folder, port, servers, fallback = json.loads(line)
        render(Path(folder), port, servers, fallback)
        print(flush=True)
