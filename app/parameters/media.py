"""The media that a JSON request brings in base64: in the content parts that are images or audio."""

from collections.abc import Iterator
from typing import Any

# Type of a content part -> where its base64 stands.
PLACES = {
    "image_url": ("image_url", "url"),
    "input_audio": ("input_audio", "data"),
    "input_image": ("image_url",),
    "image": ("source", "data"),
}
CONTENTS = ("content", "output")  # of a message or a tool's result in one, and of a function call's output


def media_bytes(messages: Any) -> int:
    """Bytes of base64 in the parts of messages, or of the items of a response. Their shape is not checked yet."""
    return sum(map(_bytes_of, _parts(messages)))


def _parts(messages: Any) -> Iterator[dict[str, Any]]:
    for message in _objects(messages):
        for field in CONTENTS:
            for part in _objects(message.get(field)):
                yield part
                yield from _objects(part.get("content"))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in (value if isinstance(value, list) else ()) if isinstance(one, dict))


def _bytes_of(part: dict[str, Any]) -> int:
    kind = part.get("type")
    place = PLACES.get(kind) if isinstance(kind, str) else None
    if place is None:
        return 0
    value: Any = part
    for field in place:
        value = value.get(field) if isinstance(value, dict) else None
    return len(value) if isinstance(value, str) else 0
