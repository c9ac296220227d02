"""The messages of Anthropic's API, and its system prompt: their blocks, and the capabilities that those need."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from app.parameters.kinds import Reading, wrong_type, wrong_value
from app.parameters.parts import (
    ImageSlot,
    PartKind,
    check_content,
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
from contract.errors import ApiError
from contract.profile import Profile

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
CACHE = "cache_control"  # on any block, without effect: prompts are cached by their content
# Claude Code begins its system prompt with such a block. It differs in each request, and the engine leaves it out too:
# read, no two prompts would begin alike.
BILLING = "x-anthropic-billing-header"
NO_FILES = "files are not stored. Send the image in base64, or its URL."
NOT_READ = "documents are not read. Send their text."
HOSTED = "Anthropic runs this tool on its own machines. Use a tool of your own."


def _check_text(block: dict[str, Any], place: str) -> None:
    need_string(block, "text", place)
    if not block["text"]:
        raise wrong_value(f"{place}.text", "a string that is not empty. Leave an empty block out")


def _read_image(block: dict[str, Any], place: str) -> None:
    """The source of an image becomes one of type `url`, with a data URL for what came in base64."""
    source, place = holder_of(block, "source", place), f"{place}.source"
    kind = source.get("type")
    if kind == "file":
        raise ApiError("unsupported_parameter", f"`{place}` is not supported: {NO_FILES}", param=place)
    if kind == "url":
        need_string(source, "url", place)
    elif kind == "base64":
        need_string(source, "data", place)
        if source.get("media_type") not in IMAGE_TYPES:
            raise wrong_value(f"{place}.media_type", "one of " + ", ".join(IMAGE_TYPES))
        block["source"] = {"type": "url", "url": f"data:{source['media_type']};base64,{source['data']}"}
    else:
        raise wrong_value(f"{place}.type", 'one of "base64", "url"')


def _check_call(block: dict[str, Any], place: str) -> None:
    need_string(block, "id", place)
    need_string(block, "name", place)
    if not isinstance(block.get("input"), dict):
        raise wrong_type(f"{place}.input", "an object")


def _check_result(block: dict[str, Any], place: str) -> None:
    need_string(block, "tool_use_id", place)
    if not isinstance(block.get("is_error"), bool | None):
        raise wrong_type(f"{place}.is_error", "true or false")


TEXT = text_part("text", "citations", CACHE)
GIVEN_TEXT = replace(TEXT, check=_check_text)
IMAGE = PartKind(_read_image, "vision", {"source": ("type", "url"), CACHE: ()})
UNREAD = {
    "document": unsupported_part(NOT_READ),
    "search_result": unsupported_part(NOT_READ),
    "container_upload": unsupported_part(NOT_READ),
    "tool_reference": unsupported_part("every tool of `tools` is loaded."),
}
RESULT_BLOCKS = {"text": TEXT, "image": IMAGE} | UNREAD
BLOCKS = {
    "user": {
        "text": GIVEN_TEXT,
        "image": IMAGE,
        "tool_result": PartKind(_check_result, fields=dict.fromkeys(("tool_use_id", "content", "is_error", CACHE), ())),
    }
    | UNREAD,
    "assistant": {
        "text": TEXT,  # empty in an answer of no tokens, which clients send back
        "thinking": text_part("thinking", "signature", CACHE),
        "redacted_thinking": text_part("data", CACHE),
        "tool_use": PartKind(_check_call, "tools", dict.fromkeys(("id", "name", "input", CACHE), ())),
        "server_tool_use": unsupported_part(HOSTED),
        "mcp_tool_use": unsupported_part(HOSTED),
    },
    "system": {"text": GIVEN_TEXT},
}


@dataclass(frozen=True, slots=True)
class Messages:
    """An array of at least one message; the last is not the assistant's. The texts are not looked at."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not value:
            raise wrong_value(name, "an array of at least one message")
        check_count(value, MAX_MESSAGES, "messages", name)
        check_inner_counts(value, ("content",), MAX_PARTS, "content blocks", name)
        check_inner_counts(_blocks(value), ("content",), MAX_PARTS, "content blocks in results of tools", name)
        called: set[str] = set()
        gone = [one for i, message in enumerate(value) for one in _check(message, f"{name}.{i}", called, profile)]
        if value[-1]["role"] == "assistant":
            message = (
                f"`{name}` ends with a message of the assistant, whose beginning cannot be given. End with one of the "
                "user."
            )
            raise ApiError("unsupported_parameter", message, param=f"{name}.{len(value) - 1}")
        return Reading(value, dropped=dropped(gone, name))

    def description(self) -> str:
        return f"an array of 1 to {MAX_MESSAGES} messages, of {MAX_PARTS} content blocks together at most"

    def schema(self) -> dict[str, Any]:
        messages = [_message_schema(role, legal_types(kinds)) for role, kinds in BLOCKS.items()]
        return {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": {"anyOf": messages}}


def _message_schema(role: str, types: list[str]) -> dict[str, Any]:
    block = {"type": "object", "properties": {"type": {"enum": types}}, "required": ["type"]}
    text = {"type": "string"} if role == "assistant" else {"type": "string", "minLength": 1}
    content = {"anyOf": [text, {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": block}]}
    fields = {"role": {"const": role}, "content": content}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _blocks(messages: list[Any]) -> Iterator[Any]:
    """Every block of messages that are not checked yet."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        yield from content if isinstance(content, list) else ()


def _check(message: Any, place: str, called: set[str], profile: Profile) -> list[str]:
    """The places of what was removed. The ids of calls of tools in `message` are added to `called`."""
    if not isinstance(message, dict):
        raise wrong_type(place, "an object")
    for field in ("role", "content"):
        if message.get(field) is None:
            raise missing(f"{place}.{field}")
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or role not in BLOCKS:
        raise wrong_value(f"{place}.role", "one of " + ", ".join(BLOCKS))
    place = f"{place}.content"
    if content == [] or (content == "" and role != "assistant"):
        raise wrong_value(place, "a string that is not empty, or an array of at least one content block")
    gone = check_content(content, place, BLOCKS[role], profile)
    called |= {block["id"] for _, block in parts_of(content, "tool_use")}
    for index, block in parts_of(content, "tool_result"):
        if block["tool_use_id"] not in called:
            raise wrong_value(f"{place}.{index}.tool_use_id", "the id of a `tool_use` block before it")
        if block.get("content") is not None:
            gone += check_content(block["content"], f"{place}.{index}.content", RESULT_BLOCKS, profile)
    return gone


def readable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checked messages without the assistant's turns that have nothing to read: no call, and no text or thinking."""
    return [one for one in messages if one["role"] != "assistant" or _has_words(one["content"])]


def _has_words(content: str | list[dict[str, Any]]) -> bool:
    if isinstance(content, str):
        return content != ""
    return any(block["type"] == "tool_use" or block.get("text") or block.get("thinking") for block in content)


@dataclass(frozen=True, slots=True)
class System:
    """A string, or an array of text blocks."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if isinstance(value, list):
            check_count(value, MAX_PARTS, "content blocks", name)
        gone = check_content(value, name, BLOCKS["system"], profile)
        if isinstance(value, list):
            value = [block for block in value if not block["text"].startswith(BILLING)]
        return Reading(value, dropped=dropped(gone, name))

    def description(self) -> str:
        return f"a string or an array of up to {MAX_PARTS} text blocks"

    def schema(self) -> dict[str, Any]:
        text = {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}}
        block = {"type": "object", "properties": text, "required": list(text)}
        return {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": MAX_PARTS, "items": block}]}


def images(request: dict[str, Any]) -> Iterator[ImageSlot]:
    """The images of a checked request: in messages and in results of tools."""
    for number, message in enumerate(request["messages"]):
        place = f"messages.{number}.content"
        yield from _images(message["content"], place)
        for index, block in parts_of(message["content"], "tool_result"):
            yield from _images(block.get("content"), f"{place}.{index}.content")


def _images(content: Any, place: str) -> Iterator[ImageSlot]:
    for index, block in parts_of(content, "image"):
        yield ImageSlot(block["source"], "url", f"{place}.{index}.source")
