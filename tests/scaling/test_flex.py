"""Mode flex: a model goes to zero replicas, stays listed, and wakes for the first request."""

import contextlib
import time

import httpx

from tests.scaling.conftest import CHAT, EMBED, SPEECH, WAKE_SECONDS, ScaledService, embed, listed, synthesize
from tests.unit.conftest import assert_error

INGRESS = "gateway"


def test_a_model_that_idles_goes_to_zero_is_listed_and_answers_the_first_request(
    scaled: ScaledService, client: httpx.Client
) -> None:
    scaled.wait_asleep(SPEECH)
    assert listed(client) == {CHAT, EMBED, SPEECH}
    assert client.get(f"/models/{SPEECH}").json()["portico"]["voices"]
    assert httpx.get(f"http://127.0.0.1:{scaled.service.port}/ready").status_code == 200
    assert scaled.replicas(SPEECH) == set(), "a look at it woke it"
    answer = synthesize(client)
    assert answer.status_code == 200, answer.text
    assert len(scaled.replicas(SPEECH)) == 1
    scaled.wait_asleep(SPEECH)


def test_a_request_that_waited_long_enough_gets_retry_after_and_the_model_goes_on_waking(
    scaled: ScaledService, client: httpx.Client
) -> None:
    scaled.wait_asleep(EMBED)
    answer = embed(client)
    assert_error(answer, 503, "server_error", "model_starting", "model")
    assert EMBED in listed(client)
    deadline = time.monotonic() + WAKE_SECONDS
    while answer.status_code == 503:  # as clients that heed Retry-After do: nobody waits in between
        assert time.monotonic() < deadline, "the model did not wake"
        time.sleep(int(answer.headers["retry-after"]))
        answer = embed(client)
    assert answer.status_code == 200, answer.text


def test_a_client_that_leaves_does_not_keep_the_model_from_waking(scaled: ScaledService, client: httpx.Client) -> None:
    scaled.wait_asleep(SPEECH)
    impatient = httpx.Client(base_url=client.base_url, headers=client.headers, timeout=0.3)
    with impatient, contextlib.suppress(httpx.ReadTimeout):
        synthesize(impatient)
    scaled.wait(lambda status: "RUNNING" in status[SPEECH]["replicas"].values(), WAKE_SECONDS)


def test_a_new_gateway_replica_lists_a_sleeping_model_without_waking_it(
    scaled: ScaledService, client: httpx.Client
) -> None:
    scaled.wait_asleep(SPEECH)
    scaled.wait_asleep(EMBED)
    before = scaled.replicas(INGRESS)
    scaled.kill(INGRESS)
    scaled.wait(lambda status: before.isdisjoint(status[INGRESS]["replicas"]) and status[INGRESS]["replicas"] != {})
    scaled.service.wait_ready()
    assert scaled.replicas(INGRESS).isdisjoint(before)
    assert listed(client) == {CHAT, EMBED, SPEECH}
    status = scaled.status()
    assert [status[name]["replicas"] for name in (EMBED, SPEECH)] == [{}, {}], "the new gateway woke a model"
    assert synthesize(client).status_code == 200
