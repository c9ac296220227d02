"""Readiness, what is counted, and the access log."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from app.telemetry.record import RequestRecord
from app.upstream.readiness import readiness_of
from app.upstream.registry import Readiness
from contract.errors import ApiError
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import StandInAnswer, chat


@pytest.mark.parametrize(
    ("status", "running", "expected"),
    [
        ("UPDATING", 0, Readiness.STARTING),
        ("UPDATING", 1, Readiness.VERIFIED),
        ("HEALTHY", 1, Readiness.VERIFIED),
        ("HEALTHY", 0, Readiness.VERIFIED),
        ("UPSCALING", 0, Readiness.VERIFIED),
        ("DOWNSCALING", 0, Readiness.VERIFIED),
        ("UNHEALTHY", 0, Readiness.STARTING),
        ("UNHEALTHY", 1, Readiness.VERIFIED),
        ("DEPLOY_FAILED", 0, Readiness.FAILED),
        ("DEPLOY_FAILED", 1, Readiness.VERIFIED),
    ],
)
def test_readiness_follows_serve_s_overview(status: str, running: int, expected: Readiness) -> None:
    assert readiness_of(SimpleNamespace(status=status, replica_states={"RUNNING": running})) is expected


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.1),
        ({"makes_text": False}, None),
        ({"streamed": False}, None),
        ({"reason": "client_gone"}, None),
        ({"usage": {"completion_tokens": 1}}, None),
        ({"usage": None}, None),
        ({"usage": {"output_tokens": 6}}, 0.2),
    ],
    ids=str,
)
def test_the_time_between_tokens_is_a_stream_s_mean_after_its_first(
    changes: dict[str, Any], seconds: float | None
) -> None:
    stream: dict[str, Any] = {
        "makes_text": True,
        "streamed": True,
        "usage": {"completion_tokens": 11},
        "first_byte_s": 2.0,
    }
    one = RequestRecord("", total_s=3.0, **(stream | changes))
    assert one.inter_token_s() == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("changes", "seconds"), [({}, 2.0), ({"streamed": False}, None), ({"makes_text": False}, None)], ids=str
)
def test_the_time_to_the_first_token_is_a_stream_s_only(changes: dict[str, Any], seconds: float | None) -> None:
    one = RequestRecord("", **({"makes_text": True, "streamed": True, "first_byte_s": 2.0} | changes))
    assert one.first_token_s() == seconds


async def logged(log_lines: list[bytes], client: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The line in the access log of one request."""
    await client.post("/v1/chat/completions", json=body)
    line: dict[str, Any] = json.loads(log_lines[0])
    return line


@pytest.mark.parametrize(
    ("model", "readiness", "reported"),
    [
        ("alpha", Readiness.STARTING, ("alpha", 503, "model_starting")),
        ("alpha", Readiness.FAILED, ("alpha", 404, "model_failed")),
        ("gpt-4o", Readiness.VERIFIED, (None, 404, "model_not_found")),
        (["alpha"], Readiness.VERIFIED, (None, 400, "invalid_type")),
    ],
    ids=str,
)
async def test_a_refused_request_counts_for_the_configured_model_that_it_names(
    client: Any, registry: Any, log_lines: list[bytes], model: Any, readiness: Readiness, reported: tuple[Any, ...]
) -> None:
    registry.update({"alpha": readiness})
    line = await logged(log_lines, client, chat(model=model))
    assert (line["model"], line["status"], line["reason"]) == reported


async def test_what_names_a_user_is_cut_in_the_line(client: Any, log_lines: list[bytes]) -> None:
    long = {"user": "u" * 1_000_000, "safety_identifier": "é" * 1_000_000}
    line = await logged(log_lines, client, chat(**long, metadata={"order": "m" * 512}))
    assert {name: line[name] for name in long} == {name: text[:512] for name, text in long.items()}
    assert line["metadata"] == {"order": "m" * 512}


async def test_the_line_has_the_adjustments_of_the_header(client: Any, log_lines: list[bytes]) -> None:
    response = await client.post("/v1/chat/completions", json=chat(top_p=1.5, unheard_of=1))
    assert json.loads(log_lines[0])["adjustments"] == response.headers["x-param-adjustments"]
    await client.post("/v1/chat/completions", json=chat())
    assert json.loads(log_lines[1])["adjustments"] is None


async def test_the_line_has_what_the_engine_clamped(client: Any, relay: Any, log_lines: list[bytes]) -> None:
    relay.items = [ResponseHead(200, body=b"{}", clamped=(("temperature", 1.5, 1.0),))]
    line = await logged(log_lines, client, chat(temperature=1.5))
    assert line["adjustments"] == "temperature;action=clamp;from=1.5;to=1.0"


async def test_the_line_has_the_adjustments_of_a_request_that_the_engine_failed(
    client: Any, relay: Any, log_lines: list[bytes]
) -> None:
    relay.items = [ApiError("upstream_error", "lost")]
    line = await logged(log_lines, client, chat(top_p=1.5))
    assert line["adjustments"] == "top_p;action=clamp;from=1.5;to=1.0"


async def test_a_stream_counts_as_the_engine_s_time_to_its_last_byte(
    client: Any, relay: Any, log_lines: list[bytes]
) -> None:
    async def slow_pieces(self: StandInAnswer) -> Any:
        for _ in range(3):
            await asyncio.sleep(0.02)
            yield b"data: {}\n\n"
        self.tail = ResponseTail()

    relay.items = [ResponseHead(200, EVENT_STREAM)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StandInAnswer, "pieces", slow_pieces)
        line = await logged(log_lines, client, chat(stream=True))
    assert 50 < line["engine_ms"] <= line["duration_ms"]
    assert line["queue_ms"] < 50


async def test_a_request_that_no_engine_saw_has_no_time_of_one(client: Any, log_lines: list[bytes]) -> None:
    line = await logged(log_lines, client, chat(model="gamma"))
    assert (line["queue_ms"], line["engine_ms"]) == (None, None)


async def test_a_request_id_of_the_client_that_is_no_uuid_stands_beside_ours(
    client: Any, log_lines: list[bytes]
) -> None:
    response = await client.post("/v1/chat/completions", json=chat(), headers={"x-request-id": "order 42"})
    line = json.loads(log_lines[0])
    assert (line["request_id"], line["client_request_id"]) == (response.headers["x-request-id"], "order 42")


async def test_a_fault_in_the_midst_of_a_stream_is_none_that_is_ok(
    client: Any, relay: Any, log_lines: list[bytes]
) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n", RuntimeError("a fault")]
    with pytest.raises(RuntimeError):
        await logged(log_lines, client, chat(stream=True))
    (line,) = map(json.loads, log_lines)
    assert (line["status"], line["reason"]) == (200, "internal_error")


async def test_a_request_leaves_one_json_line_without_prompt_or_key(client: Any, log_lines: list[bytes]) -> None:
    response = await client.post(
        "/v1/chat/completions",
        json=chat(messages=[{"role": "user", "content": "secret"}]),
        headers={"x-client-request-id": "order 42"},
    )
    await client.get("/health")
    (text,) = log_lines
    assert text.endswith(b"}\n")
    line = json.loads(text)
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["client_request_id"] == "order 42"
    assert {name: line[name] for name in ("key", "route", "model", "status", "reason", "prompt_tokens")} == {
        "key": "local0000000",
        "route": "/v1/chat/completions",
        "model": "alpha",
        "status": 200,
        "reason": "ok",
        "prompt_tokens": 1,
    }
    assert b"secret" not in text
    assert b"0" * 43 not in text
