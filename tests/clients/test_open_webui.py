"""The requests that Open WebUI sends, and what it reads of their answers, as the source of its release 0.12.4 has both.

The tests name the modules of its package `open_webui` that they follow. Its HTTP client is aiohttp; the headers are
those of `ENABLE_FORWARD_USER_INFO_HEADERS`. Open WebUI itself does not run here.
"""

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import av
import pytest
from PIL import Image

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.weather import SCHEMA, assert_fits
from tests.sample_images import PNG, data_url, image

KEY = {"Authorization": f"Bearer {LOCAL_KEY}"}
USER = {
    "X-OpenWebUI-Auth-Type": "jwt",
    "X-OpenWebUI-User-Name": "J%C3%BCrgen Example",
    "X-OpenWebUI-User-Id": "5f0f2c56-6a3f-4c55-a7a5-60e1f8b6b5f3",
    "X-OpenWebUI-User-Email": "user@example.com",
    "X-OpenWebUI-User-Role": "user",
    "X-OpenWebUI-Chat-Id": "0d5ed5a5-8b7e-4c06-a7b2-1f7c0a4c2f4a",
}
QUESTION = {"role": "user", "content": "How is the weather?"}
ASK: dict[str, Any] = {"model": "pocket-chat", "messages": [QUESTION]}
STREAMED = ASK | {"stream": True, "stream_options": {"include_usage": True}}
BRIEF = {"max_tokens": 8, "seed": 1, "logit_bias": {"3": -100}}  # parameters of a chat: 8 tokens, always the same
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}


class WebUI:
    """Sends as it does. Each answer has to have the status 200, or the one that is named."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

    async def get(self, route: str, headers: dict[str, str], status: int = 200) -> Any:
        async with self._session.get(self._base_url + route, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def post(self, route: str, body: dict[str, Any] | aiohttp.FormData, status: int = 200) -> Any:
        async with self._posted(route, body) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def speech(self, voice: str) -> bytes:
        body = {"input": "Hello.", "voice": voice, "model": "pocket-speech"}
        async with self._posted("/audio/speech", body) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/mpeg")
            return await answer.read()

    async def events(self, route: str, body: dict[str, Any]) -> list[Any]:
        """`utils/middleware.py`: of the lines those that begin with `data:`, and of these what is JSON."""
        async with self._posted(route, body) as answer:
            assert answer.status == 200, await answer.text()
            assert "text/event-stream" in answer.headers["Content-Type"]
            lines = [line.decode() async for line in answer.content]
        *events, done = [line[5:].strip() for line in lines if line.startswith("data:")]
        assert done == "[DONE]"
        return [json.loads(event) for event in events]

    def _posted(self, route: str, body: dict[str, Any] | aiohttp.FormData) -> Any:
        content = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body}
        return self._session.post(self._base_url + route, headers=KEY | USER, **content)


@pytest.fixture(scope="module")
async def webui(service: Service) -> AsyncIterator[WebUI]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield WebUI(session, service.base_url)


class Message:
    """A streamed chat completion, added up as `utils/middleware.py` does."""

    def __init__(self, chunks: list[Any]) -> None:
        self.content = self.reasoning = ""
        self.tool_calls: dict[int, Any] = {}
        self.usage: dict[str, int] = {}
        self.finish_reason: str | None = None
        for chunk in chunks:
            self.usage |= {name: count for name, count in (chunk.get("usage") or {}).items() if name.endswith("tokens")}
            if not chunk["choices"]:
                continue
            choice = chunk["choices"][0]
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            delta = choice["delta"]
            self.content += delta.get("content") or ""
            self.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or []:
                self._add_call(call)

    def _add_call(self, call: Any) -> None:
        known = self.tool_calls.setdefault(call["index"], call)
        if known is not call:
            known["function"]["arguments"] += call["function"]["arguments"]


async def test_it_lists_the_models_with_a_key(webui: WebUI) -> None:
    """`routers/openai.py`: a model's id is its name where it has none; a name that is null would be removed."""
    found = await webui.get("/models", KEY | USER)
    assert {"pocket-chat", "pocket-vision", "pocket-embed", "pocket-image"} <= {model["id"] for model in found["data"]}
    assert not any("name" in model or "error" in model for model in found["data"])


