"""GET /v1/usage through the openai package: what a key has used on every route, as its answers said it."""

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import orjson
import pytest

from app.__main__ import main
from tests.conftest import Service
from tests.contract.conftest import (
    EMBEDDING_MODEL,
    IMAGE_MODEL,
    MESSAGES,
    MODEL,
    RERANKING_MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
)
from tests.recordings import encoded, voice

FOLLOW_SECONDS = 10  # for a new key to be known
LEDGER_SECONDS = 60  # the ledger is a second behind, and more where the machine is busy
TEXT = "A small boat on the sea."


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    """A key of this module's own, so that it knows what it has used."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        main(["keys", "create", "--file", str(service.key_file), "--name", "usage", "--json"])
    return str(orjson.loads(printed.getvalue())["key"])


@pytest.fixture(scope="module")
def own(service: Service, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.base_url, api_key=key, max_retries=0) as client:
        deadline = time.monotonic() + FOLLOW_SECONDS
        while True:
            try:
                client.models.list()
                break
            except openai.AuthenticationError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield client


def usage(client: openai.OpenAI, **params: str) -> Any:
    """OpenAI's package has no method for it; this is its way to any route."""
    return client.get("/usage", cast_to=object, options={"params": params})


@pytest.fixture(scope="module")
def used(own: Any, service: Service, key: str) -> dict[str, dict[str, float]]:
    """A request on each kind of route, and what its answer says that it used."""
    chat = own.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=5)
    stream = own.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )  # fmt: skip
    streamed = list(stream)[-1].usage
    completion = own.completions.create(model=MODEL, prompt=TEXT, max_tokens=5)
    response = own.responses.create(model=MODEL, input=TEXT, max_output_tokens=16)
    embedded = own.embeddings.create(model=EMBEDDING_MODEL, input=[TEXT, TEXT])
    images = own.images.generate(model=IMAGE_MODEL, prompt="a small boat", n=2)
    heard = own.audio.transcriptions.create(model=TRANSCRIPTION_MODEL, file=("a.flac", encoded(voice(6), "flac")))
    own.audio.speech.create(model=SPEECH_MODEL, voice="alloy", input=TEXT).read()
    with httpx.Client(base_url=service.base_url, headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5}
        message = http.post("/messages", json=body).json()["usage"]
        ranked = http.post("/rerank", json={"model": RERANKING_MODEL, "query": "sea", "documents": [TEXT]}).json()
    read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return {
        "/v1/chat/completions": {
            "input_tokens": chat.usage.prompt_tokens + streamed.prompt_tokens,
            "output_tokens": chat.usage.completion_tokens + streamed.completion_tokens,
            "input_cached_tokens": sum(one.prompt_tokens_details.cached_tokens for one in (chat.usage, streamed)),
            "num_model_requests": 2,
        },
        "/v1/completions": {
            "input_tokens": completion.usage.prompt_tokens,
            "output_tokens": completion.usage.completion_tokens,
        },
        "/v1/responses": {
            "input_tokens": response.usage.input_tokens,
            "output_tokens": response.usage.output_tokens,
            "input_cached_tokens": response.usage.input_tokens_details.cached_tokens,
        },
        "/v1/messages": {
            "input_tokens": sum(message[name] for name in read),
            "output_tokens": message["output_tokens"],
            "input_cached_tokens": message["cache_read_input_tokens"],
        },
        "/v1/embeddings": {"input_tokens": embedded.usage.prompt_tokens, "output_tokens": 0},
        "/v1/rerank": {"input_tokens": ranked["usage"]["total_tokens"]},
        "/v1/images/generations": {"images": 2, "output_tokens": images.usage.output_tokens},
        "/v1/audio/transcriptions": {"seconds": heard.usage.seconds},
        "/v1/audio/speech": {"characters": len(TEXT)},
    }


def results(client: openai.OpenAI, requests: int, **params: str) -> list[dict[str, Any]]:
    """All results, once the ledger has that many requests."""
    deadline = time.monotonic() + LEDGER_SECONDS
    while True:
        found = [one for bucket in usage(client, **params)["data"] for one in bucket["results"]]
        if sum(one["num_model_requests"] for one in found) >= requests:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_every_route_is_counted_as_its_answer_said(own: openai.OpenAI, used: dict[str, dict[str, float]]) -> None:
    found = {one["route"]: one for one in results(own, len(used) + 1, by="route")}
    assert found.keys() == used.keys()
    told = {
        route: {name: found[route][name] for name in quantities if name != "seconds"}
        for route, quantities in used.items()
    }
    said = {
        route: {name: amount for name, amount in quantities.items() if name != "seconds"}
        for route, quantities in used.items()
    }
    assert told == said
    heard = "/v1/audio/transcriptions"
    assert found[heard]["seconds"] == pytest.approx(used[heard]["seconds"], abs=0.01)


def test_by_day_and_model_it_is_a_page_of_buckets(own: openai.OpenAI, used: dict[str, dict[str, float]]) -> None:
    results(own, len(used) + 1)
    page = usage(own, by="day,model")
    assert (page["object"], page["has_more"]) == ("page", False)
    models = {one["model"] for bucket in page["data"] for one in bucket["results"]}
    assert models == {MODEL, EMBEDDING_MODEL, RERANKING_MODEL, IMAGE_MODEL, TRANSCRIPTION_MODEL, SPEECH_MODEL}
    assert all(bucket["end_time"] - bucket["start_time"] == 86_400 for bucket in page["data"])


def test_a_key_sees_its_own_alone(client: Any, own: openai.OpenAI, used: dict[str, dict[str, float]]) -> None:
    results(own, len(used) + 1)
    before = sum(one["num_model_requests"] for one in results(own, len(used) + 1))
    client.embeddings.create(model=EMBEDDING_MODEL, input=TEXT, encoding_format="float")
    time.sleep(2)
    assert sum(one["num_model_requests"] for one in results(own, 1)) == before


def test_a_mistake_is_an_error_of_openai_s(own: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        usage(own, by="weather")
    assert (caught.value.code, caught.value.param) == ("invalid_value", "by")
