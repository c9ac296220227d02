"""Audio and videos that chat requests bring: counted, measured in bytes, and what their formats say they are.

A decoder guesses a file's format from its first bytes. So each must begin as its format does, and no engine gets a
playlist, or any other format, under the name of a legal one.
"""

from collections.abc import Mapping, Sequence

import pybase64

from app.background.thread_calls import ThreadCalls
from app.config.service import InputMedia
from app.parameters.parts import MediaSlot
from contract.errors import ApiError

CHECKED_AT_ONCE = 4  # requests
# format -> where its mark may begin, and the marks
MARKS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "wav": (8, (b"WAVE",)),
    "mp3": (0, (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")),
    "flac": (0, (b"fLaC",)),
    "ogg": (0, (b"OggS",)),
    "mp4": (4, (b"ftyp",)),
    "webm": (0, (b"\x1a\x45\xdf\xa3",)),
}
FAULT = {"audio": "invalid_audio", "video": "invalid_value"}  # the codes of bytes that are none


class MediaChecks:
    """The bounds on each medium, and the threads that check it."""

    def __init__(self, bounds: Mapping[str, InputMedia]) -> None:
        """`bounds` are by medium: audio, video."""
        self._bounds = bounds
        self._threads = {
            medium: ThreadCalls(f"{medium} checks", its.check_timeout_s, CHECKED_AT_ONCE)
            for medium, its in bounds.items()
        }

    async def check(self, slots: Sequence[MediaSlot]) -> None:
        """Raises ApiError for the first of `slots` that is not legal."""
        for medium, bounds in self._bounds.items():
            if one := [slot for slot in slots if slot.medium == medium]:
                _check_sizes(one, bounds)
                try:
                    await self._threads[medium].call(_check_contents, one)
                except TimeoutError:
                    message = f"The {medium} could not be checked in {bounds.check_timeout_s:g} s. Retry the request."
                    raise ApiError("overloaded", message) from None


def _check_sizes(slots: Sequence[MediaSlot], bounds: InputMedia) -> None:
    """By the length of the base64, before anything is decoded."""
    medium, most = slots[0].medium, bounds.max_per_request
    if len(slots) > most:
        message = f"The request has {len(slots)} parts of {medium}; {most} are legal."
        raise ApiError("invalid_value", message, param=slots[most].place)
    total = 0
    for slot in slots:
        size = len(slot.encoded) // 4 * 3
        total += size
        if size - 2 > bounds.max_bytes or total - 2 * len(slots) > bounds.max_total_bytes:
            raise ApiError(
                "request_too_large",
                f"The {medium} in `{slot.place}` is larger than is legal: {bounds.max_bytes} bytes, and "
                f"{bounds.max_total_bytes} bytes for all of a request.",
                param=slot.place,
            )


def _check_contents(slots: Sequence[MediaSlot]) -> None:
    for slot in slots:
        try:
            content = pybase64.b64decode(slot.encoded, validate=True)
        except ValueError:
            raise _unreadable(slot, "it is not base64") from None
        place, marks = MARKS[slot.form]
        if not content.startswith(marks, place):
            raise _unreadable(slot, f"it does not begin as {slot.form} does")


def _unreadable(slot: MediaSlot, fault: str) -> ApiError:
    message = f"The {slot.medium} in `{slot.place}` cannot be read: {fault}."
    return ApiError(FAULT[slot.medium], message, param=slot.place)
