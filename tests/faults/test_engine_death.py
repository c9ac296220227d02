"""The engine dies in the middle of its work: no failure looks like success, and the service mends itself."""

import json
import time

import httpx
import psutil

from tests.conftest import Service

CHAT = "/v1/chat/completions"
BODY = {"model": "pocket-chat", "messages": [{"role": "user", "content": "hi"}]}
ENGINE_PROCESS = "VLLM::EngineCore"


def engines(service: Service) -> list[psutil.Process]:
    return [process for process in service.processes() if ENGINE_PROCESS in " ".join(process.cmdline())]


def test_a_stream_ends_in_an_error_and_the_model_comes_back(service: Service, http: httpx.Client) -> None:
    (engine,) = engines(service)
    body = BODY | {"stream": True, "max_tokens": 1900, "logit_bias": {"3": -100}}
    received = b""
    with http.stream("POST", CHAT, json=body) as response:
        assert response.status_code == 200
        for piece in response.iter_raw():
            if not received:
                engine.kill()
            received += piece
    *events, last, rest = received.split(b"\n\n")
    assert rest == b""
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert all(b"[DONE]" not in event and b'"finish_reason":"' not in event for event in events)

    answer = wait_until_answered(http, seconds=240)
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    assert len(engines(service)) == 1


def wait_until_answered(http: httpx.Client, seconds: float) -> httpx.Response:
    """Ask until the model answers; until then every answer is an error of the contract that says to come back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        response = http.post(CHAT, json=BODY | {"max_tokens": 2}, timeout=seconds)
        if response.status_code == 200:
            return response
        assert response.status_code in (502, 503), response.text
        assert set(response.json()["error"]) == {"message", "type", "code", "param"}
        time.sleep(1)
    raise TimeoutError(f"the model was not back in {seconds} s")
