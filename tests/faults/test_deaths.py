"""An engine or a replica dies at work: no failure looks like success, and the service mends itself."""

import json
import threading
import time
from typing import Any

import httpx
import psutil

from tests.conftest import Service

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "pocket-chat", "messages": [{"role": "user", "content": "hi"}]}
LONG = BODY | {"max_tokens": 1900, "logit_bias": {"3": -100}}
RESPONSES = "/v1/responses"
LONG_RESPONSE = {
    "model": "pocket-chat", "input": "hi", "max_output_tokens": 1900, "logit_bias": {"3": -100}, "stream": True
}  # fmt: skip
ENGINE = "VLLM::EngineCore"
REPLICA = "ray::ServeReplica:portico:pocket-chat"
BACK_SECONDS = 240


def running(service: Service, name: str) -> list[psutil.Process]:
    return [process for process in service.processes() if " ".join(process.cmdline()).startswith(name)]


def engines(service: Service) -> list[psutil.Process]:
    """The engines of pocket-chat; its neighbour has one too."""
    replicas = {replica.pid for replica in running(service, REPLICA)}
    return [engine for engine in running(service, ENGINE) if replicas & {one.pid for one in engine.parents()}]


def test_when_the_engine_dies_streams_end_in_an_error_and_the_model_comes_back(
    service: Service, http: httpx.Client
) -> None:
    (engine,) = engines(service)
    response_pieces: list[bytes] = []
    began = threading.Event()
    responding = threading.Thread(target=stream_response, args=(http, response_pieces, began))
    responding.start()
    assert began.wait(30)
    received = b""
    with http.stream("POST", CHAT, json=LONG | {"stream": True}) as response:
        assert response.status_code == 200
        for piece in response.iter_raw():
            if not received:
                engine.kill()
            received += piece
    *events, last, rest = received.split(b"\n\n")
    assert rest == b""
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert all(b"[DONE]" not in event and b'"finish_reason":"' not in event for event in events)
    responding.join(30)
    assert_failed_response(b"".join(response_pieces).decode())
    wait_until_answered(http)
    service.wait_ready()
    assert len(engines(service)) == 1


def test_when_the_replica_dies_before_its_first_byte_the_request_is_answered_by_the_next(
    service: Service, http: httpx.Client
) -> None:
    (replica,) = running(service, REPLICA)
    (engine,) = engines(service)
    answers: list[httpx.Response] = []
    sending = threading.Thread(
        target=lambda: answers.append(http.post(CHAT, json=LONG | {"n": 8}, timeout=BACK_SECONDS))
    )
    sending.start()
    wait_until_busy(engine)
    replica.kill()
    sending.join(BACK_SECONDS)
    (answer,) = answers
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["choices"]) == 8
    assert len(engines(service)) == 1
    engine.wait(10)  # it does not outlive its replica


def stream_response(http: httpx.Client, pieces: list[bytes], began: threading.Event) -> None:
    with http.stream("POST", RESPONSES, json=LONG_RESPONSE) as response:
        for piece in response.iter_raw():
            pieces.append(piece)
            began.set()


def assert_failed_response(text: str) -> None:
    """The events of a response that began and failed: numbered without a gap, and not [DONE]."""
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.failed")
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]


def wait_until_busy(process: psutil.Process) -> None:
    deadline = time.monotonic() + 20
    while process.cpu_percent(0.3) < 50:
        assert time.monotonic() < deadline, "the engine did not begin to work"


def wait_until_answered(http: httpx.Client) -> None:
    """Send requests until the model answers; until then every answer is an error of the contract with Retry-After."""
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        response = http.post(CHAT, json=BODY | {"max_tokens": 2}, timeout=BACK_SECONDS)
        if response.status_code == 200:
            return
        assert response.status_code in (502, 503), response.text
        assert set(response.json()["error"]) == {"message", "type", "code", "param"}
        time.sleep(1)
    raise TimeoutError(f"the model was not back in {BACK_SECONDS} s")
