"""The benchmark's faults: what is sent, what it is to cost, and which disagreements are found."""

from collections import Counter
from itertools import islice
from typing import Any

import orjson
import pytest

from benchmarks.gateway import answers
from benchmarks.gateway.faults import counts
from benchmarks.gateway.faults.account import BURST, PER_SECOND, Reading, Span, charged
from benchmarks.gateway.faults.clients import Ended, reason_of_answer, reason_of_stream
from benchmarks.gateway.faults.engine import Cancelled, FaultyEngine, PlannedAnswer, Report
from benchmarks.gateway.faults.kinds import (
    ANSWER,
    BROKEN_STREAM,
    CHUNKS,
    ENGINE_ERROR,
    KINDS,
    LEFT_BEFORE,
    LEFT_STREAM,
    REFUSED,
    STREAM,
    Kind,
    choices,
    request_of,
)
from benchmarks.gateway.page import PageCounts, counted
from contract.errors import upstream_error
from contract.protocol import CHAT_ROUTE, RequestHead, ResponseHead, ResponseItem, ResponseTail
from contract.sse import DONE, event

PROMPT = 20  # tokens
CHUNK = answers.FIRST
FAILURE = event(upstream_error().envelope())


def ended(kind: Kind, **changed: Any) -> Ended:
    """One that went as it was meant to."""
    return Ended(request_of(kind), kind.outcome)._replace(**changed)


ONE_OF_EACH = [ended(kind, chunks=3 if kind.streams else 0, left_at=10.0 if kind.is_left else None) for kind in KINDS]
PAGE = PageCounts(Counter(one.outcome for one in ONE_OF_EACH), 1, 2 * (1 + CHUNKS))
CANCELLED = {one.request.id: Cancelled(10.1, 4) for one in ONE_OF_EACH if one.left_at is not None}


def disagreements(sent: list[Ended], page: PageCounts, cancelled: dict[str, Cancelled]) -> list[str]:
    table = counts.rows(sent, page, cancelled)
    return [
        *counts.wrong_counts(table, sent),
        *counts.wrong_tokens(sent, page),
        *counts.wrong_cancellations(sent, cancelled),
    ]


def test_a_client_sends_the_same_requests_in_every_run_and_others_than_the_next_client() -> None:
    first, again, other = (list(islice(choices(seed), 200)) for seed in (1, 1, 2))
    assert first == again
    assert not {one.id for one in first} & {one.id for one in other}
    assert {one.kind for one in first} == set(KINDS)


def test_nothing_is_wrong_where_all_agree() -> None:
    assert disagreements(ONE_OF_EACH, PAGE, CANCELLED) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_the_gateway_has_not_counted_is_found(kind: Kind) -> None:
    streams = PAGE.whole_streams - (kind is STREAM)
    page = PAGE._replace(requests=PAGE.requests - Counter([kind.outcome]), whole_streams=streams)
    assert disagreements(ONE_OF_EACH, page, CANCELLED) == [
        f"{kind.name}: 1 were sent, the clients count 1, the gateway 0"
    ]


def test_an_outcome_that_is_no_kind_s_is_found() -> None:
    page = PAGE._replace(requests=PAGE.requests + Counter([(504, "timeout")]))
    assert disagreements(ONE_OF_EACH, page, CANCELLED) == [
        "504 timeout: 0 were sent, the clients count 0, the gateway 1"
    ]


def test_what_a_client_sees_instead_is_shown() -> None:
    sent = [*ONE_OF_EACH, ended(ANSWER, outcome=(502, "upstream_error"))]
    page = PAGE._replace(requests=PAGE.requests + Counter([ENGINE_ERROR.outcome]))
    assert disagreements(sent, page, CANCELLED)[:3] == [
        "answer: 2 were sent, the clients count 1, the gateway 1",
        "engine-error: 1 were sent, the clients count 1, the gateway 2",
        "answer: 1 ended with status 502, upstream_error",
    ]


def test_tokens_that_the_gateway_has_not_counted_are_found() -> None:
    page = PAGE._replace(tokens=PAGE.tokens - 1)
    assert disagreements(ONE_OF_EACH, page, CANCELLED) == ["the engine has reported 42 tokens, the gateway counts 41"]


def test_cancellations_that_are_late_missing_or_nobody_s_are_found() -> None:
    late, missing = (one.request.id for one in ONE_OF_EACH if one.left_at is not None)
    cancelled = {late: Cancelled(11.5, 4), "nobody's": Cancelled(10.0, 0)}
    assert disagreements(ONE_OF_EACH, PAGE, cancelled) == [
        "1 answers that clients have left were not cancelled in the engine",
        "1 answers were cancelled in the engine that no client has left",
        "left-stream: an answer went on in the engine for 1500 ms after its client had left",
    ]
    assert missing not in cancelled


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        (ANSWER, Span(1 + CHUNKS, 1 + CHUNKS)),
        (STREAM, Span(1 + CHUNKS, 1 + CHUNKS)),
        (BROKEN_STREAM, Span(PROMPT + 3, PROMPT + 3)),
        (LEFT_STREAM, Span(PROMPT + 3, PROMPT + 4)),
        (LEFT_BEFORE, Span(PROMPT + CHUNKS, PROMPT + CHUNKS)),
        (REFUSED, Span(0, 0)),
        (ENGINE_ERROR, Span(0, 0)),
    ],
)
def test_what_a_request_costs_its_key(kind: Kind, cost: Span) -> None:
    one = next(one for one in ONE_OF_EACH if one.request.kind is kind)
    assert counts.charge_of(one, PROMPT, CANCELLED) == cost


