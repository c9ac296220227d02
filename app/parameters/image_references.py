"""Images that are parameters themselves: of JSON, objects with an `image_url`; of a form, its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pybase64

from app.parameters.kinds import UNKNOWN, Reading, wrong_type, wrong_value
from app.parameters.parts import ImageSlot
from contract.errors import ApiError
from contract.profile import Profile

NAMES = ("image", "images", "mask")
DATA_URL = "data:image/png;base64,"  # the type is not believed: the content says what it is


def image_reference(file: bytes | bytearray) -> dict[str, str]:
    """A file of a form, as JSON would have it."""
    return {"image_url": DATA_URL + pybase64.b64encode(file).decode()}


@dataclass(frozen=True, slots=True)
class ImageReferences:
    """Images, each an object with an `image_url`, or that URL alone; read as such objects."""

    most: int
    single: bool = False  # whether the value is one and no array

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        given = value if isinstance(value, list) else [value]
        if not 1 <= len(given) <= self.most:
            raise wrong_value(name, self.description())
        dropped: list[tuple[str, str]] = []
        read = []
        for index, one in enumerate(given):
            image = {"image_url": one} if isinstance(one, str) else one
            place = name if self.single else f"{name}.{index}"
            if not isinstance(image, dict):
                raise wrong_type(place, "an object with an `image_url`, or that URL")
            if image.get("file_id") is not None:
                message = f"`{place}.file_id` is not supported: files are not stored. Send `image_url`."
                raise ApiError("unsupported_parameter", message, param=f"{place}.file_id")
            if not isinstance(image.get("image_url"), str):
                raise wrong_type(f"{place}.image_url", "a string")
            prefix = "" if self.single else f"{index}."
            others = (field for field, inner in image.items() if field != "image_url" and inner is not None)
            dropped += [(f"{prefix}{field}", UNKNOWN) for field in others]
            read.append({"image_url": image["image_url"]})
        return Reading(read[0] if self.single else read, dropped=tuple(dropped))

    def description(self) -> str:
        one = "an object with an `image_url`"
        return one if self.single else f"{one}, or an array of 1 to {self.most} of them"

    def schema(self) -> dict[str, Any]:
        url = {"type": "string"}
        one = {"anyOf": [url, {"type": "object", "properties": {"image_url": url}, "required": ["image_url"]}]}
        return one if self.single else {"anyOf": [one, {"type": "array", "items": one, "maxItems": self.most}]}


def reference_bytes(request: dict[str, Any]) -> int:
    """Bytes of base64 in the images of a request, whose shape is not checked yet."""
    total = 0
    for name in NAMES:
        value = request.get(name)
        for one in value if isinstance(value, list) else [value]:
            url = one.get("image_url") if isinstance(one, dict) else one
            total += len(url) if isinstance(url, str) else 0
    return total


def image_slots(parameters: dict[str, Any]) -> Iterator[ImageSlot]:
    """The places of the images of a legal request."""
    for index, image in enumerate(parameters.get("image", ())):
        yield ImageSlot(image, "image_url", f"image.{index}")
    if "mask" in parameters:
        yield ImageSlot(parameters["mask"], "image_url", "mask")
