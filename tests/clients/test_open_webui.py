"""The requests that Open WebUI sends, as its source writes them: models, chats, titles, embeddings, speech, images."""

from typing import Any

import httpx
import orjson
import pytest

from app.keys import LOCAL_KEY
from tests.conftest import Service

HEADERS = {
    "content-type": "application/json",
    "authorization": f"Bearer {LOCAL_KEY}",
    "x-openwebui-user-name": "A%20user",
    "x-openwebui-user-role": "user",
    "x-openwebui-chat-id": "0d5ed5a5-8b7e-4c06-a7b2-1f7c0a4c2f4a",
}
ASK = {"model": "pocket-chat", "messages": [{"role": "user", "content": "Say something."}]}


@pytest.fixture(scope="module")
def webui(service: Service) -> Any:
    with httpx.Client(base_url=service.base_url, headers=HEADERS, timeout=60) as client:
        yield client


def test_it_lists_the_models(webui: httpx.Client) -> None:
    models = webui.get("/models").json()["data"]
    assert {"pocket-chat", "pocket-embed", "pocket-image"} <= {model["id"] for model in models}


def test_it_streams_a_chat_and_reads_its_usage(webui: httpx.Client) -> None:
    body = ASK | {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 8, "temperature": 0.8}
    answer = webui.post("/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *lines, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    chunks = [orjson.loads(line) for line in lines]
    assert done == "[DONE]"
    assert all(chunk["choices"][0]["delta"] is not None for chunk in chunks[:-1])
    assert chunks[-1]["usage"]["completion_tokens"] <= 8


def test_it_has_a_title_made(webui: httpx.Client) -> None:
    answer = webui.post("/chat/completions", json=ASK | {"stream": False, "max_completion_tokens": 50})
    assert isinstance(answer.json()["choices"][0]["message"]["content"], str)


def test_it_embeds_a_batch_of_texts(webui: httpx.Client) -> None:
    body = {"input": ["search_document: a", "search_document: b"], "model": "pocket-embed"}
    assert [len(one["embedding"]) > 0 for one in webui.post("/embeddings", json=body).json()["data"]] == [True, True]


def test_it_speaks_and_transcribes(webui: httpx.Client) -> None:
    spoken = webui.post("/audio/speech", json={"model": "pocket-speech", "input": "Hello.", "voice": "alloy"})
    assert (spoken.status_code, spoken.headers["content-type"]) == (200, "audio/mpeg")
    url, key = webui.base_url.join("audio/transcriptions"), {"authorization": HEADERS["authorization"]}
    files, data = {"file": ("speech.mp3", spoken.content)}, {"model": "pocket-whisper", "language": "en"}
    assert "text" in httpx.post(url, files=files, data=data, headers=key, timeout=60).json()


def test_it_generates_images(webui: httpx.Client) -> None:
    body = {"model": "pocket-image", "prompt": "a boat", "n": 1, "size": "64x64", "response_format": "b64_json"}
    assert len(webui.post("/images/generations", json=body).json()["data"]) == 1