def test_a_settlement_that_is_lost_is_found() -> None:
    owed = counts.charges(ONE_OF_EACH, PROMPT, CANCELLED)
    assert owed == Span(128, 129)
    assert list(counts.wrong_charges(Span(127, 131), owed)) == []
    assert list(counts.wrong_charges(Span(130 + CHUNKS, 134 + CHUNKS), owed)) != []
    assert list(counts.wrong_charges(Span(100, 127), owed)) != []


def test_the_account_is_read_past_its_refilling() -> None:
    """A thousand tokens are charged between two readings, a second of refilling apart."""
    before = charged([Reading(5.0, 5.01, BURST - 30_000)])
    after = charged([Reading(6.0, 6.01, BURST - 31_000 + PER_SECOND), Reading(6.005, 6.1, BURST - 30_950 + PER_SECOND)])
    least, most = after.since(before)
    assert least <= 1000 <= most
    assert most - least < 2.5 * PER_SECOND * 0.01


@pytest.mark.parametrize("remaining", [0, BURST])
def test_an_account_that_is_full_or_overdrawn_shows_nothing(remaining: int) -> None:
    with pytest.raises(ValueError, match="does not show"):
        charged([Reading(0.0, 0.0, remaining)])


@pytest.mark.parametrize(
    ("events", "chunks", "reason"),
    [
        ([CHUNK, CHUNK, DONE], 2, "ok"),
        ([CHUNK, FAILURE], 1, "upstream_error"),
        ([CHUNK, FAILURE], 2, "1 events came before the last, not 2 chunks"),
        ([CHUNK, FAILURE, DONE], 2, "2 events came before the last, not 2 chunks"),
        ([], 2, "0 events came before the last, not 2 chunks"),
        ([CHUNK, b"data: {"], 1, "neither an answer nor an error: b'{'"),
    ],
)
def test_how_a_stream_has_ended(events: list[bytes], chunks: int, reason: str) -> None:
    assert reason_of_stream(events, chunks) == reason


def test_how_a_whole_answer_has_ended() -> None:
    assert reason_of_answer(answers.COMPLETION) == "ok"
    assert reason_of_answer(upstream_error().body()) == "upstream_error"


def test_the_page_s_counts_are_those_of_one_model() -> None:
    page = "".join(
        f"# TYPE {name.partition('{')[0]} {kind}\n{name} {value}\n"
        for name, kind, value in (
            ('ray_portico_requests_total{model="echo",status="0",reason="client_gone"}', "counter", 3.0),
            ('ray_portico_requests_total{model="other",status="200",reason="ok"}', "counter", 5.0),
            ('ray_portico_tokens_total{model="echo",kind="prompt"}', "counter", 7.0),
            ('ray_portico_tokens_total{model="echo",kind="completion"}', "counter", 8.0),
        )
    )
    page += (
        '# TYPE ray_portico_inter_token_seconds histogram\nray_portico_inter_token_seconds_count{model="echo"} 2.0\n'
    )
    assert counted(page, "echo") == PageCounts(Counter({(0, "client_gone"): 3}), 2, 15)


async def started() -> FaultyEngine:
    model: Any = None  # it loads nothing
    return await FaultyEngine.start(model, None)


async def items_of(engine: FaultyEngine, kind: Kind) -> list[ResponseItem]:
    body = request_of(kind).body("echo") | {"seed": None}
    head = RequestHead(CHAT_ROUTE, "id", include_usage=False, echo={"metadata": body["metadata"]})
    return [item async for item in engine.answer(head, orjson.dumps(body))]


async def test_the_engine_reports_the_usage_that_a_request_names() -> None:
    usage = PlannedAnswer.of(request_of(ANSWER).body("echo")["metadata"]).usage()
    (whole,) = await items_of(await started(), ANSWER)
    assert isinstance(whole, ResponseHead)
    assert whole.usage == usage == {"prompt_tokens": 1, "completion_tokens": CHUNKS, "total_tokens": 1 + CHUNKS}
    assert (await items_of(await started(), STREAM))[-1] == ResponseTail(usage)


@pytest.mark.parametrize("kind", [BROKEN_STREAM, ENGINE_ERROR])
async def test_the_engine_fails_where_a_request_asks_for_it(kind: Kind) -> None:
    with pytest.raises(RuntimeError, match="as the request asked"):
        await items_of(await started(), kind)


async def test_the_engine_reports_what_is_under_way_and_what_was_cancelled() -> None:
    engine = await started()
    body = request_of(LEFT_STREAM).body("echo") | {"seed": None}
    head = RequestHead(CHAT_ROUTE, "left", include_usage=False, echo={"metadata": body["metadata"]})
    answer = engine.answer(head, orjson.dumps(body))
    for _ in range(3):  # the head and two events
        await anext(answer)
    assert await report_of(engine) == Report(1, {})
    await answer.aclose()
    report = await report_of(engine)
    assert (report.under_way, report.cancelled["left"].events) == (0, 2)


async def report_of(engine: FaultyEngine) -> Report:
    metadata = {"mode": "report", "chunks": "0", "tokens": "1", "port": "0"}
    head = RequestHead(CHAT_ROUTE, "id", include_usage=False, echo={"metadata": metadata})
    (answer,) = [item async for item in engine.answer(head, b"{}")]
    assert isinstance(answer, ResponseHead)
    return Report.of(answer.body or b"")
