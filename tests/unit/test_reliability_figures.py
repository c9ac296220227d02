"""The faults under load: how ends are told apart, where counts disagree, and that the page shows what was measured."""

from collections import Counter
from pathlib import Path

import pytest

from contract import sse
from contract.errors import ApiError, internal_error, model_starting, upstream_error
from tests.reliability import soak, table
from tests.reliability.books import Line, counted, in_lines, lines_of, unlike_counters, unlike_lines
from tests.reliability.measuring import Measured
from tests.reliability.outcomes import (
    Ended,
    Outcome,
    Verdict,
    events_of,
    good,
    lost,
    of_chat_stream,
    of_error,
    of_response_stream,
    of_speech_stream,
)

CHUNK = sse.event({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
LAST_CHUNK = sse.event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
FAILURE = b"\n\n" + sse.event(upstream_error().envelope())
FAILED_RESPONSE = sse.event({"response": {"error": {"code": "timeout"}}}, "response.failed")


def ended(request_id: str, outcome: Outcome, sent: float = 0.0, until: float = 1.0, kind: str = "chat") -> Ended:
    return Ended(request_id, kind, outcome, sent, until)


def test_the_page_shows_what_the_csv_has() -> None:
    _, shown, after = table.parts(table.PAGE.read_text())
    assert shown == table.table(table.read())
    assert after.startswith(table.END)


def test_no_run_that_is_shown_has_lost_a_request_but_those_of_a_gateway_replica_that_died() -> None:
    with_a_gateway = {"a gateway replica is killed", "a node is killed, another joins"}
    assert {row.fault for row in table.read() if row.lost} <= with_a_gateway


@pytest.mark.parametrize(
    ("error", "retry_after", "verdict"),
    [
        (model_starting(), "5", Verdict.REFUSED),
        (ApiError("rate_limit_exceeded", "Too many."), "1", Verdict.REFUSED),
        (model_starting(), None, Verdict.LOST),
        (model_starting(), "0", Verdict.LOST),
        (upstream_error(), None, Verdict.FAILED),
        (upstream_error(), "5", Verdict.LOST),
        (ApiError("timeout", "Too long."), None, Verdict.FAILED),
        (internal_error(), None, Verdict.LOST),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
def test_an_error_is_a_refusal_or_a_failure_of_the_contract_or_the_request_is_lost(
    error: ApiError, retry_after: str | None, verdict: Verdict
) -> None:
    assert of_error(error.status, retry_after, error.body()).verdict is verdict


@pytest.mark.parametrize("body", [b"", b"Internal Server Error", b"[]", b'{"error": {"code": "upstream_error"}}'])
def test_an_error_without_the_envelope_is_lost(body: bytes) -> None:
    assert of_error(502, None, body).verdict is Verdict.LOST


@pytest.mark.parametrize(
    ("judge", "received", "expected"),
    [
        (of_chat_stream, CHUNK + sse.PING + LAST_CHUNK + sse.DONE, (Verdict.OK, "ok")),
        (of_chat_stream, CHUNK + FAILURE, (Verdict.CUT, "upstream_error")),
        (of_chat_stream, FAILURE, (Verdict.CUT, "upstream_error")),
        (of_response_stream, sse.event({}, "response.completed") + sse.DONE, (Verdict.OK, "ok")),
        (of_response_stream, sse.event({}, "response.created") + FAILED_RESPONSE, (Verdict.CUT, "timeout")),
        (of_speech_stream, sse.event({"type": "speech.audio.done"}), (Verdict.OK, "ok")),
        (of_speech_stream, sse.event(upstream_error().envelope(), "error"), (Verdict.CUT, "upstream_error")),
    ],
)
def test_a_stream_ends_well_or_in_the_error_form_of_its_route(
    judge: object, received: bytes, expected: tuple[Verdict, str]
) -> None:
    assert callable(judge)
    outcome = judge(events_of(received))
    assert (outcome.verdict, outcome.reason) == expected


@pytest.mark.parametrize(
    "received",
    [b"", CHUNK, CHUNK + CHUNK[:10], LAST_CHUNK + FAILURE, CHUNK + FAILURE.rstrip(), CHUNK + FAILED_RESPONSE],
    ids=["empty", "no end", "half an event", "a failure that looks like success", "half a failure", "another route's"],
)
def test_a_chat_stream_that_ends_otherwise_is_lost(received: bytes) -> None:
    assert of_chat_stream(events_of(received)).verdict is Verdict.LOST


def test_a_client_and_the_gateway_s_line_of_a_request_must_say_the_same() -> None:
    route = "/v1/chat/completions"
    lines = {
        "well": Line(route, 200, "ok"), "refused": Line(route, 503, "overloaded"), "cut": Line(route, 200, "timeout"),
    }  # fmt: skip
    same = [
        ended("well", good()), ended("refused", Outcome(Verdict.REFUSED, 503, "overloaded")),
        ended("cut", Outcome(Verdict.CUT, 200, "timeout")),
    ]  # fmt: skip
    assert list(unlike_lines(same, lines)) == []
    other = [ended("well", lost(0, "closed")), ended("refused", good()), ended("cut", good()), ended("none", good())]
    assert len(list(unlike_lines(other, lines))) == 4


def test_a_gateway_replica_that_died_takes_the_last_lines_with_it() -> None:
    assert list(unlike_lines([ended("under way", good(), 9.0, 11.0), ended("done", good(), 8.0, 9.5)], {}, 10.0)) == []
    assert (
        len(list(unlike_lines([ended("before", good(), 1.0, 2.0), ended("later", good(), 11.0, 12.0)], {}, 10.0))) == 2
    )


def test_what_haproxy_answers_for_a_gateway_replica_whose_death_it_has_not_noticed_has_no_line() -> None:
    failure = Outcome(Verdict.FAILED, 502, "upstream_error")
    assert list(unlike_lines([ended("soon after", failure, 11.0, 11.5)], {}, 10.0)) == []
    assert len(list(unlike_lines([ended("later", failure, 20.0, 20.5)], {}, 10.0))) == 1


def test_lines_and_counters_are_compared_by_route_status_and_reason() -> None:
    page = (
        "# HELP ray_portico_requests_total Requests.\n# TYPE ray_portico_requests_total counter\n"
        'ray_portico_requests_total{route="/v1/embeddings",model="a",status="200",reason="ok"} 2.0\n'
        'ray_portico_requests_total{route="/v1/embeddings",model="b",status="200",reason="ok"} 1.0\n'
        'ray_portico_requests_total{route="/ready",model="",status="200",reason="ok"} 7.0\n'
    )
    line = Line("/v1/embeddings", 200, "ok")
    assert unlike_counters(in_lines([line] * 3), counted(page)) == []
    assert len(unlike_counters(in_lines([line] * 2), counted(page))) == 1


def test_the_lines_are_the_gateway_s_and_not_those_of_the_models_replicas(tmp_path: Path) -> None:
    logs = tmp_path / "session_1" / "logs"
    logs.mkdir(parents=True)
    begin = '{"time":"2026-01-01T00:00:00Z","request_id":"1","route":"/v1/audio/speech","status":200,"reason":'
    (logs / "worker-a.out").write_text(f'warming up\n{begin}"client_gone","overhead_ms":1.5}}\n')
    (logs / "worker-b.out").write_text(f'{begin}"ok","engine_ms":20.0}}\n')
    assert lines_of(tmp_path) == {"1": Line("/v1/audio/speech", 200, "client_gone")}


def test_recovery_lasts_until_the_first_good_answer_after_the_last_bad_one() -> None:
    chats = [ended("1", good(), 9, 10.5), ended("2", Outcome(Verdict.FAILED, 502, "upstream_error"), 11, 12)]
    images = [ended("4", good(), 11, 12, "image")]
    measured = Measured([*chats, *images], 10.0, [], [])
    assert measured.recovery_s() == float("inf")
    assert measured._replace(ended=[*measured.ended, ended("3", good(), 13, 14)]).recovery_s() == 4.0
    assert measured.bad() == Counter({"chat: failed 502 upstream_error": 1})


class TestSoak:
    """The figures of a long load."""

    def test_a_minute_has_the_quantiles_of_what_was_sent_in_it_and_counts_what_was_not_good(self) -> None:
        ends = [ended(str(number), good(), 0.0, 0.01 * number) for number in range(1, 100)]
        ends.append(ended("100", lost(0, "closed"), 0.0, 1.0))
        minute = soak.minute_of(3, ends, 2, 180, 90)
        assert minute == soak.Minute(3, 100, 1, 2, 505, 990, 180, 90)

    def test_the_growth_is_the_slope_of_the_later_two_thirds(self) -> None:
        memory = [100, 150, 180, *(180 + number for number in range(6))]
        minutes = [soak.Minute(number, 9, 0, 0, 1, 2, mb, 50) for number, mb in enumerate(memory, 1)]
        assert soak.growth_mb_per_hour(minutes) == pytest.approx(60)

    @pytest.mark.skipif(not soak.CSV.exists(), reason="it has not run yet")
    def test_the_page_shows_what_the_csv_has(self) -> None:
        assert f"{soak.BEGIN}{soak.table(soak.read())}{soak.END}" in soak.PAGE.read_text()
