"""What the console tells of models and of a key: to whom, and how it stands where something is not known."""

from typing import Any

import pytest

from app.keys import LOCAL_KEY
from contract.protocol import ENDPOINT_ROUTES
from tests.console.stand_in import ERROR, SCOPED_KEY, STATES, Telemetry, front
from tests.unit.conftest import assert_error, client_of

DATA = ("/console/data/models", "/console/data/key")


async def get(path: str, key: str | None = LOCAL_KEY, telemetry: Telemetry | None = None) -> Any:
    async with client_of(front(telemetry), key=key) as client:
        return await client.get(path)


async def models(key: str = LOCAL_KEY, telemetry: Telemetry | None = None) -> dict[str, Any]:
    answer = (await get("/console/data/models", key, telemetry)).json()
    return {model["id"]: model for model in answer["models"]}


@pytest.mark.parametrize("path", DATA)
@pytest.mark.parametrize("key", [None, LOCAL_KEY[:-1] + "1"], ids=["no key", "a wrong key"])
async def test_without_a_good_key_nothing_is_told(path: str, key: str | None) -> None:
    response = await get(path, key)
    assert_error(response, 401, "authentication_error", "invalid_api_key")
    assert "x-ratelimit-limit" not in response.headers


@pytest.mark.parametrize("path", DATA)
async def test_an_answer_is_kept_nowhere_and_has_the_budget_which_it_does_not_use(path: str) -> None:
    async with client_of(front()) as client:
        responses = [await client.get(path) for _ in range(3)]
    assert {one.headers["cache-control"] for one in responses} == {"no-store"}
    assert {one.headers["x-ratelimit-remaining"] for one in responses} == {"60"}


async def test_the_routes_are_there_that_models_answer_without_those_that_are_disabled() -> None:
    async with client_of(front(routes={"disabled": ["/v1/rerank"]}), key=LOCAL_KEY) as client:
        routes = (await client.get("/console/data/models")).json()["routes"]
    assert set(ENDPOINT_ROUTES) - set(routes) == {"/v1/rerank"}


async def test_every_model_is_there_however_it_is() -> None:
    states = {name: model["state"] for name, model in (await models()).items()}
    assert states == {
        "ready-chat": "ready",
        "asleep-chat": "asleep",
        "starting-chat": "starting",
        "queued-chat": "starting",
        "failed-chat": "failed",
    }


async def test_a_key_sees_only_the_models_of_its_scope() -> None:
    assert list(await models(SCOPED_KEY)) == ["failed-chat"]


async def test_a_failed_model_says_why() -> None:
    assert (await models())["failed-chat"]["error"] == ERROR


async def test_a_model_that_starts_says_at_which_stage_and_for_how_long() -> None:
    found = await models()
    assert found["starting-chat"]["start"]["stage"] == "loading"
    assert found["queued-chat"]["start"]["stage"] == "queued"
    assert 130 <= found["queued-chat"]["start"]["seconds"] < 140


async def test_a_ready_model_has_its_abilities_its_speculation_and_its_load() -> None:
    ready = (await models())["ready-chat"]
    assert ready["profile"]["capabilities"] == ["chat", "tools"]
    assert ready["profile"]["limits"]["context_length"] == 32768
    assert ready["replicas"] == {"running": 1, "min": 1, "max": 1}
    assert ready["speculation"]["method"] == "ngram"
    assert ready["speculation"]["acceptance_rate"] == 290 / 400
    assert set(ready["load"]) == {"waiting", "requests", "prompt_tokens", "completion_tokens"}


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_what_is_not_known_now_is_null_and_the_rest_is_there(how: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("app.console.sources.KNOWN_SECONDS", 0.05)
    telemetry = Telemetry()
    setattr(telemetry, how, True)
    found = await models(telemetry=telemetry)
    assert set(found) == set(STATES)
    assert found["ready-chat"]["load"] is None
    assert found["ready-chat"]["speculation"]["acceptance_rate"] is None
    assert found["starting-chat"]["start"] is None
    assert (await get("/console/data/key", telemetry=telemetry)).json()["usage"] is None


async def test_a_key_sees_its_scope_its_limits_what_is_left_and_its_usage() -> None:
    answer = (await get("/console/data/key", SCOPED_KEY)).json()
    assert answer["models"] == ["failed-chat"]
    assert answer["requests"] == {"per_minute": 60, "burst": 6, "left": 6, "full_in_s": 0}
    assert answer["tokens"]["per_minute"] == 10_000
    assert answer["concurrent_requests"] == 4
    assert answer["expires"] == "2100-01-01T00:00:00Z"
    assert answer["usage"] == {"requests": 1234, "prompt_tokens": 56_789, "completion_tokens": 98_765, "refusals": 3}
    assert SCOPED_KEY not in str(answer)
    assert "sha256" not in answer


async def test_a_key_without_limits_says_so() -> None:
    answer = (await get("/console/data/key")).json()
    assert (answer["models"], answer["tokens"], answer["concurrent_requests"]) == (None, None, None)
