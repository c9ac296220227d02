"""The messages of a chat request: their shape, and which parts need a capability of the model."""

from dataclasses import dataclass
from typing import Any

from app.parameters.adjust import lacking
from app.parameters.kinds import Reading, wrong_type, wrong_value
from app.parameters.row import missing
from app.profile import Profile

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
# Parts of a message's content -> the capability that the model needs for them.
PARTS: dict[str, str | None] = {
    "text": None,
    "refusal": None,
    "image_url": "vision",
    "input_audio": "audio",
    "video_url": "video",
}


@dataclass(frozen=True, slots=True)
class Messages:
    """An array of at least one message. What the texts say is not looked at."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.told())
        if not value:
            raise wrong_value(name, "an array of at least one message")
        for index, message in enumerate(value):
            _check_message(message, f"{name}.{index}", profile)
        return Reading(value)

    def told(self) -> str:
        return "an array of messages"

    def schema(self) -> dict[str, Any]:
        part = {"type": "object", "properties": {"type": {"enum": list(PARTS)}}, "required": ["type"]}
        message = {
            "type": "object",
            "properties": {
                "role": {"type": "string", "enum": list(ROLES)},
                "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": part}, {"type": "null"}]},
                "name": {"type": "string"},
                "tool_calls": {"type": "array", "items": {"type": "object"}},
                "tool_call_id": {"type": "string"},
            },
            "required": ["role"],
        }
        return {"type": "array", "minItems": 1, "items": message}


def _check_message(message: Any, place: str, profile: Profile) -> None:
    if not isinstance(message, dict):
        raise wrong_type(place, "an object")
    if "role" not in message:
        raise missing(f"{place}.role")
    if message["role"] not in ROLES:
        raise wrong_value(f"{place}.role", "one of " + ", ".join(ROLES))
    content = message.get("content")
    if content is None and message["role"] not in ("assistant", "function"):
        raise missing(f"{place}.content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(part, f"{place}.content.{index}", profile)
    elif content is not None and not isinstance(content, str):
        raise wrong_type(f"{place}.content", "a string or an array of parts")


def _check_part(part: Any, place: str, profile: Profile) -> None:
    if not isinstance(part, dict):
        raise wrong_type(place, "an object")
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in PARTS:
        raise wrong_value(f"{place}.type", "one of " + ", ".join(PARTS))
    capability = PARTS[kind]
    if capability is not None and capability not in profile.capabilities:
        raise lacking(capability, place)
    if kind == "text" and not isinstance(part.get("text"), str):
        raise wrong_type(f"{place}.text", "a string")


def check_tool_results(kept: dict[str, Any], _: Profile) -> tuple[()]:
    """Every tool message answers a call of an assistant message before it."""
    called: set[str] = set()
    for index, message in enumerate(kept["messages"]):
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            called |= {call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)}
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            place = f"messages.{index}.tool_call_id"
            raise wrong_value(place, "the id of a call of an assistant message before it")
    return ()
