"""The service as in production, on three nodes: HAProxy before each, gateway replicas on two, models on both of those.

`serve run` on a Ray cluster with the variables of cluster/serve.env, Ray's token, and models that are cheap to start.
"""

import contextlib
import csv
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests import malformed_http
from tests.cluster.three_nodes import GATEWAY_LABEL
from tests.conftest import entry_of
from tests.own_ports import free_port

START_SECONDS = 200
BACK_SECONDS = 90
PROFILE = str(PROJECT_FOLDER / "cluster" / "with-profile")
# A node that is gone, or half a request, is noticed in seconds; and a starved machine answers late.
IMPATIENT = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_DEDUP_LOGS": "0",
    "PORTICO_HEAD_TIMEOUT_S": "4",
}
READY_IN_A_ROW = 8
LOST_SECONDS = 16.0  # until Ray, Serve and the gateway know that a node is gone, and longer
WAKE_SECONDS = 6.0
REFUSED_SECONDS = WAKE_SECONDS + 9  # the gateway looks every 5 s what runs
HALF_OPEN = 500
EMBED, SPEECH = "pocket-embed", "pocket-speech"
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    EMBED: ("/v1/embeddings", {"model": EMBED, "input": ["a fox", "a gateway"]}),
    SPEECH: ("/v1/audio/speech", {"model": SPEECH, "voice": "nova", "input": "Hello there."}),
}


def end(process: psutil.Process) -> None:
    """Kill it, unless it has ended meanwhile: with its parent, for one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@dataclass
class Node:
    """One node: its id, the process that is its raylet, the port of its HAProxy."""

    id: str
    raylet: psutil.Process
    port: int

    def processes(self) -> list[psutil.Process]:
        return [self.raylet, *self.raylet.children(recursive=True)]

    def kill(self) -> None:
        """As if the machine had lost its power."""
        for process in self.processes():
            end(process)

    def runs(self, name: str) -> bool:
        return any(name in command_line(process) for process in self.processes())

    def models(self) -> list[str]:
        return [name for name in (EMBED, SPEECH) if self.runs(f"ServeReplica:portico:{name}")]

    def post(self, model: str) -> httpx.Response:
        path, body = REQUESTS[model]
        with self.client() as client:
            return client.post(path, json=body)

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {LOCAL_KEY}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)


@dataclass
class ThreeNodes:
    """The cluster under way, and the service on it."""

    cluster: psutil.Popen
    service: psutil.Popen
    log: Path
    head: Node
    workers: list[Node]

    def read_node(self) -> tuple[str, Node]:
        line = self.cluster.stdout.readline()
        assert line, self.log.read_text()[-5000:]
        reported = json.loads(line)
        return reported["address"], Node(reported["node"], psutil.Process(reported["raylet"]), reported["port"])

    def replace_last(self) -> Node:
        self.cluster.stdin.write(b"\n")
        self.cluster.stdin.flush()
        self.workers[-1] = self.read_node()[1]
        return self.workers[-1]


def config(port: int) -> dict[str, Any]:
    """prod.yaml's form with tiny.yaml's cheap models: a worker has room for one gateway replica and one model."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    content |= {"proxy_location": "EveryNode"}
    content["http_options"]["port"] = port
    args = content["applications"][0]["args"]
    args["limits"] = {
        "max_json_bytes": 8 * 1024 * 1024,
        "wake_timeout_s": WAKE_SECONDS,
    }  # more than gRPC takes in one message by itself
    args["models"] = [entry_of(args["models"], name) for name in REQUESTS]
    for model in args["models"]:
        model["resources"] = {"num_cpus": 0.3}
    args["ingress"] = {"replicas": 2, "num_cpus": 0.6, "label_selector": GATEWAY_LABEL}
    return content


