"""The routes of probes: /health, /ready, which says why a model is not up, and /metrics."""

from typing import Any

from app.upstream.registry import Readiness
from app.upstream.start import Stage
from tests.unit.conftest import assert_error, client_of


async def test_health_ready_and_metrics_need_no_key(make_gateway: Any, registry: Any) -> None:
    async with client_of(make_gateway(), key=None) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/ready")).json()["status"] == "ready"
        assert (await client.get("/metrics")).text == "# nothing\n"


async def test_ready_names_each_model_that_is_not_up_and_why_one_failed(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.FAILED}, errors={"alpha": "RuntimeError: no GPU is free"})
    response = await client.get("/ready")
    assert_error(response, 503, "server_error", "model_starting")
    message = response.json()["error"]["message"]
    assert message == "Not every model is up. alpha failed: RuntimeError: no GPU is free; beta is starting (queued)."


async def test_ready_has_the_state_of_each_model_for_programs(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.STARTING}, stages={"alpha": Stage.WARMING_UP})
    response = await client.get("/ready")
    assert response.status_code == 503
    queued = {"id": "beta", "state": "queued", "error": None}
    assert response.json()["models"] == [{"id": "alpha", "state": "warming up", "error": None}, queued]
    error = {"beta": "RuntimeError: no GPU"}
    registry.update({"alpha": Readiness.VERIFIED, "beta": Readiness.FAILED}, {"alpha": 1}, error)
    failed = {"id": "beta", "state": "failed", "error": "RuntimeError: no GPU"}
    assert (await client.get("/ready")).json()["models"] == [
        {"id": "alpha", "state": "ready", "error": None},
        failed,
    ]
    registry.update({"alpha": Readiness.VERIFIED}, {"alpha": 0})
    response = await client.get("/ready?model=alpha")
    asleep = {"id": "alpha", "state": "asleep", "error": None}
    assert (response.status_code, response.json()) == (200, {"status": "ready", "models": [asleep]})


async def test_ready_tells_of_those_models_that_the_query_names(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.VERIFIED})
    assert (await client.get("/ready?model=alpha")).status_code == 200
    response = await client.get("/ready?model=alpha&model=beta")
    assert_error(response, 503, "server_error", "model_starting")
    assert response.json()["error"]["message"] == "Not every model is up. beta is starting (queued)."


async def test_ready_knows_no_other_models(client: Any) -> None:
    assert_error(await client.get("/ready?model=gamma"), 404, "not_found_error", "model_not_found")


async def test_ready_does_not_name_the_models_that_are_up(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.VERIFIED})
    message = (await client.get("/ready")).json()["error"]["message"]
    assert message == "Not every model is up. beta is starting (queued)."
