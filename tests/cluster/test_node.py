"""A node as the launcher starts it: healthy, its dashboard on loopback, and nothing without the token."""

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from ray._private import ray_constants

from contract.project import PROJECT_FOLDER
from tests.cluster.test_image import instructions
from tests.own_ports import free_port

START_SECONDS = 90
AGENT_PORT = ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT


@dataclass
class Node:
    process: psutil.Process
    token: str
    dashboard_port: int
    agent_port: int
    log: Path

    def listening(self) -> dict[int, str]:
        """The ports that its processes listen on, with their addresses."""
        processes = [self.process, *self.process.children(recursive=True)]
        connections = [one for process in processes for one in process.net_connections("tcp")]
        return {one.laddr.port: one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}


def start_command() -> list[str]:
    """The head's command in aws.yaml, but for what only a cloud has."""
    launcher = yaml.safe_load((PROJECT_FOLDER / "cluster" / "aws.yaml").read_text())
    words = shlex.split(launcher["head_start_ray_commands"][-1].partition(";")[2])
    assert words[0] == "/opt/portico/cluster/with-profile"
    kept = [
        word for word in words[1:] if not word.startswith(("--autoscaling-config", "--port", "--object-manager-port"))
    ]
    return [str(PROJECT_FOLDER / "cluster" / "with-profile"), *kept]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="portico-"))
    token = secrets.token_hex(32)
    ports = {name: free_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")}
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_AUTH_MODE")}
    environment |= {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [*start_command(), "--block", "--num-cpus=0", "--node-ip-address=127.0.0.1"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield Node(process, token, ports["dashboard-port"], ports["dashboard-agent-listen-port"], folder / "log")
    finally:
        for started in [*process.children(recursive=True), process]:
            started.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_image_s_health_check_says_yes_once_the_node_is_up(node: Node) -> None:
    (words,) = instructions("HEALTHCHECK")
    command = yaml.safe_load(" ".join(words[words.index("CMD") + 1 :]))
    assert command[0] == "python"
    assert f"127.0.0.1:{AGENT_PORT}/" in command[-1]
    command = [sys.executable, *(word.replace(str(AGENT_PORT), str(node.agent_port)) for word in command[1:])]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, node.log.read_text()[-3000:]
        time.sleep(0.5)


def test_the_dashboard_is_on_loopback_and_asks_for_the_token(node: Node) -> None:
    url = f"http://127.0.0.1:{node.dashboard_port}/api/cluster_status"
    deadline = time.monotonic() + START_SECONDS
    while node.dashboard_port not in node.listening():
        assert time.monotonic() < deadline, node.log.read_text()[-3000:]
        time.sleep(0.5)
    assert node.listening()[node.dashboard_port] == "127.0.0.1"
    assert httpx.get(url, timeout=20).status_code == 401
    assert httpx.get(url, timeout=20, headers={"authorization": "Bearer no"}).status_code == 403
    assert httpx.get(url, timeout=20, headers={"authorization": f"Bearer {node.token}"}).status_code == 200