@pytest.fixture(scope="module")
def nodes() -> Iterator[ThreeNodes]:
    folder = Path(tempfile.mkdtemp(prefix="portico-"))
    port = free_port()
    config_file = folder / "config.yaml"
    content = config(port)
    content["applications"][0]["args"]["budgets"] = {"snapshot": str(folder / "budgets.json")}
    config_file.write_text(yaml.safe_dump(content))
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_AUTH_MODE")}
    environment |= IMPATIENT | {"RAY_TMPDIR": str(folder), "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    log = folder / "log"
    started: list[psutil.Popen] = []
    try:
        with log.open("ab") as output:

            def launch(*command: str, **pipes: int) -> psutil.Popen:
                started.append(
                    psutil.Popen([PROFILE, *command], cwd=PROJECT_FOLDER, env=environment, stderr=output, **pipes)
                )
                return started[-1]

            cluster = launch(
                sys.executable, "-m", "tests.cluster.three_nodes", str(port), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )  # fmt: skip
            running = ThreeNodes(cluster, cluster, log, Node("", cluster, 0), [])
            address, running.head = running.read_node()
            running.workers = [running.read_node()[1] for _ in range(2)]
            serve = str(Path(sys.executable).with_name("serve"))
            running.service = launch(serve, "run", "--address", address, str(config_file), stdout=output.fileno())
            wait_ready(running, running.head)
            yield running
    finally:
        for one in started:
            for process in [*one.children(recursive=True), one] if one.is_running() else []:
                end(process)
        for process in psutil.process_iter():  # a HAProxy that another has replaced is nobody's child
            if str(folder) in command_line(process):
                end(process)
        shutil.rmtree(folder, ignore_errors=True)


def wait_ready(nodes: ThreeNodes, node: Node, seconds: float = START_SECONDS) -> None:
    """Wait until every gateway replica is ready; the node's HAProxy probes them in turn."""
    deadline = time.monotonic() + seconds
    in_a_row = 0
    while in_a_row < READY_IN_A_ROW:
        assert time.monotonic() < deadline, nodes.log.read_text()[-5000:]
        assert nodes.service.is_running(), nodes.log.read_text()[-5000:]
        try:
            ready = httpx.get(f"http://127.0.0.1:{node.port}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            ready = False
        in_a_row = in_a_row + 1 if ready else 0
        time.sleep(0.1 if ready else 0.5)


def test_gateway_replicas_and_models_are_spread_and_the_head_has_no_work(nodes: ThreeNodes) -> None:
    for worker in nodes.workers:
        assert worker.runs("ServeReplica:portico:gateway")
    assert sorted(worker.models() for worker in nodes.workers) == [[EMBED], [SPEECH]]
    assert not nodes.head.runs("ServeReplica")


def test_every_node_s_proxy_answers_for_every_model(nodes: ThreeNodes) -> None:
    for node in [nodes.head, *nodes.workers]:
        vectors = node.post(EMBED)
        assert (vectors.status_code, len(vectors.json()["data"])) == (200, 2)
        assert uuid.UUID(vectors.headers["x-request-id"])
        assert int(vectors.headers["x-ratelimit-remaining"]) > 0


def test_a_stream_comes_in_pieces(nodes: ThreeNodes) -> None:
    path, body = REQUESTS[SPEECH]
    long = body | {"input": "Hello there, this is a sentence. " * 20, "response_format": "pcm"}
    with nodes.head.client() as client, client.stream("POST", path, json=long) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "audio/pcm")
        pieces = [len(piece) for piece in response.iter_raw()]
    assert len(pieces) > 10
    assert sum(pieces) > 1_000_000


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        ({"content": b"{"}, 400, "invalid_json"),
        ({"json": {"model": "gpt-4o", "input": "a"}}, 404, "model_not_found"),
        ({"json": {"model": EMBED, "input": "a"}, "headers": {"authorization": "Bearer no"}}, 401, "invalid_api_key"),
        ({"content": b" " * 34_000_000}, 413, "request_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_have_the_envelope(nodes: ThreeNodes, send: dict[str, Any], status: int, code: str) -> None:
    with nodes.workers[0].client() as client:
        answer = client.post("/v1/embeddings", **send)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


def test_a_body_over_grpc_s_usual_limit_reaches_the_model(nodes: ThreeNodes) -> None:
    with nodes.head.client() as client:
        answer = client.post("/v1/embeddings", json={"model": EMBED, "input": ["a" * 10_000] * 430})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == 430 * 3  # one unknown word each, however long


def test_clients_that_leave_before_the_first_byte_are_noticed(nodes: ThreeNodes) -> None:
    """HAProxy closes to the gateway each time; with its splicing it would about every second time."""
    body = json.dumps({"model": EMBED, "input": ["a fox and a gateway " * 10] * 1500}).encode()
    ids = [str(uuid.uuid4()) for _ in range(8)]
    for request_id in ids:
        head = (
            f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", nodes.head.port)) as client:
            client.sendall(head.encode() + body)
            time.sleep(0.1)
    deadline = time.monotonic() + 20
    while not all(request_id in nodes.log.read_text() for request_id in ids) and time.monotonic() < deadline:
        time.sleep(0.5)
    entries = [json.loads(line[line.index("{") :]) for line in nodes.log.read_text().splitlines() if '"reason"' in line]
    reasons = {entry["request_id"]: entry["reason"] for entry in entries}
    assert [reasons.get(request_id) for request_id in ids] == ["client_gone"] * len(ids)


def test_the_metrics_page_shows_every_node_and_whether_the_budget_store_is_reached(nodes: ThreeNodes) -> None:
    deadline = time.monotonic() + 60
    away: list[str] = []
    with nodes.head.client() as client:
        while not away or set(away) != {"0.0"}:  # of each gateway replica
            assert time.monotonic() < deadline, away
            time.sleep(1)
            lines = (page := client.get("/metrics").text).splitlines()
            found = (line for line in lines if line.startswith("ray_portico_budget_store_unreachable{"))
            away = [line.rpartition(" ")[2] for line in found]
    assert page.count("\nray_serve_proxy_status{") == len([nodes.head, *nodes.workers])


def haproxy_config(node: Node) -> Path:
    """The configuration that the HAProxy of `node` runs with."""
    (found,) = {
        process.cmdline()[process.cmdline().index("-f") + 1]
        for process in node.processes()
        if process.name() == "haproxy"
    }
    return Path(found)


def requests_by_server(config_file: Path) -> dict[str, int]:
    """How many requests each server behind a HAProxy has had, from its statistics."""
    (stats,) = [
        line.split()[1] for line in config_file.read_text().partition("listen stats")[2].splitlines() if "bind " in line
    ]
    rows = csv.DictReader(io.StringIO(httpx.get(f"http://{stats}/stats;csv", timeout=10).text.removeprefix("# ")))
    return {row["svname"]: int(row["stot"] or 0) for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}


def test_haproxy_goes_to_the_gateway_replicas_themselves(nodes: ThreeNodes) -> None:
    config_file = haproxy_config(nodes.head)
    lines = [line.split() for line in config_file.read_text().splitlines() if line.strip().startswith("server ")]
    direct = [words[1] for words in lines if "backup" not in words]
    assert len(direct) == 2
    before = requests_by_server(config_file)
    for _ in range(8):
        assert nodes.head.post(SPEECH).status_code == 200
    after = requests_by_server(config_file)
    had = {name: after[name] - before[name] for name in after}
    assert all(had[name] > 0 for name in direct)
    assert sum(had[name] for name in direct) == sum(had.values()) == 8


def test_haproxy_s_statistics_and_metrics_are_on_loopback_and_its_socket_is_its_owner_s(nodes: ThreeNodes) -> None:
    for node in [nodes.head, *nodes.workers]:
        config_file = haproxy_config(node)
        binds = [line.split() for line in config_file.read_text().splitlines() if "bind " in line]
        assert len(binds) == 3
        assert all(bind[1].startswith("127.0.0.1:") for bind in binds)
        assert config_file.with_name("admin.sock").stat().st_mode & 0o777 == 0o600


def test_malformed_requests_are_refused_and_others_are_served(nodes: ThreeNodes) -> None:
    answers = {name: malformed_http.send(nodes.head.port, request) for name, request in malformed_http.REQUESTS.items()}
    assert {name: answer for name, answer in answers.items() if not answer.is_refusal()} == {}
    assert nodes.head.post(SPEECH).status_code == 200


def test_half_open_clients_are_closed_and_others_are_served_meanwhile(nodes: ThreeNodes) -> None:
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", nodes.head.port), timeout=60))
            for _ in range(HALF_OPEN)
        ]
        for client in clients:
            client.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert nodes.head.post(SPEECH).status_code == 200
        assert all(client.recv(4096).startswith(b"HTTP/1.1 408 ") for client in clients)


def test_a_lost_node_s_work_is_done_by_the_node_that_replaces_it(nodes: ThreeNodes) -> None:
    kept, lost = nodes.workers
    (here,), (gone,) = kept.models(), lost.models()
    lost.kill()
    deadline = time.monotonic() + LOST_SECONDS
    closed = 0
    refused: list[httpx.Response] = []
    while time.monotonic() < deadline:
        for node in (kept, nodes.head):
            try:
                status = node.post(here).status_code
            except httpx.RemoteProtocolError:
                status = 502
            assert status in (200, 502)
            closed += status == 502  # it was on its way to the gateway that died, and may have reached it
        refused.append(kept.post(gone))
        time.sleep(0.2)
    assert closed <= 2
    assert {answer.status_code for answer in refused} <= {502, 503}
    assert refused[-1].json()["error"]["code"] == "model_starting"
    assert int(refused[-1].headers["retry-after"]) > 0
    assert max(answer.elapsed.total_seconds() for answer in refused) < REFUSED_SECONDS
    new = nodes.replace_last()
    deadline = time.monotonic() + BACK_SECONDS
    while kept.post(gone).status_code != 200 or not new.runs("ServeReplica:portico:gateway"):
        assert time.monotonic() < deadline, nodes.log.read_text()[-5000:]
        time.sleep(1)
    assert new.models() == [gone]
    wait_ready(nodes, new, BACK_SECONDS)
    for node in (nodes.head, kept, new):
        assert node.post(here).status_code == node.post(gone).status_code == 200
    assert sum(node.runs("ray::BudgetStoreActor") for node in (nodes.head, kept, new)) == 1
