"""The content of a message: a string, or an array of content parts, which chat and responses name differently."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.parameters.adjust import lacking
from app.parameters.kinds import UNKNOWN, wrong_type, wrong_value
from contract.profile import Profile

DETAILS = ("auto", "low", "high", "original")
MEDIA_FIELDS = frozenset({"image_url", "input_audio", "video_url", "file_data"})  # of parts that are no text


@dataclass(frozen=True, slots=True)
class PartKind:
    """One type of content part: the capability that it needs, and the check of its fields."""

    check: Callable[[dict[str, Any], str], None]
    capability: str | None = None
    # The only fields that an image, audio or video part may have: an engine's own would name its cache. None: any.
    fields: frozenset[str] | None = None


Kinds = Mapping[str, PartKind]


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The place of an image in a request."""

    holder: dict[str, Any]
    field: str
    place: str  # the `param` of an error

    @property
    def url(self) -> str:
        url: str = self.holder[self.field]
        return url

    def put(self, url: str) -> None:
        self.holder[self.field] = url


def text_part(field: str) -> PartKind:
    return PartKind(lambda part, place: _need_string(part, field, place))


def check_content(content: Any, place: str, kinds: Kinds, profile: Profile) -> list[str]:
    """Check a string or an array of parts. Returns the places of the fields that were removed. Raises ApiError."""
    if isinstance(content, str):
        return []
    if not isinstance(content, list):
        raise wrong_type(place, "a string or an array of parts")
    return [gone for index, part in enumerate(content) for gone in _check(part, f"{place}.{index}", kinds, profile)]


def _check(part: Any, place: str, kinds: Kinds, profile: Profile) -> list[str]:
    if not isinstance(part, dict):
        raise wrong_type(place, "an object")
    name = part.get("type")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise wrong_value(f"{place}.type", "one of " + ", ".join(kinds))
    if kind.capability is not None and kind.capability not in profile.capabilities:
        raise lacking(kind.capability, place)
    kind.check(part, place)
    extra = [] if kind.fields is None else [field for field in part if field not in kind.fields]
    for field in extra:
        del part[field]
    return [f"{place}.{field}" for field in extra]


def dropped(places: list[str], name: str) -> tuple[tuple[str, str], ...]:
    """Removed places under the parameter `name`, as a Reading has them."""
    return tuple((place.removeprefix(f"{name}."), UNKNOWN) for place in places)


def holder_of(part: dict[str, Any], field: str, place: str) -> dict[str, Any]:
    """The object in a part's `field`."""
    holder = part.get(field)
    if not isinstance(holder, dict):
        raise wrong_type(f"{place}.{field}", "an object")
    return holder


def check_image(holder: dict[str, Any], field: str, place: str) -> None:
    _need_string(holder, field, place)
    detail = holder.get("detail")
    if detail is not None and detail not in DETAILS:
        raise wrong_value(f"{place}.detail", "one of " + ", ".join(DETAILS))


def check_data_url(holder: dict[str, Any], field: str, place: str) -> None:
    """A `data:` URL; nothing is fetched for the client."""
    _need_string(holder, field, place)
    if not holder[field].startswith("data:"):
        raise wrong_value(f"{place}.{field}", "a data: URL. Other URLs are not fetched for this type of part")


def parts_of(content: Any, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The parts of one kind in a checked content, each with its index."""
    if isinstance(content, list):
        yield from ((index, part) for index, part in enumerate(content) if part["type"] == kind)


def _need_string(holder: dict[str, Any], field: str, place: str) -> None:
    if not isinstance(holder.get(field), str):
        raise wrong_type(f"{place}.{field}", "a string")
