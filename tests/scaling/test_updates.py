"""A change of one model's entry: that model restarts, and nothing else, while requests and streams go on."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.scaling.conftest import CHAT, EMBED, SPEECH, ScaledService, is_settled, listed, synthesize

INGRESS = "gateway"
LONG_STREAM = {
    "model": CHAT,
    "messages": [{"role": "user", "content": "go on"}],
    "max_tokens": 1900,
    "logit_bias": {"3": -100},
    "stream": True,
}
STREAMS, DRAIN_S = 16, 8  # of them at once each is slow


def test_one_changed_entry_restarts_that_model_only_and_cuts_no_stream(
    scaled: ScaledService, client: httpx.Client
) -> None:
    assert synthesize(client).status_code == 200  # awake, so that there is a replica to replace
    scaled.wait_asleep(EMBED)
    before = {name: set(one["replicas"]) for name, one in scaled.wait_settled().items()}
    received: list[bytes] = []
    stop = threading.Event()
    statuses: list[int] = []

    def send() -> None:
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=90) as other:
            while not stop.is_set():
                body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
                statuses.append(other.post("/chat/completions", json=body).status_code)
                statuses.append(synthesize(other).status_code)

    sender = threading.Thread(target=send)
    with client.stream("POST", "/chat/completions", json=LONG_STREAM) as response:
        pieces = response.iter_raw()
        received.append(next(pieces))
        sender.start()
        scaled.entry(SPEECH)["env"] = {"PORTICO_TEST": "changed"}
        scaled.deploy()
        received += pieces
    after = scaled.wait(lambda status: is_settled(status) and before[SPEECH].isdisjoint(status[SPEECH]["replicas"]))
    stop.set()
    sender.join()
    assert b"".join(received).rstrip().endswith(b"data: [DONE]"), "the stream was cut"
    assert set(statuses) == {200}, statuses
    assert {name for name in before if before[name] != set(after[name]["replicas"])} == {SPEECH}
    assert after[EMBED]["replicas"] == {}, "the update woke a sleeping model"
    assert before[INGRESS] == set(after[INGRESS]["replicas"])
    assert listed(client) == {CHAT, EMBED, SPEECH}


def test_a_model_that_is_added_is_served_by_the_same_gateway_and_one_that_is_removed_is_not(
    scaled: ScaledService, client: httpx.Client
) -> None:
    gateway = scaled.replicas(INGRESS)
    models = scaled.content["applications"][0]["args"]["models"]
    models.append(
        json.loads(json.dumps(scaled.entry(SPEECH))) | {"id": "second-voice", "mode": "active", "scaling": {}}
    )
    scaled.deploy()
    deadline = time.monotonic() + 60
    while "second-voice" not in listed(client):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    body = {"model": "second-voice", "input": "Hello.", "response_format": "wav"}
    assert client.post("/audio/speech", json=body).status_code == 200
    models.pop()
    scaled.deploy()
    while "second-voice" in listed(client):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert client.post("/audio/speech", json=body).status_code == 404
    assert set(scaled.wait_settled()[INGRESS]["replicas"]) == gateway  # it is UPDATING for a moment, and serves


@pytest.mark.long
def test_streams_that_outlive_the_drain_time_of_their_gateway_end_in_the_error_form(
    scaled: ScaledService, client: httpx.Client
) -> None:
    ingress = scaled.content["applications"][0]["args"].setdefault("ingress", {})
    ingress["drain_timeout_s"] = DRAIN_S
    scaled.deploy()
    gateway = set(scaled.wait_settled()[INGRESS]["replicas"])
    begun = threading.Barrier(STREAMS + 1, timeout=60)

    def stream(_: int) -> bytes:
        with client.stream("POST", "/chat/completions", json=LONG_STREAM | {"n": 4}) as response:
            pieces = response.iter_raw()
            first = next(pieces)
            begun.wait()
            return first + b"".join(pieces)

    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(stream, number) for number in range(STREAMS)]
        begun.wait()
        ingress["num_cpus"] = 0.11
        scaled.deploy()
        ends = [one.result().rstrip().rpartition(b"data: ")[2] for one in streams]
    assert gateway.isdisjoint(scaled.wait_settled()[INGRESS]["replicas"])
    errors = [json.loads(end)["error"]["code"] for end in ends if end != b"[DONE]"]
    assert errors, "every stream was over before"
    assert set(errors) == {"upstream_error"}
