"""An engine that stops and does not die: its streams end in an error, and its replica makes room for another."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import yaml

from app.__main__ import main
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service, entry_of, launched

pytestmark = pytest.mark.long

CHAT = "/v1/chat/completions"
MESSAGES: dict[str, Any] = {"model": "pocket-chat", "messages": [{"role": "user", "content": "hi"}]}
LONG = MESSAGES | {"max_tokens": 1900, "logit_bias": {"3": -100}, "stream": True}
ENGINE = "VLLM::EngineCore"
REPLICA = "ray::ServeReplica:portico:pocket-chat"
IDLE_S, STALL_S = 3.0, 5.0
BACK_SECONDS = 100
UNHEALTHY_SECONDS = 90  # for three health checks without an answer, and for Ray to kill what does not react


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """pocket-chat alone, with time limits that a test can wait for."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    args["models"] = [entry_of(args["models"], "pocket-chat") | {"engine_stall_timeout_s": STALL_S}]
    args["limits"] = {"stream_idle_timeout_s": IDLE_S, "ping_interval_s": 1}
    folder = tmp_path_factory.mktemp("stalls")
    main(["keys", "create", "--file", str(folder / "keys.json"), "--name", "first"])
    with launched(content, folder, folder / "keys.json") as running:
        yield running


@pytest.fixture(scope="module")
def client(alone: Service) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{alone.port}", headers=headers, timeout=BACK_SECONDS) as connected:
        yield connected


def the_only(service: Service, name: str) -> psutil.Process:
    (process,) = [one for one in service.processes() if " ".join(one.cmdline()).startswith(name)]
    return process


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_an_engine_at_work_is_left_alone(alone: Service, client: httpx.Client) -> None:
    replica = the_only(alone, REPLICA)
    began = time.monotonic()
    while time.monotonic() < began + 1.5 * STALL_S:
        assert client.post(CHAT, json=LONG | {"stream": False}).status_code == 200
    assert not is_gone(replica)


def test_a_stopped_engine_ends_its_streams_and_the_next_requests_are_answered_by_a_new_replica(
    alone: Service, client: httpx.Client
) -> None:
    engine, replica = the_only(alone, ENGINE), the_only(alone, REPLICA)
    received = b""
    with client.stream("POST", CHAT, json=LONG) as response:
        for piece in response.iter_raw():
            if not received:
                engine.suspend()
            received += piece
    *events, last, rest = received.split(b"\n\n")
    assert rest == b""
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "timeout"
    assert all(b"[DONE]" not in event and b'"finish_reason":"' not in event for event in events)
    # It waits for the stopped engine, and is tried once more when that is given up.
    assert client.post(CHAT, json=MESSAGES | {"max_tokens": 2}).status_code == 200
    assert is_gone(engine)
    assert is_gone(replica)
    assert the_only(alone, REPLICA).pid != replica.pid
    assert the_only(alone, ENGINE).pid != engine.pid


def test_a_stopped_replica_is_killed_and_with_it_the_engine_that_it_started(alone: Service) -> None:
    """No watchdog runs there. Serve finds that it does not answer, and does not wait for its requests to finish."""
    engine, replica = the_only(alone, ENGINE), the_only(alone, REPLICA)
    for process in (engine, replica):
        process.suspend()
    deadline = time.monotonic() + UNHEALTHY_SECONDS
    while not (is_gone(replica) and is_gone(engine)):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.1)