async def test_a_connection_with_a_wrong_key_is_shown_as_such(webui: WebUI) -> None:
    """`routers/openai.py`, `verify_connection`: it hands on status and JSON."""
    found = await webui.get("/models", {"Authorization": "Bearer sk-of-others"}, 401)
    assert found["error"]["code"] == "invalid_api_key"


async def test_a_chat_is_streamed_with_its_usage(webui: WebUI) -> None:
    message = Message(await webui.events("/chat/completions", STREAMED | BRIEF))
    whole = await webui.post("/chat/completions", ASK | BRIEF | {"stream": False})
    assert message.content == whole["choices"][0]["message"]["content"] != ""
    assert message.finish_reason == "length"
    assert message.usage["completion_tokens"] == 8
    assert message.usage["total_tokens"] == message.usage["prompt_tokens"] + 8
    assert message.usage.items() <= whole["usage"].items()


async def test_a_picture_is_seen_and_the_reasoning_about_it_kept_apart(webui: WebUI) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data_url(PNG)}}]
    body = STREAMED | {"model": "pocket-vision", "messages": [{"role": "user", "content": parts}], "max_tokens": 32}
    message = Message(await webui.events("/chat/completions", body))
    without = Message(
        await webui.events("/chat/completions", body | {"messages": [QUESTION | {"content": "What is this?"}]})
    )
    assert message.usage["prompt_tokens"] > without.usage["prompt_tokens"]
    assert message.reasoning != ""
    assert "<think>" not in message.reasoning + message.content


async def test_a_tool_is_called_and_its_result_goes_back(webui: WebUI) -> None:
    """A random model would not choose to: `tool_choice` is a parameter of this chat, and is not sent otherwise."""
    body = STREAMED | {"tools": [TOOL], "seed": 1, "max_tokens": 600}
    message = Message(await webui.events("/chat/completions", body | {"tool_choice": "required"}))
    call = message.tool_calls[0]
    assert message.finish_reason == "tool_calls"
    assert call["id"]
    assert call["function"]["name"] == "get_weather"
    assert_fits(json.loads(call["function"]["arguments"]))
    calls = [{"id": call["id"], "type": "function", "function": call["function"]}]
    results = [
        {"role": "assistant", "content": message.content, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call["id"], "content": "grey"},
    ]
    answer = Message(await webui.events("/chat/completions", body | BRIEF | {"messages": [QUESTION, *results]}))
    assert answer.finish_reason == "length"
    assert answer.usage["prompt_tokens"] > message.usage["prompt_tokens"]


async def test_titles_and_tags_are_the_text_of_the_one_choice(webui: WebUI) -> None:
    """`routers/tasks.py`; its own limit is 1,000 tokens."""
    answer = await webui.post("/chat/completions", ASK | BRIEF | {"stream": False})
    (choice,) = answer["choices"]
    assert isinstance(choice["message"]["content"], str)
    assert choice["finish_reason"] == "length"


async def test_a_connection_may_use_responses(webui: WebUI) -> None:
    """`routers/openai.py`, `convert_to_responses_payload`: nothing is stored there, and the system prompt is apart."""
    content = [{"type": "input_text", "text": QUESTION["content"]}]
    body = {
        "model": "pocket-chat", "stream": True, "instructions": "Be brief.", "max_output_tokens": 8,
        "input": [{"type": "message", "role": "user", "content": content}],
    }  # fmt: skip
    events = await webui.events("/responses", body)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    completed = events[-1]["response"]
    (item,) = completed["output"]
    assert item["content"][0]["text"] == text
    assert item["content"][0]["annotations"] == []
    assert completed["usage"]["output_tokens"] <= 8


