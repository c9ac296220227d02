"""A streamed chat completion on vLLM is one trace, from the client's span down to the engine's own."""

import json
import re
import secrets
import time

import httpx
import pytest

from tests.conftest import Service
from tests.contract.conftest import EMBEDDING_MODEL, MODEL
from tests.otlp_receiver import OtlpReceiver

PROMPT = "the-plans-of-the-palace"
CHAT = "POST /v1/chat/completions"
LOG_SECONDS = 20
EXPORT_SECONDS = 120  # Ray's metrics reach the page later where a machine is busy


def lines_of(service: Service, request_id: str, number: int) -> list[dict[str, str]]:
    """The gateway's line of a request and the replica's."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        lines = [line for line in service.logged.splitlines() if f'"request_id":"{request_id}"' in line]
        if len(lines) >= number:
            return [json.loads(line[line.index("{") :]) for line in lines]
        time.sleep(0.2)
    raise TimeoutError(f"no {number} lines of {request_id} have come")


def test_a_stream_is_one_trace_from_the_client_to_vllm(
    http: httpx.Client, service: Service, trace_receiver: OtlpReceiver
) -> None:
    trace_id, client_span = secrets.token_hex(16), secrets.token_hex(8)
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 8,
        "temperature": 0.5,
    }
    headers = {"traceparent": f"00-{trace_id}-{client_span}-01", "tracestate": "vendor=1"}
    response = http.post("/v1/chat/completions", json=body, headers=headers)
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.headers["x-trace-id"] == trace_id

    spans = trace_receiver.wait(trace_id, 5)
    assert sorted(spans) == sorted([CHAT, "admission", "queue", f"chat {MODEL}", "llm_request"])
    whole, call, engine = spans[CHAT], spans[f"chat {MODEL}"], spans["llm_request"]
    assert whole.parent_id == client_span
    assert {spans[name].parent_id for name in ("admission", "queue", f"chat {MODEL}")} == {whole.span_id}
    assert engine.parent_id == call.span_id
    assert {span.service for span in spans.values()} == {"portico", f"portico-{MODEL}"}
    assert engine.service == f"portico-{MODEL}"
    assert call.begins_ns <= engine.begins_ns <= engine.ends_ns <= call.ends_ns <= whole.ends_ns
    tokens = call.attributes["gen_ai.usage.input_tokens"], call.attributes["gen_ai.usage.output_tokens"]
    theirs = engine.attributes["gen_ai.usage.prompt_tokens"], engine.attributes["gen_ai.usage.completion_tokens"]
    assert tokens == theirs
    assert call.attributes["gen_ai.request.temperature"] == engine.attributes["gen_ai.request.temperature"] == 0.5
    assert PROMPT not in "".join(span.everything for span in spans.values())
    assert {line["trace_id"] for line in lines_of(service, response.headers["x-request-id"], 2)} == {trace_id}


def test_another_engine_s_part_is_the_gateway_s_call(http: httpx.Client, trace_receiver: OtlpReceiver) -> None:
    response = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": PROMPT})
    spans = trace_receiver.wait(response.headers["x-trace-id"], 4)
    assert spans[f"embeddings {EMBEDDING_MODEL}"].attributes["gen_ai.provider.name"] == "sentence-transformers"


@pytest.mark.parametrize("flags", ["00", "nonsense"])
def test_vllm_traces_what_the_gateway_traces_and_nothing_else(
    http: httpx.Client, trace_receiver: OtlpReceiver, flags: str
) -> None:
    """Its own trials, and requests whose client wants no trace, leave no span."""
    trace_id = secrets.token_hex(16)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"}
    kept = http.post("/v1/chat/completions", json=body, headers=headers).headers["x-trace-id"]
    assert (kept == trace_id) == (flags == "00")
    traced = http.post("/v1/chat/completions", json=body).headers["x-trace-id"]
    trace_receiver.wait(traced, 5)
    assert trace_receiver.spans(trace_id) == {}
    from_vllm = [span for span in trace_receiver.all_spans() if span.service.startswith("portico-")]
    assert {(span.name, bool(span.parent_id)) for span in from_vllm} == {("llm_request", True)}


def test_what_became_of_the_spans_is_counted(http: httpx.Client, trace_receiver: OtlpReceiver) -> None:
    trace_receiver.wait(http.get("/v1/models").headers["x-trace-id"], 1)
    deadline = time.monotonic() + EXPORT_SECONDS
    while not re.search(r'portico_trace_spans_total\{[^}]*outcome="exported"', http.get("/metrics").text):
        assert time.monotonic() < deadline, "there is no such series"
        time.sleep(1)
