"""Content parts of chat and responses: which are legal, and that nothing unknown in them reaches an engine."""

from dataclasses import replace
from typing import Any

import pytest

from app.endpoints.chat import CHAT
from app.endpoints.endpoint import Endpoint
from app.endpoints.responses import RESPONSES
from app.parameters.adjust import Adjusted, adjust
from app.parameters.parts import AudioSlot
from contract.errors import ApiError
from contract.profile import Profile
from tests.sample_images import PNG, data_url

URL = data_url(PNG)
TEXT_ONLY = Profile(engine="vllm", capabilities=frozenset({"chat"}))
ABLE = replace(TEXT_ONLY, capabilities=frozenset({"chat", "vision", "audio"}))
AUDIO = {"data": "UklGRg==", "format": "wav"}
VIDEO = {"url": "data:video/mp4;base64,AAAA"}
UNKNOWN = {"uuid": "of-the-engine-s-cache", "cache_control": {"type": "ephemeral"}, "fps": 1000}


def chat(part: dict[str, Any], profile: Profile = ABLE, **more: Any) -> Adjusted:
    return adjust(CHAT.table, {"messages": [{"role": "user", "content": [part]}], **more}, profile)


def response(part: dict[str, Any], profile: Profile = ABLE, **more: Any) -> Adjusted:
    return adjust(RESPONSES.table, {"input": [{"role": "user", "content": [part]}], **more}, profile)


def names(adjusted: Adjusted) -> list[str]:
    assert all((one.action, one.reason) == ("drop", "unknown parameter") for one in adjusted.adjustments)
    return [one.name for one in adjusted.adjustments]


@pytest.mark.parametrize(
    ("part", "holder"),
    [
        ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, "image_url"),
        ({"type": "input_audio", "input_audio": AUDIO}, "input_audio"),
    ],
)
def test_unknown_fields_of_a_holder_never_reach_the_engine(part: dict[str, Any], holder: str) -> None:
    adjusted = chat(part | UNKNOWN | {holder: part[holder] | UNKNOWN})
    assert adjusted.engine["messages"][0]["content"] == [part]
    place = "messages.0.content.0"
    assert names(adjusted) == [f"{place}.{name}" for name in UNKNOWN] + [f"{place}.{holder}.{name}" for name in UNKNOWN]


@pytest.mark.parametrize("part", [{"type": "text", "text": "hi"}, {"type": "refusal", "refusal": "no"}])
def test_unknown_fields_of_a_text_are_dropped(part: dict[str, Any]) -> None:
    adjusted = chat(part | UNKNOWN)
    assert adjusted.engine["messages"][0]["content"] == [part]
    assert names(adjusted) == [f"messages.0.content.0.{name}" for name in UNKNOWN]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_text", "text": "hi"},
        {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []},
        {"type": "input_image", "image_url": URL, "detail": "auto", "file_id": None},
    ],
)
def test_unknown_fields_of_an_item_s_part_are_dropped(part: dict[str, Any]) -> None:
    adjusted = response(part | UNKNOWN)
    assert adjusted.engine["input"][0]["content"] == [part]
    assert names(adjusted) == [f"input.0.content.0.{name}" for name in UNKNOWN]


def test_strict_params_names_an_unknown_field() -> None:
    with pytest.raises(ApiError, match=r"messages\.0\.content\.0\.image_url\.uuid") as caught:
        chat({"type": "image_url", "image_url": {"url": URL, "uuid": "a"}}, strict_params=True)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")


@pytest.mark.parametrize(
    ("ask", "part", "capability"),
    [
        (chat, {"type": "input_audio", "input_audio": AUDIO}, "audio"),
        (chat, {"type": "input_audio", "input_audio": {"data": "", "format": "pcm16"}}, "audio"),
        (chat, {"type": "input_audio"}, "audio"),
        (chat, {"type": "image_url", "image_url": {"url": URL}}, "vision"),
        (response, {"type": "input_audio", "input_audio": AUDIO}, "audio"),
        (response, {"type": "input_image", "image_url": URL}, "vision"),
    ],
)
def test_a_model_without_the_capability_refuses_it_by_name(ask: Any, part: dict[str, Any], capability: str) -> None:
    with pytest.raises(ApiError, match=f"`{capability}`") as caught:
        ask(part, TEXT_ONLY)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_capability")
    assert str(caught.value.param).endswith("content.0")


@pytest.mark.parametrize(
    ("ask", "part", "words"),
    [
        (chat, {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, "files are not read"),
        (response, {"type": "input_file", "file_data": "AAAA"}, "files are not read"),
        (chat, {"type": "video_url", "video_url": VIDEO}, "videos are not read"),
        (chat, {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, "videos are not read"),
        (response, {"type": "input_audio", "input_audio": AUDIO}, "/v1/chat/completions"),
    ],
)
def test_parts_that_no_model_takes_are_refused_by_name(ask: Any, part: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        ask(part)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")


def test_the_error_of_an_unknown_type_names_the_legal_ones() -> None:
    with pytest.raises(ApiError, match="one of text, refusal, image_url, input_audio") as caught:
        chat({"type": "hologram"})
    assert "file" not in caught.value.message
    assert "video" not in caught.value.message
    (row,) = [row for row in CHAT.table.rows if row.name == "messages"]
    assert "file" not in str(row.kind.schema())


@pytest.mark.parametrize(
    ("holder", "code", "param"),
    [
        (None, "invalid_type", "input_audio"),
        ({}, "invalid_type", "input_audio.data"),
        ({"data": 7, "format": "wav"}, "invalid_type", "input_audio.data"),
        ({"data": "AAAA"}, "invalid_value", "input_audio.format"),
        ({"data": "AAAA", "format": "pcm16"}, "invalid_value", "input_audio.format"),
        ({"data": "AAAA", "format": ["wav"]}, "invalid_value", "input_audio.format"),
    ],
)
def test_audio_of_a_wrong_shape(holder: Any, code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat({"type": "input_audio", "input_audio": holder})
    assert (caught.value.status, caught.value.code) == (400, code)
    assert caught.value.param == f"messages.0.content.0.{param}"


def test_audio_is_found_where_it_is() -> None:
    content = [
        {"type": "text", "text": "hi"},
        {"type": "input_audio", "input_audio": AUDIO},
    ]
    request = {"messages": [{"role": "system", "content": "hi"}, {"role": "user", "content": content}]}
    legal = adjust(CHAT.table, request, ABLE).engine
    assert list(CHAT.audio(legal)) == [
        AudioSlot("wav", "UklGRg==", "messages.1.content.1.input_audio.data"),
    ]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_texts_have_no_audio(endpoint: Endpoint) -> None:
    assert list(endpoint.audio(endpoint.example)) == []