async def test_a_refusal_is_handed_on_with_its_message(webui: WebUI) -> None:
    found = await webui.post("/chat/completions", STREAMED | {"model": "gpt-4o"}, 404)
    assert "gpt-4o" in found["error"]["message"]


async def test_texts_become_vectors_in_their_order(webui: WebUI) -> None:
    """`retrieval/utils.py`: a list of numbers each, the prefix of a model before each text."""
    texts = ["search_document: the fox", "search_document: a gateway"]
    both = await webui.post("/embeddings", {"input": texts, "model": "pocket-embed"})
    alone = [await webui.post("/embeddings", {"input": [text], "model": "pocket-embed"}) for text in texts]
    expected = [pytest.approx(one["data"][0]["embedding"], abs=1e-6) for one in alone]
    assert [one["embedding"] for one in both["data"]] == expected
    assert expected[0] != both["data"][1]["embedding"]


async def test_documents_get_their_scores_in_their_order(webui: WebUI) -> None:
    """`retrieval/models/external.py`: it asks for all, and sorts them by their indexes."""
    documents = ["a gateway reads", "the quick brown fox", "paris"]
    body = {"model": "pocket-rerank", "query": "the fox", "documents": documents, "top_n": len(documents)}
    results = sorted((await webui.post("/rerank", body))["results"], key=lambda one: one["index"])
    scored = await webui.post("/score", {"model": "pocket-rerank", "text_1": "the fox", "text_2": documents})
    expected = [one["score"] for one in scored["data"]]
    assert [one["relevance_score"] for one in results] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("voice", ["alloy", "echo", "fable", "onyx", "nova", "shimmer"])
async def test_each_voice_that_it_offers_speaks(webui: WebUI, voice: str) -> None:
    """`routers/audio`: it asks for the voices without a key, and offers OpenAI's where that is refused."""
    await webui.get("/audio/voices", {}, 401)
    audio = await webui.speech(voice)
    with av.open(io.BytesIO(audio)) as played:
        assert sum(frame.samples for frame in played.decode(audio=0)) > 1000


async def test_what_it_speaks_it_transcribes(webui: WebUI) -> None:
    """`routers/audio`: a form whose file comes last, in pieces and without its length or its type."""
    audio = await webui.speech("alloy")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(audio), 1000):
            yield audio[start : start + 1000]

    form = aiohttp.FormData({"model": "pocket-whisper", "language": "en"})
    form.add_field("file", pieces(), filename="speech.mp3")
    assert isinstance((await webui.post("/audio/transcriptions", form))["text"], str)


async def test_images_are_generated(webui: WebUI) -> None:
    """`routers/images.py`: base64, whose form it finds out itself."""
    body = {"model": "pocket-image", "prompt": "a boat", "n": 2, "size": "64x64", "response_format": "b64_json"}
    first, second = (await webui.post("/images/generations", body))["data"]
    assert_image(first, 64)
    assert_image(second, 64)
    assert first != second


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_an_image_is_changed(webui: WebUI, name: str) -> None:
    """`routers/images.py`: a form of texts, then the file; `image[]` where it has several."""
    form = aiohttp.FormData({"model": "pocket-image", "prompt": "a boat", "n": "1", "size": "64x64"})
    form.add_field("response_format", "b64_json")
    form.add_field(name, io.BytesIO(image(64, 64)), filename="2c1f.png", content_type="image/png")
    (changed,) = (await webui.post("/images/edits", form))["data"]
    assert_image(changed, 64)


def assert_image(answered: Any, side: int) -> None:
    assert answered.get("url") is None
    with Image.open(io.BytesIO(base64.b64decode(answered["b64_json"]))) as found:
        assert (found.format, found.size) == ("PNG", (side, side))
