"""The Python client against a gateway in this process: what it tells of answers, its pipelines, its errors."""

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from app import client as module
from app.client import (
    LOCAL_URL,
    About,
    AsyncPortico,
    Budget,
    BudgetSpent,
    Busy,
    ContextExceeded,
    EngineFailed,
    KeyRefused,
    ModelNotAllowed,
    ModelNotFound,
    ParameterRefused,
    Portico,
    QuotaSpent,
    ServiceError,
)
from app.keys import LOCAL_KEY
from contract.adjustments import Adjustment
from contract.errors import CODES, ApiError
from contract.project import PROJECT_FOLDER
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY

QUESTION: Any = [{"role": "user", "content": "hi"}]
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"alpha","choices":[{"index":0,"finish_reason":'
    b'"stop","logprobs":null,"message":{"role":"assistant","content":"hello","refusal":null}}]}'
)


@pytest.fixture
async def portico(make_gateway: Any, relay: Any) -> AsyncIterator[AsyncPortico]:
    relay.items = [ResponseHead(200, body=ANSWER, usage={"prompt_tokens": 1})]
    transport = httpx2.ASGITransport(make_gateway())
    async with AsyncPortico(
        base_url="http://gateway/v1",
        api_key=LOCAL_KEY,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(transport=transport),
    ) as client:
        yield client


async def test_an_answer_s_request_id_adjustments_budget_and_milliseconds_are_told(portico: AsyncPortico) -> None:
    mine = str(uuid.uuid4())
    answer = await portico.chat.completions.create(
        model="alpha",
        messages=QUESTION,
        top_p=1.5,
        extra_body={"unheard": 1},
        extra_headers={"X-Request-Id": mine, "X-Client-Request-Id": "order 42"},
    )
    assert answer.choices[0].message.content == "hello"
    about = portico.about(answer)
    assert (about.request_id, about.client_request_id) == (mine, "order 42")
    assert about.adjustments == (
        Adjustment("top_p", "clamp", 1.5, 1.0),
        Adjustment("unheard", "drop", reason="unknown parameter"),
    )
    assert about.budget is not None
    assert about.budget.requests.limit > about.budget.requests.remaining >= 0
    assert about.budget.requests.full_in_s > 0
    assert about.budget.tokens is None
    assert about.gateway_ms is not None
    assert (about.unlisted, about.retry_after_s) == (0, None)


async def test_the_same_is_told_of_a_stream_and_of_a_raw_response(portico: AsyncPortico, relay: Any) -> None:
    raw = await portico.chat.completions.with_raw_response.create(model="alpha", messages=QUESTION, top_p=2)
    assert portico.about(raw).adjustments == portico.about(raw.parse()).adjustments != ()
    relay.items = [ResponseHead(200, EVENT_STREAM), b"data: [DONE]\n\n", ResponseTail()]
    stream = await portico.chat.completions.create(model="alpha", messages=QUESTION, top_p=2, stream=True)
    assert portico.about(stream).adjustments == (Adjustment("top_p", "clamp", 2, 1.0),)
    assert [chunk async for chunk in stream] == []


async def test_answers_of_several_requests_are_told_apart(portico: AsyncPortico) -> None:
    first = await portico.chat.completions.create(model="alpha", messages=QUESTION, top_p=2)
    second = await portico.chat.completions.create(model="alpha", messages=QUESTION)
    assert len(portico.about(first).adjustments) == 1
    assert portico.about(second).adjustments == ()
    assert portico.about(first).request_id != portico.about(second).request_id


async def test_what_is_not_remembered_is_a_lookup_error(portico: AsyncPortico, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 1)
    first = await portico.chat.completions.create(model="alpha", messages=QUESTION)
    last = await portico.chat.completions.create(model="alpha", messages=QUESTION)
    assert portico.about(last).request_id
    for unknown in (first, "a text"):
        with pytest.raises(LookupError, match="with_raw_response"):
            portico.about(unknown)


async def test_a_pipeline_fixes_the_model(portico: AsyncPortico, relay: Any) -> None:
    beta = portico.pipeline("beta")
    answer = await beta.chat.completions.create(model="default", messages=QUESTION)
    assert relay.sent[-1][0] == "beta"
    assert beta.about(answer) == portico.about(answer)  # they share their connections, and what was said on them
    await beta.pipeline("alpha").with_options(timeout=9).chat.completions.create(model="default", messages=QUESTION)
    assert relay.sent[-1][0] == "alpha"
    with pytest.raises(openai.BadRequestError, match="serves the model 'beta' only"):
        await beta.chat.completions.create(model="alpha", messages=QUESTION)


@pytest.mark.parametrize(
    ("code", "kind", "parent"),
    [
        ("model_failed", ModelNotFound, openai.NotFoundError),
        ("unsupported_capability", ParameterRefused, openai.BadRequestError),
        ("context_length_exceeded", ContextExceeded, openai.UnprocessableEntityError),
        ("rate_limit_exceeded", BudgetSpent, openai.RateLimitError),
        ("insufficient_quota", QuotaSpent, BudgetSpent),
        ("model_starting", Busy, openai.InternalServerError),
        ("overloaded", Busy, openai.InternalServerError),
        ("upstream_error", EngineFailed, openai.InternalServerError),
        ("timeout", EngineFailed, openai.InternalServerError),
    ],
)
async def test_an_error_has_the_type_of_its_code_and_openai_s_of_its_status(
    portico: AsyncPortico, relay: Any, code: str, kind: type[ServiceError], parent: type[Exception]
) -> None:
    relay.items = [ApiError(code, "why", param="n")]
    with pytest.raises(kind) as caught:
        await portico.chat.completions.create(model="alpha", messages=QUESTION)
    error = caught.value
    assert isinstance(error, parent)
    assert (error.status_code, error.code, error.param) == (CODES[code][0], code, "n")
    assert "why" in error.message
    assert error.about == portico.about(error)
    assert error.about.request_id == error.request_id
    assert (error.about.retry_after_s is not None) == (error.status_code in (429, 503))


async def test_errors_of_the_gateway_itself_have_types_too(portico: AsyncPortico) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean `alpha`"):
        await portico.chat.completions.create(model="alhpa", messages=QUESTION)
    with pytest.raises(ParameterRefused, match="use `response_format`") as refused:
        await portico.chat.completions.create(model="alpha", messages=QUESTION, extra_body={"guided_json": {}})
    assert refused.value.param == "guided_json"
    with pytest.raises(ModelNotAllowed):
        await portico.copy(api_key=SCOPED_KEY).chat.completions.create(model="alpha", messages=QUESTION)
    with pytest.raises(KeyRefused, match="not a key of this service") as caught:
        await portico.copy(api_key="sk-foo").chat.completions.create(model="alpha", messages=QUESTION)
    assert caught.value.about.budget is None


async def test_another_error_is_openai_s_own_and_is_told_about(portico: AsyncPortico, relay: Any) -> None:
    relay.items = [ApiError("invalid_image", "why")]
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await portico.chat.completions.create(model="alpha", messages=QUESTION)
    assert not isinstance(caught.value, ServiceError)
    assert portico.about(caught.value).request_id == caught.value.request_id


def answering(status: int, **headers: str) -> Portico:
    """A synchronous client of a service that gives every request the same answer."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        urls.append(str(request.url))
        return httpx2.Response(status, content=ANSWER, headers={"content-type": "application/json"} | headers)

    urls: list[str] = []
    transport = httpx2.MockTransport(answer)
    portico = Portico(
        base_url="https://host/prefix/v1/", api_key="k", http_client=openai.DefaultHttpxClient(transport=transport)
    )
    portico.urls = urls  # type: ignore[attr-defined]
    return portico


def test_the_synchronous_client_does_the_same() -> None:
    portico = answering(200, **{"x-request-id": "one", "x-param-adjustments": "store;action=ignore"})
    answer = portico.pipeline("alpha").chat.completions.create(model="default", messages=QUESTION)
    assert portico.about(answer).adjustments == (Adjustment("store", "ignore"),)
    assert portico.urls == ["https://host/prefix/v1/alpha/chat/completions"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="has no /v1"):
        portico.copy(base_url="https://host").pipeline("alpha")


@pytest.mark.parametrize(("written", "seconds"), [("12ms", 0.012), ("1.5s", 1.5), ("6m0s", 360), ("1m0.25s", 60.25)])
def test_a_budget_of_tokens_is_told_with_the_time_until_it_is_full(written: str, seconds: float) -> None:
    headers = {"x-request-id": "one"}
    for what in ("requests", "tokens"):
        headers |= {f"x-ratelimit-limit-{what}": "60", f"x-ratelimit-remaining-{what}": "5"}
        headers |= {f"x-ratelimit-reset-{what}": written}
    budget = About.of(headers).budget
    assert isinstance(budget, Budget)
    assert budget.tokens == budget.requests
    assert (budget.requests.limit, budget.requests.remaining) == (60, 5)
    assert budget.requests.full_in_s == pytest.approx(seconds)


def test_adjustments_that_were_cut_are_counted() -> None:
    about = About.of({"x-request-id": "one", "x-param-adjustments": "store;action=ignore, and-more;count=7"})
    assert (about.adjustments, about.unlisted) == ((Adjustment("store", "ignore"),), 7)


def test_nothing_goes_to_openai_because_a_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert str(Portico(api_key="k").base_url).rstrip("/") == LOCAL_URL
    assert str(AsyncPortico(api_key="k").base_url).rstrip("/") == LOCAL_URL
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert str(Portico(api_key="k").base_url).rstrip("/") == "http://elsewhere/v1"


@pytest.mark.parametrize("package", ["openai", "http_sf", "orjson"])
def test_where_a_package_is_missing_the_import_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; import app.client"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_FOLDER, capture_output=True, text=True, check=False
    )
    assert found.stderr.strip().splitlines()[-1] == (
        f"ImportError: app.client needs the package {package}, which is not installed: "
        "pip install 'openai>=2' http-sf orjson"
    )
