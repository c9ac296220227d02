"""`app.client` against the running service: every route's answer can be asked for what the service said beside it."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.client import AsyncPortico, ModelNotFound, ParameterRefused, Portico
from app.keys import LOCAL_KEY
from contract.adjustments import Adjustment
from tests.conftest import Service
from tests.recordings import encoded, voice

QUESTION: Any = [{"role": "user", "content": "hello"}]
IGNORED = (Adjustment("store", "ignore"),)
LISTED: Any = {"store": True}  # in each request, so that each answer has an adjustment


@pytest.fixture(scope="module")
def portico(service: Service) -> Iterator[Portico]:
    with Portico(base_url=service.base_url, api_key=LOCAL_KEY) as client:
        yield client


def test_a_chat_is_told_about_under_the_request_s_id_that_the_engine_has_too(portico: Portico) -> None:
    answer = portico.chat.completions.create(model="pocket-chat", messages=QUESTION, max_tokens=2, **LISTED)
    about = portico.about(answer)
    assert about.adjustments == IGNORED
    assert answer.id == f"chatcmpl-{about.request_id}"
    assert about.budget is not None
    assert about.budget.requests.limit == 60_000


def test_a_response_has_the_request_s_id(portico: Portico) -> None:
    answer = portico.responses.create(model="pocket-chat", input="hello", max_output_tokens=2, **LISTED)
    assert answer.id == f"resp_{portico.about(answer).request_id}"
    assert portico.about(answer).adjustments == IGNORED


def test_streams_are_told_about_before_they_end(portico: Portico) -> None:
    with portico.chat.completions.create(
        model="pocket-chat", messages=QUESTION, max_tokens=2, stream=True, **LISTED
    ) as chat:
        about = portico.about(chat)
        assert about.adjustments == IGNORED
        assert {chunk.id for chunk in chat} == {f"chatcmpl-{about.request_id}"}
    with portico.responses.create(model="pocket-chat", input="hello", max_output_tokens=2, stream=True) as events:
        first = next(iter(events))
        assert first.type == "response.created"
        assert first.response.id == f"resp_{portico.about(events).request_id}"


def test_the_pipelines_of_the_other_routes_are_told_about(portico: Portico) -> None:
    embeddings = portico.pipeline("pocket-embed").embeddings.create(model="default", input="a", extra_body={"x": 1})
    speech = portico.pipeline("pocket-speech").audio.speech.create(
        model="default", voice="alloy", input="Hi.", extra_body={"x": 1}
    )
    image = portico.pipeline("pocket-image").images.generate(
        model="default", prompt="a boat", size="64x64", extra_body={"x": 1}
    )
    transcript = portico.pipeline("pocket-whisper").audio.transcriptions.create(
        model="default", file=("voice.flac", encoded(voice(3), "flac")), extra_body={"x": "1"}
    )
    for answer in (embeddings, speech, image, transcript):
        assert portico.about(answer).adjustments == (Adjustment("x", "drop", reason="unknown parameter"),), answer
    assert base64.b64decode((image.data or [])[0].b64_json or "").startswith(b"\x89PNG")


def test_errors_are_of_their_types_and_name_what_to_do(portico: Portico) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean `pocket-chat`") as unknown:
        portico.chat.completions.create(model="pocket-chaat", messages=QUESTION)
    assert unknown.value.about.request_id == unknown.value.request_id
    with pytest.raises(ParameterRefused, match=r"use `text\.format`"):
        portico.responses.create(model="pocket-chat", input="hello", extra_body={"guided_json": {}})


async def test_the_asynchronous_client_does_the_same(service: Service) -> None:
    async with AsyncPortico(base_url=service.base_url, api_key=LOCAL_KEY) as portico:
        answer = await portico.pipeline("pocket-chat").chat.completions.create(
            model="default", messages=QUESTION, max_tokens=2, **LISTED
        )
        assert answer.id == f"chatcmpl-{portico.about(answer).request_id}"
        assert portico.about(answer).adjustments == IGNORED


def lines_of(service: Service, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gateway's line of a request and the replica's. Ray forwards what an actor prints after a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        own = [line for line in service.logged.splitlines() if f'"request_id":"{request_id}"' in line]
        found = [json.loads(line[line.index("{") :]) for line in own]
        gateway = [line for line in found if "duration_ms" in line]
        replica = [line for line in found if "duration_ms" not in line]
        if gateway and replica:
            return gateway[0], replica[0]
        time.sleep(0.2)
    raise AssertionError(f"not both lines of {request_id} are in {service.log}")


def test_one_id_finds_the_request_in_the_service_s_log(portico: Portico, service: Service) -> None:
    answer = portico.chat.completions.create(
        model="pocket-chat", messages=QUESTION, max_tokens=2, extra_headers={"X-Request-Id": "order 42"}, **LISTED
    )
    about = portico.about(answer)
    assert about.client_request_id == "order 42"
    gateway, replica = lines_of(service, about.request_id)
    assert gateway["client_request_id"] == "order 42"
    assert gateway["adjustments"] == "store;action=ignore"
    assert 0 <= gateway["queue_ms"] < gateway["engine_ms"] <= gateway["duration_ms"]
    assert (replica["model"], replica["status"], replica["completion_tokens"]) == ("pocket-chat", 200, 2)
    assert replica["engine_ms"] > 0
