"""The content of a message: a string, or an array of content parts, which chat and responses name differently."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.parameters.adjust import lacking
from app.parameters.kinds import UNKNOWN, wrong_type, wrong_value
from contract.errors import ApiError
from contract.profile import Profile

DETAILS = ("auto", "low", "high", "original")
MEDIA_FIELDS = frozenset({"image_url", "input_audio", "file_data"})  # of parts that are no text


@dataclass(frozen=True, slots=True)
class PartKind:
    """One type of content part: the capability that it needs, and the check of its fields."""

    check: Callable[[dict[str, Any], str], None]
    capability: str | None = None
    # The only fields that a part may have beside `type`, and those of the object in each, if it holds one. An engine's
    # own would name its cache.
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: bool = False  # by name, whatever the model is


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


@dataclass(frozen=True, slots=True)
class AudioSlot:
    """Audio in a request, in base64."""

    form: str  # wav, mp3, ...
    encoded: str
    place: str  # the `param` of an error


def text_part(name: str, *more: str) -> PartKind:
    """A part whose text is in `name`. `more` are fields that clients send back to us as they got them."""
    return PartKind(lambda part, place: need_string(part, name, place), fields=dict.fromkeys((name, *more), ()))


def unsupported_part(why: str, capability: str | None = None) -> PartKind:
    """A part that is refused by name: for the capability that the model lacks, else for `why`."""

    def refuse(_part: dict[str, Any], place: str) -> None:
        raise ApiError("unsupported_parameter", f"`{place}` is not supported: {why}", param=place)

    return PartKind(refuse, capability, refused=True)


def legal_types(kinds: Kinds) -> list[str]:
    return [name for name, kind in kinds.items() if not kind.refused]


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
    type_ = part.get("type")
    kind = kinds.get(type_) if isinstance(type_, str) else None
    if kind is None:
        raise wrong_value(f"{place}.type", "one of " + ", ".join(legal_types(kinds)))
    if kind.capability is not None and kind.capability not in profile.capabilities:
        raise lacking(kind.capability, place)
    kind.check(part, place)
    gone = _removed(part, ("type", *kind.fields), place)
    for name, inner in kind.fields.items():
        if inner:
            gone += _removed(part[name], inner, f"{place}.{name}")
    return gone


def _removed(holder: dict[str, Any], legal: Iterable[str], place: str) -> list[str]:
    """Take all fields but the `legal` ones out of `holder`. Returns the places of those that are not null."""
    extra = [name for name in holder if name not in legal]
    return [f"{place}.{name}" for name in extra if holder.pop(name) is not None]


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
    need_string(holder, field, place)
    detail = holder.get("detail")
    if detail is not None and detail not in DETAILS:
        raise wrong_value(f"{place}.detail", "one of " + ", ".join(DETAILS))


def parts_of(content: Any, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The parts of one kind in a checked content, each with its index."""
    if isinstance(content, list):
        yield from ((index, part) for index, part in enumerate(content) if part["type"] == kind)


def need_string(holder: dict[str, Any], field: str, place: str) -> None:
    """Raises ApiError where `field` of `holder`, which is at `place`, is no string."""
    if not isinstance(holder.get(field), str):
        raise wrong_type(f"{place}.{field}", "a string")
