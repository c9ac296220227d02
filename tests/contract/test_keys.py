"""Keys and budgets of the running service: the command line changes the key file, and the service follows."""

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import orjson
import pytest

from app.__main__ import main
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL, VISION_MODEL
from tests.unit.conftest import assert_error

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 2}
FOLLOW_SECONDS = 5  # the contract's

Keys = Callable[..., Any]


@pytest.fixture
def keys(service: Service, capsys: pytest.CaptureFixture[str]) -> Keys:
    """`python -m app keys ...` on the service's key file; what it prints for machines."""

    def run(*arguments: str) -> Any:
        assert main(["keys", *arguments, "--file", str(service.key_file), "--json"]) == 0
        return orjson.loads(capsys.readouterr().out)

    return run


def client_of(service: Service, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}", headers={"authorization": f"Bearer {key}"}, timeout=60
    )


def wait_for(client: httpx.Client, status: int) -> httpx.Response:
    """The first answer of that status to a request that costs nothing."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while (response := client.get("/v1/models")).status_code != status:
        assert time.monotonic() < deadline, f"{response.status_code} after {FOLLOW_SECONDS} s: {response.text}"
        time.sleep(0.1)
    return response


def test_a_key_is_good_once_made_and_bad_once_revoked_without_a_restart(service: Service, keys: Keys) -> None:
    made = keys("create", "--name", "short-lived")
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        assert client.post(CHAT, json=BODY).status_code == 200
        keys("revoke", made["id"])
        assert_error(wait_for(client, 401), 401, "authentication_error", "invalid_api_key")


def test_a_rotated_key_and_its_successor_are_both_good_for_the_grace(service: Service, keys: Keys) -> None:
    old = keys("create", "--name", "rotating")
    new = keys("rotate", old["id"], "--grace", "1h")
    assert new["rotated_from"] == old["id"]
    with client_of(service, old["key"]) as before, client_of(service, new["key"]) as after:
        wait_for(after, 200)
        assert before.get("/v1/models").status_code == 200
    last = keys("rotate", new["id"], "--grace", "0")
    with client_of(service, new["key"]) as before, client_of(service, last["key"]) as after:
        wait_for(after, 200)
        wait_for(before, 401)


def test_a_scope_is_all_that_a_key_may_reach(service: Service, keys: Keys) -> None:
    made = keys("create", "--pipelines", MODEL)
    with client_of(service, made["key"]) as client:
        assert [model["id"] for model in wait_for(client, 200).json()["data"]] == [MODEL]
        assert client.post(CHAT, json=BODY).status_code == 200
        for path in (CHAT, f"/v1/{VISION_MODEL}/chat/completions"):
            refused = client.post(path, json=BODY | {"model": VISION_MODEL})
            assert_error(refused, 403, "permission_error", "model_not_allowed")
        for model in ({}, {"model": "default"}):
            body = {name: value for name, value in BODY.items() if name != "model"} | model
            assert client.post(f"/v1/{MODEL}/chat/completions", json=body).json()["model"] == MODEL


def test_a_spent_budget_is_a_429_and_the_openai_client_heeds_retry_after(service: Service, keys: Keys) -> None:
    made = keys("create", "--requests-per-minute", "20")
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        answers = [client.post(CHAT, json=BODY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_error(answers[2], 429, "rate_limit_error", "rate_limit_exceeded")
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    settings = {"base_url": service.base_url, "api_key": made["key"]}
    with openai.OpenAI(**settings, max_retries=0) as impatient, pytest.raises(openai.RateLimitError) as caught:
        impatient.chat.completions.create(**BODY)
    assert caught.value.code == "rate_limit_exceeded"
    with openai.OpenAI(**settings, max_retries=1) as patient:
        assert patient.chat.completions.create(**BODY).choices


def test_tokens_are_settled_as_used(service: Service, keys: Keys) -> None:
    """Without a limit the whole context is reserved; a stream's tokens are counted whether it reports them or not."""
    made = keys("create", "--tokens-per-minute", "60000")
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        for stream in (False, True):
            before = int(client.get("/v1/models").headers["x-ratelimit-remaining-tokens"])
            answer = client.post(CHAT, json=BODY | {"stream": stream, "max_tokens": 60, "logit_bias": {"3": -100}})
            assert answer.status_code == 200
            after = int(client.get("/v1/models").headers["x-ratelimit-remaining-tokens"])
            assert before - after <= 120


def test_requests_at_once_are_counted_and_given_back(service: Service, keys: Keys) -> None:
    made = keys("create", "--concurrent-requests", "1")
    long = BODY | {"stream": True, "max_tokens": 1500, "logit_bias": {"3": -100}}
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        with client.stream("POST", CHAT, json=long) as first:
            pieces = first.iter_raw()  # kept: a client whose reader is gone has left
            next(pieces)
            refused = client.post(CHAT, json=BODY)
            assert_error(refused, 429, "rate_limit_error", "rate_limit_exceeded")
            assert "concurrent requests: 1 at a time" in refused.json()["error"]["message"]
        deadline = time.monotonic() + FOLLOW_SECONDS
        while client.post(CHAT, json=BODY).status_code != 200:
            assert time.monotonic() < deadline, "the slot of a client that left did not come back"
            time.sleep(0.1)


def test_refusals_and_usage_are_counted_by_key(service: Service, keys: Keys, http: httpx.Client) -> None:
    made = keys("create", "--requests-per-minute", "1")
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        assert [client.post(CHAT, json=BODY).status_code for _ in range(2)] == [200, 429]
    wanted = {
        ("ray_portico_budget_refusals_total{", f'key="{made["id"]}"', 'resource="requests"'),
        ("ray_portico_key_requests_total{", f'key="{made["id"]}"'),
        ("ray_portico_key_tokens_total{", f'key="{made["id"]}"', 'kind="completion"'),
    }
    deadline = time.monotonic() + 40  # Ray's agents report in their own time
    while True:
        page = http.get("/metrics", headers={"authorization": f"Bearer {made['key']}"}).text
        missing = [one for one in wanted if not any(all(part in line for part in one) for line in page.splitlines())]
        if not missing:
            break
        assert time.monotonic() < deadline, missing
        time.sleep(0.3)
    assert made["key"] not in page
    assert set(re.findall(r'key="(\w+)"', page)) == {made["id"]}
    assert 'key="' not in http.get("/metrics", headers={"authorization": ""}).text


def test_no_secret_is_printed_or_kept(service: Service, keys: Keys) -> None:
    made = keys("create", "--name", "secret")
    with client_of(service, made["key"]) as client:
        wait_for(client, 200)
        client.post(CHAT, json=BODY)
    secret = made["key"].rpartition("-")[2]
    assert secret not in service.output + service.logged
    assert secret not in service.key_file.read_text()
    assert service.key_file.stat().st_mode & 0o777 == 0o600
