"""Audio that chat requests bring: counted, measured in bytes, and what its format says it is.

A decoder guesses a file's format from its first bytes. So each must begin as its format does, and no engine gets a
playlist, or any other format, under the name of a legal one.
"""

from collections.abc import Sequence

import pybase64

from app.background.thread_calls import ThreadCalls
from app.config.limits import InputAudio
from app.parameters.parts import AudioSlot
from contract.errors import ApiError

CHECKED_AT_ONCE = 4  # requests
# format -> where its mark may begin, and the marks
MARKS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "wav": (8, (b"WAVE",)),
    "mp3": (0, (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")),
    "flac": (0, (b"fLaC",)),
    "ogg": (0, (b"OggS",)),
}


class AudioChecks:
    """The bounds on it, and the threads that check it."""

    def __init__(self, bounds: InputAudio) -> None:
        self._bounds = bounds
        self._threads = ThreadCalls("audio checks", bounds.check_timeout_s, CHECKED_AT_ONCE)

    async def check(self, slots: Sequence[AudioSlot]) -> None:
        """Raises ApiError for the first of `slots`, at least one, that is not legal."""
        _check_sizes(slots, self._bounds)
        try:
            await self._threads.call(_check_contents, slots)
        except TimeoutError:
            message = f"The audio could not be checked in {self._bounds.check_timeout_s:g} s. Retry the request."
            raise ApiError("overloaded", message) from None


def _check_sizes(slots: Sequence[AudioSlot], bounds: InputAudio) -> None:
    """By the length of the base64, before anything is decoded."""
    most = bounds.max_per_request
    if len(slots) > most:
        message = f"The request has {len(slots)} parts of audio; {most} are legal."
        raise ApiError("invalid_value", message, param=slots[most].place)
    total = 0
    for slot in slots:
        size = len(slot.encoded) // 4 * 3
        total += size
        if size - 2 > bounds.max_bytes or total - 2 * len(slots) > bounds.max_total_bytes:
            raise ApiError(
                "request_too_large",
                f"The audio in `{slot.place}` is larger than is legal: {bounds.max_bytes} bytes, and "
                f"{bounds.max_total_bytes} bytes for all of a request.",
                param=slot.place,
            )


def _check_contents(slots: Sequence[AudioSlot]) -> None:
    for slot in slots:
        try:
            content = pybase64.b64decode(slot.encoded, validate=True)
        except ValueError:
            raise _unreadable(slot, "it is not base64") from None
        place, marks = MARKS[slot.form]
        if not content.startswith(marks, place):
            raise _unreadable(slot, f"it does not begin as {slot.form} does")


def _unreadable(slot: AudioSlot, fault: str) -> ApiError:
    return ApiError("invalid_audio", f"The audio in `{slot.place}` cannot be read: {fault}.", param=slot.place)
