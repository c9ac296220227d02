"""The text of a recording, and the times of its parts."""

from itertools import pairwise
from typing import NamedTuple, TypeVar


class Word(NamedTuple):
    """One word and its times in seconds."""

    text: str
    start: float
    end: float


class Segment(NamedTuple):
    """A piece of the transcript, as the model made it, and its times in seconds."""

    text: str  # with the space before it, where the language has one
    start: float
    end: float
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    seek: int  # where the window began, in frames of 10 ms
    words: list[Word]  # empty where they were not asked for


class Transcript(NamedTuple):
    """The whole of it."""

    language: str  # of the text, a code of Whisper
    seconds: float  # of the recording
    segments: list[Segment]
    task: str = "transcribe"  # or "translate", as clients are told

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


Timed = TypeVar("Timed", Word, Segment)


def in_time_order(spans: list[Timed], seconds: float) -> list[Timed]:
    """`spans` in the order of the text, none of which begins before the one before it, or ends after the next begins.

    A model may write its times in any order, and beyond the end of the recording, which is `seconds` long.
    """
    starts: list[float] = []
    for span in spans:
        starts.append(min(max(span.start, starts[-1] if starts else 0.0), seconds))
    return [
        span._replace(start=start, end=min(max(start, span.end), limit))
        for span, (start, limit) in zip(spans, pairwise([*starts, seconds]), strict=True)
    ]
