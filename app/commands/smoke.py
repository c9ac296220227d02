"""One real request to every route that a key may use."""

import io
import math
import struct
import time
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from app.commands.models import ModelFacts, models_of
from app.commands.service_client import ServiceClient, refused
from app.commands.services import NoService
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint
from app.endpoints.routes import HEALTH, METRICS, MODEL_CARD, MODEL_LIST, OPENAPI, READY
from app.parameters.adjustments import HEADER as ADJUSTMENTS
from contract.protocol import EVENT_STREAM

PLAIN = (HEALTH, READY, METRICS, OPENAPI, MODEL_LIST)
# So that an answer is short, whatever a model has to say.
SHORT = {
    "/v1/chat/completions": {"max_tokens": 16},
    "/v1/responses": {"max_output_tokens": 16},
    "/v1/completions": {"max_tokens": 16},
    "/v1/images/generations": {"n": 1},
    "/v1/messages": {"max_tokens": 16},
}
STREAMED = "stream"
STREAM_ENDS = (b"data: [DONE]", b"event: message_stop")
MAY_BE_EMPTY = "text/plain"  # metrics, in the first seconds of a service
TONE_SECONDS, TONE_HERTZ, TONE_RATE = 1.0, 440, 16_000


@dataclass(frozen=True)
class Outcome:
    """One request and what came of it."""

    route: str
    model: str
    status: int | None  # none: the connection broke
    milliseconds: float
    adjustments: str
    note: str  # what the error says, where it is one
    good: bool

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def smoke(client: ServiceClient, *, every_model: bool = False) -> Iterator[Outcome]:
    """Each outcome as it comes: plain routes, then each endpoint with the first model that has it, or with each.

    Raises NoService where nothing answers, Refused where the key is not good.
    """
    facts = models_of(client)
    for route in PLAIN:
        yield _request(client, route.path, "", httpx2.Request("GET", client.url(route.path)))
    for model in facts[: None if every_model else 1]:
        yield _request(
            client, MODEL_CARD.path, model.id, httpx2.Request("GET", client.url(f"{MODEL_LIST.path}/{model.id}"))
        )
    recording = _recording(client, facts)
    for endpoint in ENDPOINTS:
        able = [model for model in facts if _capability(endpoint) in model.capabilities]
        for model in able if every_model else able[:1]:
            body = {**endpoint.example, **SHORT.get(endpoint.path, {}), "model": model.id}
            if endpoint.path.endswith("/speech") and model.voices:
                body["voice"] = model.voices[0]
            yield _request(client, endpoint.path, model.id, _sent(client, endpoint, body, recording))
            if "max_tokens" in body or "max_output_tokens" in body:
                streamed = _sent(client, endpoint, body | {STREAMED: True}, recording)
                yield _request(client, f"{endpoint.path} ({STREAMED})", model.id, streamed)


def _capability(endpoint: Endpoint) -> str | None:
    """What a model must be able to do for its smallest request."""
    rows = (row for row in endpoint.table.rows if row.name in endpoint.example)
    return next((row.capability for row in rows if row.capability), None)


def _sent(client: ServiceClient, endpoint: Endpoint, body: dict[str, Any], recording: bytes) -> httpx2.Request:
    if endpoint.table.file is None:
        return httpx2.Request("POST", client.url(endpoint.path), json=body)
    fields = {name: str(value) for name, value in body.items() if name != endpoint.table.file}
    return httpx2.Request(
        "POST", client.url(endpoint.path), data=fields, files={endpoint.table.file: ("smoke.wav", recording)}
    )


def _request(client: ServiceClient, route: str, model: str, request: httpx2.Request) -> Outcome:
    request.headers.update(client.http.headers)
    begun = time.monotonic()
    status, adjustments, note, good = None, "", "", False
    try:
        with client.answering():
            response = client.http.send(request)
        status, adjustments = response.status_code, response.headers.get(ADJUSTMENTS, "")
        note = str(refused(response)) if status != 200 else _fault_of(response)
        good = status == 200 and not note
    except NoService as error:
        note = str(error)
    return Outcome(route, model, status, round(1000 * (time.monotonic() - begun), 1), adjustments, note, good)


def _fault_of(response: httpx2.Response) -> str:
    """What is wrong with a 200."""
    kind = response.headers.get("content-type", "")
    if not response.content and not kind.startswith(MAY_BE_EMPTY):
        return "the answer is empty"
    if kind.startswith(EVENT_STREAM) and not any(end in response.content for end in STREAM_ENDS):
        return "the stream broke off"
    return ""


def _recording(client: ServiceClient, facts: list[ModelFacts]) -> bytes:
    """A second of speech, of a model that speaks; else of a tone."""
    speaker = next((model for model in facts if "speech" in model.capabilities), None)
    if speaker is not None:
        body = {"model": speaker.id, "input": "Hello!", "response_format": "wav"}
        body |= {"voice": speaker.voices[0]} if speaker.voices else {}
        try:
            with client.answering():
                answer = client.http.post(client.url("/v1/audio/speech"), json=body)
            if answer.status_code == 200:
                return answer.content
        except NoService:
            pass  # its own line of the table says so
    return _tone()


def _tone() -> bytes:
    samples = (
        round(8000 * math.sin(2 * math.pi * TONE_HERTZ * at / TONE_RATE)) for at in range(int(TONE_SECONDS * TONE_RATE))
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(TONE_RATE)
        writer.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()
