"""Transcripts in every form, from given segments."""

import json
from typing import Any

import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

from deployments.transcriptions.formats import body, delta, done
from deployments.transcriptions.transcript import Segment, Transcript, Word, in_time_order


def segment(text: str, start: float, end: float, words: list[Word] | None = None) -> Segment:
    return Segment(text, start, end, [1, 2], 0.0, -0.5, 1.2, 0.01, 0, words or [])


FOX = Transcript(
    "en",
    3725.5,
    [
        segment(" The fox\n\njumps.", 0, 1.5, [Word(" The", 0, 0.5), Word(" fox", 0.5, 1)]),
        segment(" a --> b & <c>", 3723.25, 3725.5),
    ],
)
NOTHING = Transcript("en", 2, [])


def written(transcript: Transcript, form: str, *granularities: str) -> str:
    return body(transcript, form, list(granularities))[1].decode()


def test_each_form_has_its_media_type() -> None:
    types = {form: body(FOX, form, [])[0] for form in ("json", "text", "srt", "vtt", "verbose_json")}
    assert types == {
        "json": "application/json",
        "text": "text/plain; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "verbose_json": "application/json",
    }


def test_json_and_text() -> None:
    answer = Transcription.model_validate_json(written(FOX, "json"), strict=True)
    assert answer.text == "The fox\n\njumps. a --> b & <c>"
    assert json.loads(written(FOX, "json"))["usage"] == {"type": "duration", "seconds": 3725.5}
    assert written(FOX, "text") == answer.text + "\n"


def test_srt_has_numbered_cues_that_no_text_can_break() -> None:
    assert written(FOX, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nThe fox jumps.\n\n2\n01:02:03,250 --> 01:02:05,500\na -> b & <c>\n"
    )


def test_vtt_escapes_what_would_be_markup() -> None:
    assert written(FOX, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nThe fox jumps.\n\n"
        "01:02:03.250 --> 01:02:05.500\na --&gt; b &amp; &lt;c&gt;\n"
    )


def test_nothing_said() -> None:
    texts = {form: written(NOTHING, form) for form in ("text", "srt", "vtt")}
    assert texts == {"text": "\n", "srt": "", "vtt": "WEBVTT\n"}
    assert json.loads(written(NOTHING, "json"))["text"] == ""


def test_verbose_json_has_the_times_that_were_asked_for() -> None:
    def parts(*granularities: str) -> tuple[Any, Any]:
        answer = TranscriptionVerbose.model_validate_json(written(FOX, "verbose_json", *granularities), strict=True)
        assert (answer.language, answer.duration) == ("english", 3725.5)
        return answer.segments, answer.words

    segments, words = parts()
    assert ([one.id for one in segments], words) == ([0, 1], None)
    segments, words = parts("word")
    assert segments is None
    assert [(one.word, one.start, one.end) for one in words] == [("The", 0, 0.5), ("fox", 0.5, 1)]
    assert None not in parts("word", "segment")


def test_the_deltas_of_a_stream_are_its_text() -> None:
    texts = [delta(one, first=number == 0)[0] for number, one in enumerate(FOX.segments)]
    assert "".join(texts) == FOX.text


def test_the_events_of_a_stream_are_of_openai_s_types() -> None:
    _, event = delta(FOX.segments[0], first=True)
    TranscriptionTextDeltaEvent.model_validate_json(event.removeprefix(b"data: "), strict=True)
    event = done("a", 2.004).removeprefix(b"data: ")
    assert TranscriptionTextDoneEvent.model_validate_json(event, strict=True).usage is None
    seconds = {"type": "duration", "seconds": 2.0}
    assert json.loads(event) == {"type": "transcript.text.done", "text": "a", "portico": {"usage": seconds}}


# What a model may write: times that go back, overlap, and end before they begin.
DISORDERED = Transcript(
    "en",
    30,
    [
        segment(" a", 5, 28, [Word(" a", 6, 8)]),
        segment(" b", 2, 4, [Word(" b", 3, 2)]),
        segment(" c", 10, 12, [Word(" c", 11, 29), Word(" c", 11, 12)]),
        segment(" d", 11, 9),
    ],
)


def test_segments_are_in_time_order_whatever_the_model_says() -> None:
    content = json.loads(written(DISORDERED, "verbose_json", "segment", "word"))
    segments = [(one["text"], one["start"], one["end"]) for one in content["segments"]]
    assert segments == [(" a", 5, 5), (" b", 5, 5), (" c", 10, 11), (" d", 11, 11)]
    words = [(one["word"], one["start"], one["end"]) for one in content["words"]]
    assert words == [("a", 6, 6), ("b", 6, 6), ("c", 11, 11), ("c", 11, 12)]


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_cues_are_in_time_order_whatever_the_model_says(form: str) -> None:
    times = [time for line in written(DISORDERED, form).splitlines() if " --> " in line for time in line.split(" --> ")]
    assert len(times) == 8
    assert times == sorted(times)


def test_times_that_are_in_order_are_not_changed() -> None:
    assert in_time_order(FOX.segments, FOX.seconds) == FOX.segments
    assert in_time_order([], 2) == []


def test_no_time_is_beyond_the_recording() -> None:
    late = [segment(" a", 0, 31), segment(" b", 30.5, 32)]
    assert [(one.start, one.end) for one in in_time_order(late, 30)] == [(0, 30), (30, 30)]
