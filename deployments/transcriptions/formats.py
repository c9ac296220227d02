"""Transcripts as clients get them: json, text, srt, vtt, verbose_json, and the events of a stream."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from contract import sse
from contract.options.whisper_languages import LANGUAGES
from deployments.transcriptions.transcript import Segment, Transcript, in_time_order

Body = tuple[str, bytes]  # the media type and the content


def usage(seconds: float) -> dict[str, Any]:
    """What a transcription is billed by."""
    return {"type": "duration", "seconds": round(seconds, 2)}


def body(transcript: Transcript, response_format: str, granularities: list[str]) -> Body:
    """`transcript` in one of the values of `response_format`."""
    transcript = transcript._replace(segments=in_time_order(transcript.segments, transcript.seconds))
    if response_format == "verbose_json":
        return "application/json", orjson.dumps(_verbose(transcript, granularities))
    return WRITERS[response_format](transcript)


def delta(segment: Segment, first: bool) -> tuple[str, bytes]:
    """The text that `segment` adds to a stream, and its event."""
    text = segment.text.lstrip() if first else segment.text
    return text, sse.event({"type": "transcript.text.delta", "delta": text})


def done(text: str, seconds: float) -> bytes:
    """The last event: all texts before it together. OpenAI's `usage` of it is in tokens only, so ours is beside it."""
    return sse.event({"type": "transcript.text.done", "text": text, "portico": {"usage": usage(seconds)}})


def _json(transcript: Transcript) -> Body:
    content = {"text": transcript.text, "usage": usage(transcript.seconds)}
    return "application/json", orjson.dumps(content)


def _text(transcript: Transcript) -> Body:
    return "text/plain; charset=utf-8", f"{transcript.text}\n".encode()


def _srt(transcript: Transcript) -> Body:
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text.replace('-->', '->')}\n"
        for number, (start, end, text) in enumerate(_cues(transcript), 1)
    ]
    return "application/x-subrip; charset=utf-8", "\n".join(cues).encode()


def _vtt(transcript: Transcript) -> Body:
    cues = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(text)}\n" for start, end, text in _cues(transcript)
    ]
    return "text/vtt; charset=utf-8", "\n".join(["WEBVTT\n", *cues]).encode()


WRITERS: dict[str, Callable[[Transcript], Body]] = {"json": _json, "text": _text, "srt": _srt, "vtt": _vtt}


def _verbose(transcript: Transcript, granularities: list[str]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "task": transcript.task,
        "language": LANGUAGES[transcript.language],
        "duration": round(transcript.seconds, 2),
        "text": transcript.text,
        "usage": usage(transcript.seconds),
    }
    if "word" in granularities:
        words = in_time_order([word for one in transcript.segments for word in one.words], transcript.seconds)
        content["words"] = [{"word": word.text.strip(), "start": word.start, "end": word.end} for word in words]
    if "segment" in granularities or not granularities:
        content["segments"] = [
            {"id": index} | {name: value for name, value in segment._asdict().items() if name != "words"}
            for index, segment in enumerate(transcript.segments)
        ]
    return content


def _cues(transcript: Transcript) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each segment that has one; the text in one line, since an empty line ends a cue."""
    for segment in transcript.segments:
        if text := " ".join(segment.text.split()):
            yield segment.start, segment.end, text


def _clock(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
