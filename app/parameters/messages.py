"""The messages of a chat completion: their shape, and the capabilities that their content parts need."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.parameters.call_arguments import check_arguments
from app.parameters.kinds import Reading, wrong_type, wrong_value
from app.parameters.parts import (
    AudioSlot,
    ImageSlot,
    PartKind,
    check_content,
    check_image,
    dropped,
    holder_of,
    legal_types,
    need_string,
    parts_of,
    text_part,
    unsupported_part,
)
from app.parameters.request_bounds import MAX_MESSAGES, MAX_PARTS, check_count, check_inner_counts
from app.parameters.row import missing
from contract.profile import Profile

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
AUDIO_FORMATS = ("wav", "mp3", "flac", "ogg")


def _check_image(part: dict[str, Any], place: str) -> None:
    check_image(holder_of(part, "image_url", place), "url", f"{place}.image_url")


def _check_audio(part: dict[str, Any], place: str) -> None:
    holder, place = holder_of(part, "input_audio", place), f"{place}.input_audio"
    if not isinstance(holder.get("data"), str):
        raise wrong_type(f"{place}.data", "a string in base64")
    if holder.get("format") not in AUDIO_FORMATS:
        raise wrong_value(f"{place}.format", "one of " + ", ".join(AUDIO_FORMATS))


PARTS = {
    "text": text_part("text"),
    "refusal": text_part("refusal"),
    "image_url": PartKind(_check_image, "vision", {"image_url": ("url", "detail")}),
    "input_audio": PartKind(_check_audio, "audio", {"input_audio": ("data", "format")}),
    "video_url": unsupported_part("videos are not read. Send some of their pictures."),
    "file": unsupported_part("files are not read. Send their text."),
}


@dataclass(frozen=True, slots=True)
class Messages:
    """An array of at least one message. The texts are not looked at."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not value:
            raise wrong_value(name, "an array of at least one message")
        check_count(value, MAX_MESSAGES, "messages", name)
        check_inner_counts(value, ("tool_calls",), MAX_MESSAGES, "tool calls", name)
        check_inner_counts(value, ("content",), MAX_PARTS, "content parts", name)
        gone = [one for i, message in enumerate(value) for one in _check_message(message, f"{name}.{i}", profile)]
        check_arguments(_arguments(value, name), name)
        return Reading(value, dropped=dropped(gone, name))

    def description(self) -> str:
        return f"an array of 1 to {MAX_MESSAGES} messages, of {MAX_PARTS} content parts together at most"

    def schema(self) -> dict[str, Any]:
        part = {"type": "object", "properties": {"type": {"enum": legal_types(PARTS)}}, "required": ["type"]}
        message = {
            "type": "object",
            "properties": {
                "role": {"type": "string", "enum": list(ROLES)},
                "content": {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "array", "maxItems": MAX_PARTS, "items": part},
                        {"type": "null"},
                    ]
                },
                "name": {"type": "string"},
                "tool_calls": {"type": "array", "maxItems": MAX_MESSAGES, "items": {"type": "object"}},
                "tool_call_id": {"type": "string"},
            },
            "required": ["role"],
        }
        return {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": message}


def _check_message(message: Any, place: str, profile: Profile) -> list[str]:
    if not isinstance(message, dict):
        raise wrong_type(place, "an object")
    if "role" not in message:
        raise missing(f"{place}.role")
    if message["role"] not in ROLES:
        raise wrong_value(f"{place}.role", "one of " + ", ".join(ROLES))
    _check_custom_calls(message.get("tool_calls"), f"{place}.tool_calls")
    content = message.get("content")
    if content is not None:
        return check_content(content, f"{place}.content", PARTS, profile)
    if message["role"] not in ("assistant", "function"):
        raise missing(f"{place}.content")
    return []


def _check_custom_calls(calls: Any, place: str) -> None:
    """What the engine checks of calls of functions."""
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict) and call.get("type") == "custom":
            need_string(call, "id", f"{place}.{index}")
            custom = holder_of(call, "custom", f"{place}.{index}")
            for field in ("name", "input"):
                need_string(custom, field, f"{place}.{index}.custom")


def _arguments(messages: list[dict[str, Any]], name: str) -> Iterator[tuple[str, str]]:
    """The arguments of every tool call, each with its place."""
    for number, message in enumerate(messages):
        calls = message.get("tool_calls")
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                yield f"{name}.{number}.tool_calls.{index}.function.arguments", function["arguments"]


def images(request: dict[str, Any]) -> Iterator[ImageSlot]:
    """The images of a checked request."""
    for number, message in enumerate(request.get("messages", ())):
        for index, part in parts_of(message.get("content"), "image_url"):
            yield ImageSlot(part["image_url"], "url", f"messages.{number}.content.{index}.image_url.url")


def audio(request: dict[str, Any]) -> Iterator[AudioSlot]:
    """The audio of a checked request."""
    for number, message in enumerate(request.get("messages", ())):
        place = f"messages.{number}.content"
        for index, part in parts_of(message.get("content"), "input_audio"):
            held = part["input_audio"]
            yield AudioSlot(held["format"], held["data"], f"{place}.{index}.input_audio.data")


def check_tool_results(legal: dict[str, Any], _: Profile) -> tuple[()]:
    """Every tool message responds to a tool call of an assistant message before it."""
    called: set[str] = set()
    for index, message in enumerate(legal["messages"]):
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            called |= {call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)}
        call_id = message.get("tool_call_id")
        if message["role"] == "tool" and not (isinstance(call_id, str) and call_id in called):
            place = f"messages.{index}.tool_call_id"
            raise wrong_value(place, "the id of a tool call of an assistant message before it")
    return ()
