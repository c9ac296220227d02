"""Routing on two replicas of a real engine: what the prompt cache gains by it, and that nobody is starved."""

import threading
import time
from typing import Any

import httpx
import pytest

from app.upstream.slot_pool import IDLE_SECONDS
from tests.scaling.conftest import CHAT, ScaledService

CONVERSATIONS, TURNS = 6, 4
ROUTED_ANEW_SECONDS = 4 * IDLE_SECONDS  # else requests one after the other stay with the slot that the gateway holds
WORDS = "a gateway reads the request, finds the model, asks the budget and relays the answer as it is made. "
NO_END = {"3": -100}  # the end-of-turn token, never chosen: an answer as long as its limit


def cached_tokens(client: httpx.Client, label: str, *, sessions: bool = False) -> int:
    """Tokens of prompts that were in a cache, over conversations whose turns alternate."""
    conversations: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": f"{label} {number}: {WORDS * 6}"}] for number in range(CONVERSATIONS)
    ]
    cached = 0
    for turn in range(TURNS):
        for number, messages in enumerate(conversations):
            time.sleep(ROUTED_ANEW_SECONDS)
            headers = {"x-session-id": f"{label} {number}"} if sessions else {}
            body = {"model": CHAT, "messages": messages, "max_tokens": 4, "seed": 1}
            answer = client.post("/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            details = answer.json()["usage"].get("prompt_tokens_details") or {}
            cached += details.get("cached_tokens") or 0
            text = answer.json()["choices"][0]["message"]["content"] or ""
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"{turn}: {WORDS}"}]
    return cached


@pytest.fixture
def routed(scaled: ScaledService) -> Any:
    """Sets the routing of pocket-chat; its replicas stay."""

    def route(policy: str) -> None:
        before = scaled.replicas(CHAT)
        scaled.entry(CHAT)["routing"] = {"policy": policy} | ({"max_imbalance": 2} if policy == "prefix" else {})
        scaled.deploy()
        scaled.wait_settled()
        time.sleep(1)  # a new handle hears of the model's replicas a moment later
        assert scaled.replicas(CHAT) == before

    yield route
    route("prefix")


def test_prefix_and_session_routing_find_more_in_the_caches_than_routing_by_load(
    scaled: ScaledService, client: httpx.Client, routed: Any
) -> None:
    by_prefix = cached_tokens(client, "prefix")
    routed("session")
    by_session = cached_tokens(client, "session", sessions=True)
    routed("power_of_two")
    by_load = cached_tokens(client, "load")
    assert by_prefix > by_load, (by_prefix, by_session, by_load)
    assert by_session > by_load, (by_prefix, by_session, by_load)


def test_a_hot_prefix_spills_to_the_other_replica(scaled: ScaledService, client: httpx.Client) -> None:
    body = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "hot: " + WORDS * 6}],
        "max_tokens": 900,
        "logit_bias": NO_END,
    }
    statuses: list[int] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            statuses.append(client.post("/chat/completions", json=body).status_code)

    senders = [threading.Thread(target=send) for _ in range(6)]
    for one in senders:
        one.start()
    deadline = time.monotonic() + 60
    try:
        while min(ongoing := scaled.ongoing(CHAT)) == 0:
            assert time.monotonic() < deadline, f"all requests went to one replica: {ongoing}"
            time.sleep(0.2)
        # Of either replica, and as of its last step: between two requests it has none.
        while (usage := scaled.stats(CHAT)["kv_cache_usage"]) == 0:
            assert time.monotonic() < deadline, "the cache is never used"
        assert 0 < usage <= 1
    finally:
        stop.set()
        for one in senders:
            one.join()
    assert set(statuses) == {200}
    assert scaled.stats(CHAT) == {"kv_cache_usage": 0}
