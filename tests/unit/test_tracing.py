"""Traces of requests: the spans that come to a receiver of OTLP, and what there is none of where tracing is off."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from app.builder import build
from app.config.service import parse_config
from app.config.tracing import Tracing
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY
from app.serving.ingress import IngressReplica
from app.serving.tracing import make_tracer
from app.telemetry import tracer as tracers
from app.telemetry.record import RequestRecord
from app.telemetry.trace import Parent, parent_from
from app.telemetry.tracer import DROPPED, EXPORTED, FAILED, Tracer
from contract.errors import ApiError
from contract.fields import ConfigError
from contract.options.catalog import ServedModel
from contract.project import PROJECT_FOLDER
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from contract.tracing import EXPORT_LOGGERS, GRPC, TraceExport, log_failed_exports_seldom
from deployments.vllm.tracing import trace_arguments
from tests.otlp_receiver import OtlpReceiver, Span
from tests.own_ports import free_port
from tests.unit.conftest import StandInRelay, chat, client_of, config_args

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
CHAT = "POST /v1/chat/completions"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def counts() -> dict[str, int]:
    """What became of the spans."""
    return {EXPORTED: 0, FAILED: 0, DROPPED: 0}


@pytest.fixture
def make_traced(
    make_gateway: Callable[..., Gateway], receiver: OtlpReceiver, counts: dict[str, int]
) -> Iterator[Callable[..., httpx.AsyncClient]]:
    """Clients of gateways that trace, which export at once when they are flushed."""
    made: list[Tracer] = []

    def count(number: int, outcome: str) -> None:
        counts[outcome] += number

    def make(key: str | None = LOCAL_KEY, sample_ratio: float = 1.0, **changes: Any) -> httpx.AsyncClient:
        export = TraceExport(changes.pop("endpoint", receiver.endpoint), changes.pop("protocol", "http/protobuf"))
        config = changes.pop("config", None)
        made.append(Tracer(export, sample_ratio, count, **changes))
        return client_of(make_gateway(config, tracer=made[-1]), key)

    yield make
    for tracer in made:
        tracer.close()


@pytest.fixture
async def traced(make_traced: Callable[..., httpx.AsyncClient]) -> AsyncGenerator[httpx.AsyncClient]:
    async with make_traced() as client:
        yield client


@pytest.fixture(autouse=True)
def _batches_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


async def wait(receiver: OtlpReceiver, number: int, trace_id: str = TRACE) -> dict[str, Span]:
    return await asyncio.to_thread(receiver.wait, trace_id, number)


def stream(relay: StandInRelay) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n", ResponseTail(USAGE)]


async def test_a_stream_is_one_trace_of_the_client_s(
    traced: httpx.AsyncClient, relay: StandInRelay, receiver: OtlpReceiver, log_lines: list[bytes]
) -> None:
    stream(relay)
    body = chat(stream=True, temperature=0.5, max_tokens=9, seed=2**70)
    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
    response = await traced.post("/v1/chat/completions", json=body, headers=headers)
    spans = await wait(receiver, 4)
    assert sorted(spans) == [CHAT, "admission", "chat alpha", "queue"]
    whole, call = spans[CHAT], spans["chat alpha"]
    assert whole.parent_id == SPAN
    assert {span.parent_id for span in spans.values()} - {SPAN} == {whole.span_id}
    assert {span.state for span in spans.values()} == {"vendor=1"}
    assert {span.service for span in spans.values()} == {"portico"}
    assert len({span.span_id for span in spans.values()}) == 4
    assert whole.begins_ns <= spans["admission"].begins_ns <= spans["admission"].ends_ns <= spans["queue"].begins_ns
    assert spans["queue"].ends_ns == call.begins_ns <= call.ends_ns <= whole.ends_ns
    _, head, _ = relay.sent[0]
    assert head.traceparent == f"00-{TRACE}-{call.span_id}-01"
    assert head.tracestate == "vendor=1"
    assert response.headers["x-trace-id"] == TRACE
    assert json.loads(log_lines[0])["trace_id"] == TRACE


async def test_the_call_to_the_model_has_the_conventions_attributes(
    traced: httpx.AsyncClient, relay: StandInRelay, receiver: OtlpReceiver
) -> None:
    stream(relay)
    body = chat(stream=True, temperature=0.5, top_p=0.25, max_tokens=9)
    await traced.post("/v1/chat/completions", json=body, headers={"traceparent": SAMPLED})
    spans = await wait(receiver, 4)
    attributes = spans["chat alpha"].attributes
    assert 0 <= attributes.pop("gen_ai.response.time_to_first_chunk") < 10
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "alpha",
        "gen_ai.response.model": "alpha",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.25,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }
    assert spans["chat alpha"].kind == SpanKind.CLIENT.value + 1  # OTLP counts from one
    request = spans[CHAT].attributes
    assert (request["http.route"], request["http.response.status_code"]) == ("/v1/chat/completions", 200)
    assert (request["portico.key"], request["portico.reason"]) == ("local0000000", "ok")


async def test_no_span_has_text_of_a_prompt_or_a_key(
    traced: httpx.AsyncClient, relay: StandInRelay, receiver: OtlpReceiver
) -> None:
    plans = "the-plans-of-the-palace"
    relay.items = [ResponseHead(200, body=b'{"answer": "the-plans-of-the-palace"}', usage=USAGE)]
    body = chat(messages=[{"role": "user", "content": plans}], user=plans, stop=[plans], metadata={"a": plans})
    headers = {"traceparent": SAMPLED, "user-agent": plans}
    response = await traced.post(f"/v1/chat/completions?{plans}", json=body, headers=headers)
    assert response.status_code == 200
    await traced.get(f"/v1/{plans}/{plans}", headers={"traceparent": SAMPLED})
    await traced.request("THE-PLANS-OF-THE-PALACE", "/v1/models", headers={"traceparent": SAMPLED})
    spans = await wait(receiver, 6)
    everything = "".join(span.everything for span in spans.values()).lower()
    assert plans not in everything
    assert LOCAL_KEY.rpartition("-")[2] not in everything


@pytest.mark.parametrize(
    ("traceparent", "tracestate", "parent"),
    [
        (SAMPLED, "a=1,b=2", Parent(int(TRACE, 16), int(SPAN, 16), True, "a=1,b=2")),
        (UNSAMPLED, "", Parent(int(TRACE, 16), int(SPAN, 16), False)),
        (f"01-{TRACE}-{SPAN}-01-more", "", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (SAMPLED, "a=" + "1" * 600, Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (SAMPLED, ",".join(["a=1"] * 33), Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (SAMPLED, "1a@b=c, b=2,", Parent(int(TRACE, 16), int(SPAN, 16), True, "1a@b=c, b=2,")),
        (SAMPLED, "nonsense, my secret", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (SAMPLED, "a=\x00", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"00-{TRACE}-{SPAN}-01-more", "", None),
        (f"ff-{TRACE}-{SPAN}-01", "", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", "", None),
        (f"00-{'0' * 32}-{SPAN}-01", "", None),
        (f"00-{TRACE}-{'0' * 16}-01", "", None),
        (f"00-{TRACE}-{SPAN}", "", None),
        (f"00-{TRACE}-{SPAN}-01\n", "", None),
        (f"00-{TRACE[:-1]}٣-{SPAN}-01", "", None),
        ("01-" + "a" * 100_000, "", None),
        ("", "a=1", None),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_traceparent_counts_where_the_w3c_s_rules_say_so(
    traceparent: str, tracestate: str, parent: Parent | None
) -> None:
    assert parent_from({"traceparent": traceparent, "tracestate": tracestate}) == parent


async def test_a_malformed_traceparent_begins_a_trace_of_its_own(
    traced: httpx.AsyncClient, receiver: OtlpReceiver
) -> None:
    headers = {"traceparent": f"00-{TRACE}-nonsense-01", "tracestate": "a=1"}
    response = await traced.get("/v1/models", headers=headers)
    trace_id = response.headers["x-trace-id"]
    spans = await wait(receiver, 1, trace_id)
    assert trace_id != TRACE
    assert (spans["GET /v1/models"].parent_id, spans["GET /v1/models"].state) == ("", "")


@pytest.mark.parametrize(
    ("ratio", "trusts", "traceparent", "key", "comes"),
    [
        (1.0, True, None, LOCAL_KEY, True),
        (0.0, True, None, LOCAL_KEY, False),
        (0.0, True, SAMPLED, LOCAL_KEY, True),
        (1.0, True, UNSAMPLED, LOCAL_KEY, False),
        (0.0, False, SAMPLED, LOCAL_KEY, False),
        (1.0, False, UNSAMPLED, LOCAL_KEY, True),
        (0.0, True, SAMPLED, "sk-portico-wrong", False),
        (1.0, True, SAMPLED, "sk-portico-wrong", True),
    ],
    ids=str,
)
async def test_who_decides_whether_a_request_is_traced(
    make_traced: Callable[..., httpx.AsyncClient], relay: StandInRelay, receiver: OtlpReceiver,
    ratio: float, trusts: bool, traceparent: str | None, key: str, comes: bool,
) -> None:  # fmt: skip
    headers = {} if traceparent is None else {"traceparent": traceparent}
    async with make_traced(key, ratio, trust_client_sampling=trusts) as client:
        response = await client.post("/v1/chat/completions", json=chat(), headers=headers)
        if relay.sent:
            assert relay.sent[0][1].traceparent.endswith("-01" if comes else "-00")
        trace_id = response.headers["x-trace-id"]
        if comes:
            await wait(receiver, 1, trace_id)
        else:
            await asyncio.sleep(0.3)
            assert receiver.all_spans() == []


def test_a_ratio_is_a_part_of_the_traces(receiver: OtlpReceiver) -> None:
    tracer = Tracer(TraceExport(receiver.endpoint), 0.25, lambda *_: None)
    drawn = sum(tracer.begin("GET", {}).sampled for _ in range(4_000))
    tracer.close()
    assert 800 < drawn < 1_200


async def test_probes_are_not_traced(traced: httpx.AsyncClient, receiver: OtlpReceiver) -> None:
    for path in ("/health", "/ready", "/metrics"):
        await traced.get(path, headers={"traceparent": SAMPLED})
    await traced.get("/v1/models", headers={"traceparent": SAMPLED})
    assert list(await wait(receiver, 1)) == ["GET /v1/models"]


@pytest.mark.parametrize(
    ("code", "status", "failed"), [("upstream_error", 502, True), ("context_length_exceeded", 422, False)]
)
async def test_a_span_has_failed_where_the_service_is_to_blame(
    traced: httpx.AsyncClient, relay: StandInRelay, receiver: OtlpReceiver, code: str, status: int, failed: bool
) -> None:
    relay.items = [ApiError(code, "no")]
    response = await traced.post("/v1/chat/completions", json=chat(), headers={"traceparent": SAMPLED})
    assert set(response.json()["error"]) == {"message", "type", "code", "param"}
    assert response.headers["x-trace-id"] == TRACE
    spans = await wait(receiver, 4)
    assert {name for name, span in spans.items() if span.failed} == ({CHAT, "chat alpha"} if failed else set())
    assert spans[CHAT].attributes["error.type"] == spans["chat alpha"].attributes["error.type"] == code
    assert spans[CHAT].attributes["http.response.status_code"] == status


async def test_a_stream_that_breaks_off_has_failed(
    traced: httpx.AsyncClient, relay: StandInRelay, receiver: OtlpReceiver
) -> None:
    relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n"]
    await traced.post("/v1/chat/completions", json=chat(stream=True), headers={"traceparent": SAMPLED})
    spans = await wait(receiver, 4)
    assert spans[CHAT].failed
    assert spans[CHAT].attributes["error.type"] == "upstream_error"


async def test_a_spent_budget_is_seen_at_the_admission(
    make_traced: Callable[..., httpx.AsyncClient], receiver: OtlpReceiver
) -> None:
    keys = config_args()["keys"]
    keys[0]["budget"] = {"requests_per_minute": 1}
    async with make_traced(config=parse_config(config_args(keys=keys))) as client:
        await client.post("/v1/chat/completions", json=chat())
        response = await client.post("/v1/chat/completions", json=chat(), headers={"traceparent": SAMPLED})
    assert response.status_code == 429
    spans = await wait(receiver, 2)
    assert sorted(spans) == [CHAT, "admission"]
    assert spans["admission"].attributes == {"portico.refused": "requests"}
    assert not spans[CHAT].failed


async def test_spans_go_to_a_receiver_of_grpc_too(
    make_traced: Callable[..., httpx.AsyncClient], receiver: OtlpReceiver
) -> None:
    class Servicer:
        def Export(self, request: Any, _: Any) -> ExportTraceServiceResponse:  # noqa: N802 - grpc calls it so
            receiver.take(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        async with make_traced(endpoint=f"http://127.0.0.1:{port}", protocol=GRPC) as client:
            await client.get("/v1/models", headers={"traceparent": SAMPLED})
            await wait(receiver, 1)
    finally:
        server.stop(None).wait()


async def test_the_headers_of_a_file_are_sent_along(receiver: OtlpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("authorization=Bearer%20abc\nx-team=a\n")
    tracer = Tracer(TraceExport(receiver.endpoint, headers_file=str(file)), 1.0, lambda *_: None)
    trace = tracer.begin("GET", {})
    tracer.end(trace, RequestRecord("id", trace=trace))
    await wait(receiver, 1, trace.hex_id)
    tracer.close()
    assert (receiver.headers[0]["authorization"], receiver.headers[0]["x-team"]) == ("Bearer abc", "a")


async def test_a_receiver_that_is_away_costs_spans_and_no_request(
    make_traced: Callable[..., httpx.AsyncClient], counts: dict[str, int], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracers, "MAX_WAITING_SPANS", 64)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    for name in EXPORT_LOGGERS:
        logging.getLogger(name).filters.clear()
    keys = config_args()["keys"]
    keys[0]["budget"] = {"requests_per_minute": 60_000}
    config = parse_config(config_args(keys=keys))
    async with make_traced(endpoint=f"http://127.0.0.1:{free_port()}", config=config) as client:
        for _ in range(200):
            assert (await client.post("/v1/chat/completions", json=chat())).status_code == 200
    assert counts[EXPORTED] == 0
    assert counts[DROPPED] > 0
    assert counts[DROPPED] % 4 == 0, "a request's spans are dropped together"
    from_exporters = [one for one in caplog.records if one.name.startswith("opentelemetry")]
    assert len(from_exporters) <= 1, from_exporters


def test_the_end_of_the_process_does_not_wait_for_a_receiver_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracers, "LAST_EXPORT_S", 0.1)
    tracer = Tracer(TraceExport(f"http://127.0.0.1:{free_port()}"), 1.0, lambda *_: None)
    trace = tracer.begin("GET", {})
    tracer.end(trace, RequestRecord("id", trace=trace))
    began = time.monotonic()
    tracer.close()
    assert time.monotonic() - began < 5, "it has tried again for as long as an exporter does, which is ten seconds"


def test_a_tracer_that_another_follows_ends_with_its_last_request(receiver: OtlpReceiver) -> None:
    tracer = Tracer(TraceExport(receiver.endpoint), 1.0, lambda *_: None)
    trace = tracer.begin("GET", {})
    tracer.retire()
    tracer.end(trace, RequestRecord("id", route="/v1/models", trace=trace))
    assert list(receiver.wait(trace.hex_id, 1)) == ["GET /v1/models"]


def test_failed_exports_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(EXPORT_LOGGERS[0])
    logger.filters.clear()
    log_failed_exports_seldom()
    log_failed_exports_seldom()
    for number in range(5):
        logger.error("failed %d", number)
    assert [one.getMessage() for one in caplog.records] == ["failed 0"]
    assert len(logger.filters) == 1


class TestOff:
    """What is left of all this where the configuration says nothing of tracing."""

    async def test_a_response_a_line_and_the_engine_know_no_trace(
        self, client: httpx.AsyncClient, relay: StandInRelay, log_lines: list[bytes]
    ) -> None:
        response = await client.post("/v1/chat/completions", json=chat(), headers={"traceparent": SAMPLED})
        assert "x-trace-id" not in response.headers
        assert "trace_id" not in json.loads(log_lines[0])
        assert relay.sent[0][1].traceparent == ""

    def test_the_gateway_runs_without_opentelemetry(self) -> None:
        """Serve's replicas import its SDK themselves, but no exporter; see also `test_imports`."""
        code = """
import sys
import app.serving.tracing
from app.config.tracing import Tracing
assert app.serving.tracing.make_tracer(Tracing(), print, None) is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_FOLDER, check=True
        )
        assert found.stdout.strip() == "[]"

    def test_no_engine_gets_an_argument(self) -> None:
        assert trace_arguments(ServedModel("alpha", "vllm", "chat", "./alpha")) == {}


class TestServe:
    """Serve's own tracing, where it is on as well."""

    async def test_serve_s_span_is_the_parent_of_the_gateway_s(
        self, traced: httpx.AsyncClient, receiver: OtlpReceiver
    ) -> None:
        from opentelemetry.context import attach, detach

        serves = SpanContext(int(TRACE, 16), 0xABC, is_remote=False, trace_flags=TraceFlags(1))
        token = attach(set_span_in_context(NonRecordingSpan(serves)))
        try:
            await traced.get("/v1/models", headers={"traceparent": f"00-{'1' * 32}-{SPAN}-01"})
        finally:
            detach(token)
        assert (await wait(receiver, 1))["GET /v1/models"].parent_id == f"{0xABC:016x}"

    def test_serve_takes_our_exporter(self, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from ray.serve._private.tracing_utils import _load_span_processors

        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        processors = _load_span_processors("app.telemetry.serve_spans:span_processors", "")
        provider = TracerProvider()
        for processor in processors:
            provider.add_span_processor(processor)
        with provider.get_tracer("serve").start_as_current_span("replica_handle_request") as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
        assert list(receiver.wait(trace_id, 1)) == ["replica_handle_request"]
        provider.shutdown()


class TestEngine:
    """vLLM's own spans: what it gets to make them."""

    def test_vllm_gets_the_endpoint_and_opentelemetry_s_variables(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("TRACES_SAMPLER", "SERVICE_NAME", "EXPORTER_OTLP_TRACES_PROTOCOL", "EXPORTER_OTLP_TRACES_HEADERS"):
            monkeypatch.setenv(f"OTEL_{name}", "")
            monkeypatch.delenv(f"OTEL_{name}")
        (tmp_path / "headers").write_text("a=b")
        export = TraceExport("http://collector:4318", service_name="here", headers_file=str(tmp_path / "headers"))
        model = ServedModel("alpha", "vllm", "chat", "./alpha", tracing=export)
        assert trace_arguments(model) == {"otlp_traces_endpoint": "http://collector:4318/v1/traces"}
        assert os.environ["OTEL_SERVICE_NAME"] == "here-alpha"
        assert os.environ["OTEL_TRACES_SAMPLER"] == "parentbased_always_off"
        assert os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
        assert os.environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] == "a=b"

    def test_a_change_restarts_the_models_on_vllm_and_no_other(self) -> None:
        embedder = {"id": "beta", "task": "embeddings", "engine": "sentence-transformers", "source": "./beta"}
        args = config_args(models=[config_args()["models"][0], embedder], keys=config_args()["keys"][:1])

        def bound(**changes: Any) -> dict[str, Any]:
            application = build(args | changes)._bound_deployment
            (handles,) = application.init_args
            deployments = [application, *(one._bound_deployment for one in handles.values())]
            return {one.name: (one._deployment_config.version, one.init_args[1:2]) for one in deployments}

        off, on = bound(), bound(tracing={"endpoint": "http://c:4318"})
        other = bound(tracing={"endpoint": "http://d:4318"})
        gateway_only = bound(tracing={"endpoint": "http://c:4318", "sample_ratio": 0.5})
        assert len({one["alpha"][0] for one in (off, on, other)}) == 3
        assert gateway_only["alpha"] == on["alpha"]
        assert on["alpha"][1][0].tracing == TraceExport("http://c:4318")
        assert off["beta"] == on["beta"]
        assert off["gateway"][0] == on["gateway"][0]


class TestGatewayReplica:
    """A replica of the gateway, which follows its configuration."""

    async def test_it_keeps_its_tracer_where_only_something_else_changes(self, receiver: OtlpReceiver) -> None:
        tracing = {"endpoint": receiver.endpoint}
        replica = IngressReplica({})
        assert await replica._tracer_of(parse_config(config_args())) is None
        replica._config = parse_config(config_args(tracing=tracing))
        replica._tracer = tracer = await replica._tracer_of(
            parse_config(config_args(tracing=tracing | {"sample_ratio": 0.5}))
        )
        assert tracer is not None
        changed = config_args(tracing=tracing, limits={"ping_interval_s": 5})
        assert await replica._tracer_of(parse_config(changed)) is tracer
        tracer.close()


class TestConfiguration:
    """`tracing` of a configuration."""

    @pytest.mark.parametrize(
        ("tracing", "export"),
        [
            ({}, None),
            ({"endpoint": "http://c:4318"}, TraceExport("http://c:4318")),
            (
                {"endpoint": "https://c:4317", "protocol": "grpc", "headers_file": "./h"},
                TraceExport("https://c:4317", "grpc", headers_file=str(PROJECT_FOLDER / "h")),
            ),
        ],
        ids=str,
    )
    def test_it_says_where_spans_go(self, tracing: dict[str, Any], export: TraceExport | None) -> None:
        assert parse_config(config_args(tracing=tracing)).tracing.export() == export

    @pytest.mark.parametrize("tracing", [{}, {"endpoint": "http://c:4318", "sample_ratio": 0.5}], ids=str)
    def test_it_is_the_same_as_the_gateway_s_replicas_get_it(self, tracing: dict[str, Any]) -> None:
        config = parse_config(config_args(tracing=tracing))
        assert parse_config(config.model_dump(mode="json")).tracing == config.tracing

    @pytest.mark.parametrize(
        ("tracing", "said"),
        [
            ({"sample_ratio": 0.1}, "endpoint is missing"),
            ({"endpoint": "collector:4318"}, "tracing.endpoint"),
            ({"endpoint": "http://user:secret@c:4318"}, "tracing.endpoint"),
            ({"endpoint": "http://c:4317"}, "where collectors take grpc"),
            ({"endpoint": "http://c:4318", "protocol": "grpc"}, "where collectors take http/protobuf"),
            ({"endpoint": "http://c:9/v1/traces", "protocol": "grpc"}, "gRPC has none"),
            ({"endpoint": "http://c:4318", "protocol": "http/json"}, "tracing.protocol"),
            ({"endpoint": "http://c:4318", "sample_ratio": 1.5}, "tracing.sample_ratio"),
            ({"endpoint": "http://c:4318", "headers_file": "headers"}, "tracing.headers_file"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_named(self, tracing: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match="tracing") as raised:
            parse_config(config_args(tracing=tracing))
        assert said in str(raised.value)
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        ("endpoint", "protocol", "url"),
        [
            ("http://c:4318", "http/protobuf", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http/protobuf", "http://c:4318/v1/traces"),
            ("https://c/otlp/v1/traces", "http/protobuf", "https://c/otlp/v1/traces"),
            ("http://c:4317", "grpc", "http://c:4317"),
        ],
    )
    def test_the_path_of_http_is_added_where_there_is_none(self, endpoint: str, protocol: str, url: str) -> None:
        assert TraceExport(endpoint, protocol).traces_url == url

    def test_a_tracer_is_made_of_it(self, receiver: OtlpReceiver) -> None:
        loop = asyncio.new_event_loop()
        tracer = make_tracer(Tracing(endpoint=receiver.endpoint), lambda *_: None, loop)
        assert isinstance(tracer, Tracer)
        tracer.close()
        loop.close()
