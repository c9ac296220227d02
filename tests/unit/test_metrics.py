"""What is counted reaches Ray once, whole, in few calls, and none of them on the way of an answer."""

import asyncio
from typing import Any

import pytest
from ray.util.metrics import Metric

from app.background.supervisor import Loop
from app.telemetry import metrics
from app.telemetry.metrics import RayMetrics
from app.telemetry.record import RequestRecord

ROUTE = "/v1/chat/completions"
LABELS = {"route": ROUTE, "model": "alpha"}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    """Every call of Ray's: the metric, the value, its tags."""
    calls: list[tuple[str, float, dict[str, str]]] = []
    monkeypatch.setattr(Metric, "_record", lambda metric, value, tags: calls.append((metric._name, value, tags)))
    return calls


def stream(**changes: Any) -> RequestRecord:
    """A streamed chat that ended well, with `changes` on top."""
    facts: dict[str, Any] = {
        "route": ROUTE,
        "model_id": "alpha",
        "key_id": "local0000000",
        "status": 200,
        "makes_text": True,
        "streamed": True,
        "overhead_s": 0.25,
        "first_byte_s": 2.0,
        "total_s": 3.0,
        "usage": {"prompt_tokens": 7, "completion_tokens": 11},
    }
    return RequestRecord("", **(facts | changes))


async def test_every_fact_of_a_request_reaches_its_metric(exported: list[Any]) -> None:
    one = RayMetrics()
    one.record(stream())
    assert exported == []
    await one.export()
    assert sorted(exported, key=str) == sorted(
        [
            ("portico_requests", 1, LABELS | {"status": "200", "reason": "ok"}),
            ("portico_request_seconds", 3.0, LABELS),
            ("portico_first_byte_seconds", 2.0, LABELS),
            ("portico_overhead_seconds", 0.25, LABELS),
            ("portico_time_to_first_token_seconds", 2.0, LABELS),
            ("portico_inter_token_seconds", 0.1, LABELS),
            ("portico_tokens", 7, LABELS | {"kind": "prompt"}),
            ("portico_tokens", 11, LABELS | {"kind": "completion"}),
            ("portico_key_requests", 1, {"key": "local0000000"}),
            ("portico_key_tokens", 7, {"key": "local0000000", "kind": "prompt"}),
            ("portico_key_tokens", 11, {"key": "local0000000", "kind": "completion"}),
        ],
        key=str,
    )


async def test_a_request_without_key_model_and_answer_is_counted_all_the_same(exported: list[Any]) -> None:
    one = RayMetrics()
    one.record(RequestRecord("", route="unknown", reason="client_gone", total_s=0.5))
    await one.export()
    labels = {"route": "unknown", "model": ""}
    assert exported == [
        ("portico_requests", 1, labels | {"status": "0", "reason": "client_gone"}),
        ("portico_request_seconds", 0.5, labels),
    ]


async def test_a_counter_of_many_requests_is_one_call_and_a_histogram_has_every_value(exported: list[Any]) -> None:
    one = RayMetrics()
    for second in range(1, 301):
        one.record(stream(total_s=second, refused_resource="tokens"))
    await one.export()
    await one.export()
    counters = {(name, tags.get("kind")): value for name, value, tags in exported if not name.endswith("_seconds")}
    assert counters == {
        ("portico_requests", None): 300,
        ("portico_tokens", "prompt"): 2100,
        ("portico_tokens", "completion"): 3300,
        ("portico_key_requests", None): 300,
        ("portico_key_tokens", "prompt"): 2100,
        ("portico_key_tokens", "completion"): 3300,
        ("portico_budget_refusals", None): 300,
    }
    assert len([name for name, _, _ in exported if not name.endswith("_seconds")]) == len(counters)
    seconds = [value for name, value, _ in exported if name == "portico_request_seconds"]
    assert sorted(seconds) == list(range(1, 301))


async def test_an_export_lets_others_in_and_may_be_cut_off(
    exported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stop does it, with an export of its own after it; and what is recorded meanwhile counts, too."""
    monkeypatch.setattr(metrics, "CALLS_AT_ONCE", 3)
    one = RayMetrics()
    for second in range(1, 11):
        one.record(stream(total_s=second))
    export = asyncio.create_task(one.export())
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < len(exported) < 10
    one.record(stream(total_s=11))
    export.cancel()
    await asyncio.gather(export, return_exceptions=True)
    assert export.cancelled()
    await one.export()
    assert sorted(value for name, value, _ in exported if name == "portico_request_seconds") == list(range(1, 12))
    assert sum(value for name, value, _ in exported if name == "portico_requests") == 11
    assert sum(value for name, value, _ in exported if name == "portico_key_tokens") == 11 * 18


async def test_a_gauge_has_its_last_value_and_only_where_it_was_set(exported: list[Any]) -> None:
    one = RayMetrics()
    for number in (1, 2, 3):
        one.set_waiting("alpha", number)
    one.set_waiting("beta", 5)
    await one.export()
    one.set_waiting("alpha", 0)
    await one.export()
    assert [(value, tags["model"]) for _, value, tags in exported[2:]] == [(0, "alpha")]
    assert sorted((tags["model"], value) for _, value, tags in exported[:2]) == [("alpha", 3), ("beta", 5)]


async def test_a_failure_of_a_background_loop_is_counted_under_its_name(exported: list[Any]) -> None:
    one = RayMetrics()
    one.count_loop_failure(Loop.KEY_FILE)
    one.count_queue_refusal("alpha")
    await one.export()
    assert exported == [
        ("portico_background_loop_failures", 1, {"loop": "key_file"}),
        ("portico_queue_refusals", 1, {"model": "alpha"}),
    ]


async def test_usage_that_waits_is_a_gauge_and_what_is_lost_is_counted(exported: list[Any]) -> None:
    one = RayMetrics()
    for rows in (7, 0):
        one.show_waiting_usage(rows)
        one.count_lost_usage(2)
    await one.export()
    assert exported == [("portico_usage_rows_waiting", 0, {}), ("portico_usage_rows_lost", 4, {})]


async def test_what_is_recorded_is_exported_again_and_again(
    exported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "EXPORT_SECONDS", 0)
    one = RayMetrics()
    keeping = asyncio.create_task(one.keep_exported())
    for total in (1, 2):
        one.count_queue_refusal("alpha")
        async with asyncio.timeout(5):
            while len(exported) < total:
                await asyncio.sleep(0)
    keeping.cancel()
