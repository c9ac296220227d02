"""The input of a response: text, or items; their shape, and the capabilities that their content parts need."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.parameters.call_arguments import check_arguments
from app.parameters.kinds import Reading, wrong_type, wrong_value
from app.parameters.messages import ROLES
from app.parameters.parts import (
    ImageSlot,
    PartKind,
    check_content,
    check_image,
    dropped,
    parts_of,
    text_part,
    unsupported_part,
)
from app.parameters.request_bounds import MAX_MESSAGES, MAX_PARTS, check_count, check_inner_counts
from app.parameters.row import missing
from contract.errors import ApiError
from contract.profile import Profile

# The content that is checked.
CONTENT_FIELDS = {"message": "content", "function_call_output": "output", "custom_tool_call_output": "output"}
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}  # and what the tool gets
OUTPUTS = ("function_call_output", "custom_tool_call_output")
ITEMS = ("message", *CALLS, *OUTPUTS, "reasoning")


def _check_image(part: dict[str, Any], place: str) -> None:
    if part.get("file_id") is not None:
        raise ApiError(
            "unsupported_parameter", f"`{place}.file_id` is not supported: files are not stored. Send `image_url`.",
            param=f"{place}.file_id",
        )  # fmt: skip
    check_image(part, "image_url", place)


PARTS = {
    "input_text": text_part("text"),
    "output_text": text_part("text", "annotations", "logprobs"),
    "refusal": text_part("refusal"),
    "input_image": PartKind(_check_image, "vision", dict.fromkeys(("image_url", "detail", "file_id"), ())),
    "input_audio": unsupported_part("send audio to /v1/chat/completions.", "audio"),
    "input_file": unsupported_part("files are not read. Send their text."),
}


@dataclass(frozen=True, slots=True)
class Input:
    """A string, or an array of items: messages, calls of tools, their outputs, reasoning. Texts are not looked at."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if isinstance(value, str):
            return Reading(value)
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not value:
            raise wrong_value(name, "a string or an array of at least one item")
        check_count(value, MAX_MESSAGES, "items", name)
        check_inner_counts(value, ("content", "output", "summary"), MAX_PARTS, "content parts", name)
        called: set[str] = set()
        gone = [one for i, item in enumerate(value) for one in _check_item(item, f"{name}.{i}", called, profile)]
        check_arguments(_arguments(value, name), name)
        return Reading(value, dropped=dropped(gone, name))

    def description(self) -> str:
        return f"a string or an array of 1 to {MAX_MESSAGES} items, of {MAX_PARTS} content parts together at most"

    def schema(self) -> dict[str, Any]:
        item = {"type": "object", "properties": {"type": {"enum": list(ITEMS)}, "role": {"enum": list(ROLES)}}}
        return {
            "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": item}]
        }


def _check_item(item: Any, place: str, called: set[str], profile: Profile) -> list[str]:
    if not isinstance(item, dict):
        raise wrong_type(place, "an object")
    kind = _kind(item)
    if kind == "item_reference":
        raise ApiError(
            "unsupported_parameter",
            f"`{place}` refers to a stored item, and items are not stored: send the item itself. The Vercel AI SDK "
            "does so with providerOptions.openai.store = false, and with .chat(model).",
            param=place,
        )
    if kind not in ITEMS:
        raise wrong_value(f"{place}.type", "one of " + ", ".join(ITEMS))
    if kind == "message":
        if item.get("role") not in ROLES:
            raise wrong_value(f"{place}.role", "one of " + ", ".join(ROLES))
        return check_content(item.get("content"), f"{place}.content", PARTS, profile)
    if kind in CALLS:
        for field in ("call_id", "name", CALLS[kind]):
            if not isinstance(item.get(field), str):
                raise wrong_type(f"{place}.{field}", "a string") if field in item else missing(f"{place}.{field}")
        called.add(item["call_id"])
    elif kind in OUTPUTS:
        if "output" not in item:
            raise missing(f"{place}.output")
        call_id = item.get("call_id")
        if not (isinstance(call_id, str) and call_id in called):
            raise wrong_value(f"{place}.call_id", "the id of a call before it")
        return check_content(item["output"], f"{place}.output", PARTS, profile)
    return []


def _arguments(items: list[dict[str, Any]], name: str) -> Iterator[tuple[str, str]]:
    """The arguments of every function call, each with its place."""
    for number, item in enumerate(items):
        if _kind(item) == "function_call":
            yield f"{name}.{number}.arguments", item["arguments"]


def _kind(item: dict[str, Any]) -> Any:
    return item.get("type") or "message"


def images(request: dict[str, Any]) -> Iterator[ImageSlot]:
    """The images of a legal request: in messages and in outputs of functions."""
    if isinstance(request["input"], str):
        return
    for number, item in enumerate(request["input"]):
        if field := CONTENT_FIELDS.get(_kind(item)):
            for index, part in parts_of(item.get(field), "input_image"):
                yield ImageSlot(part, "image_url", f"input.{number}.{field}.{index}.image_url")
