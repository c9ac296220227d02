"""POST /v1/audio/speech on a synthesizer that beeps: what holds for every speech engine."""

import asyncio
import base64
import threading
from collections.abc import Callable, Generator
from contextlib import aclosing
from typing import Any

import av
import numpy as np
import orjson
import pytest

from contract.options.catalog import EngineSpec, ServedModel
from contract.options.speech import SpeechOptions
from contract.profile import Profile
from contract.protocol import SPEECH_ROUTE, RequestHead, ResponseHead, ResponseTail
from deployments.replica import Replica
from deployments.speech import audio_encoding
from deployments.speech.audio_encoding import FORMATS, Samples
from deployments.speech.synthesizer import Cancelled, Synthesizer, Utterance, VoiceError
from tests.audio_files import seconds
from tests.engines.replicas import until_replaced

HEAD = RequestHead(SPEECH_ROUTE, "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={})
RATE = 16_000
WORD_SECONDS = 0.25


class FakeSynthesizer(Synthesizer):
    """Beeps a quarter of a second for each word, as a piece each, and writes down what it was asked."""

    sample_rate = RATE
    voices = ["ada", "brian"]  # noqa: RUF012
    languages = ["en", "german"]  # noqa: RUF012
    lacks = {"instructions": "it only beeps"}  # noqa: RUF012

    def __init__(self, model: ServedModel, options: SpeechOptions) -> None:
        self.utterances: list[Utterance] = []
        self.words: list[str] = []
        self.closed = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def longest_sentence(self, language: str | None) -> int:
        return 20 if language == "german" else 100

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        self.utterances.append(utterance)
        try:
            for word in utterance.text.split():
                while not self.go_on.wait(0.01):
                    if cancelled():
                        raise Cancelled
                if word.strip(".") == "fail":
                    raise RuntimeError("a fault of the engine")
                if not word.strip(".?"):
                    return
                self.words.append(word.strip(".?"))
                yield np.sin(np.arange(int(RATE * WORD_SECONDS)) * 0.2).astype(np.float32) * np.float32(0.3)
        finally:
            self.closed += 1


def broken(*_: Any) -> Generator[Samples]:
    raise RuntimeError("the GPU is lost")
    yield


SPEC = EngineSpec("fake", {"speech": f"{__name__}:FakeSynthesizer"}, SpeechOptions)


async def started(**engine_kwargs: Any) -> Replica:
    return await Replica.started(SPEC, ServedModel("fake", "fake", "speech", "", engine_kwargs))


def synthesizer(replica: Replica) -> Any:
    return replica.engine._synthesizer  # type: ignore[attr-defined]


@pytest.fixture
async def replica() -> Replica:
    made = await started()
    synthesizer(made).utterances.clear()
    synthesizer(made).words.clear()
    synthesizer(made).closed = 0
    return made


def ask(replica: Replica, text: str = "One two three. Four five.", **changes: Any) -> Any:
    return replica.handle(HEAD, orjson.dumps({"input": text} | changes))


async def answered(replica: Replica, text: str = "One two three. Four five.", **changes: Any) -> list[Any]:
    async with aclosing(ask(replica, text, **changes)) as items:
        return [item async for item in items]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


class TestAnswers:
    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
    async def test_every_format_at_every_speed_has_the_right_length(
        self, replica: Replica, kind: str, speed: float
    ) -> None:
        text = " ".join(["word"] * 60)  # at speed 4 long enough for the frame of silence that some formats begin with
        head, *pieces, tail = await answered(replica, text, response_format=kind, speed=speed)
        assert (head.status, head.content_type) == (200, FORMATS[kind].media_type)
        assert seconds(kind, b"".join(pieces)) == pytest.approx(60 * WORD_SECONDS / speed, rel=0.05)
        assert tail.error is None

    async def test_a_sentence_is_synthesized_by_the_voice_in_the_language_with_the_seed(self, replica: Replica) -> None:
        await answered(replica, voice="brian", language="en", instructions="Softly.", seed=7)
        assert synthesizer(replica).utterances == [
            Utterance("One two three.", "brian", "en", "Softly.", 7),
            Utterance("Four five.", "brian", "en", "Softly.", 7),
        ]

    async def test_sentences_are_cut_as_the_engine_needs_it(self, replica: Replica) -> None:
        await answered(replica, "one two three four five six seven eight", language="german")
        assert max(len(utterance.text) for utterance in synthesizer(replica).utterances) <= 20
        assert synthesizer(replica).words == ["one", "two", "three", "four", "five", "six", "seven", "eight"]

    async def test_the_usual_voice_is_the_first_or_the_configured_one(self, replica: Replica) -> None:
        await answered(replica)
        assert synthesizer(replica).utterances[0].voice == "ada"
        other = await started(default_voice="brian")
        await answered(other)
        assert synthesizer(other).utterances[-1].voice == "brian"
        with pytest.raises(VoiceError, match="default_voice 'nobody' is not one of ada, brian"):
            await started(default_voice="nobody")

    async def test_the_engine_is_tried_out_before_anybody_asks(self) -> None:
        assert synthesizer(await started()).words == ["Ready"]

    async def test_an_engine_without_audio_is_not_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeSynthesizer, "synthesize", lambda *_: iter(()))
        with pytest.raises(RuntimeError, match="no audio"):
            await started()

    async def test_usage_counts_characters_and_seconds(self, replica: Replica) -> None:
        tail = (await answered(replica, "One two three four."))[-1]
        assert tail == ResponseTail({"input_tokens": 5, "output_tokens": 20, "total_tokens": 25})

    async def test_events_hold_the_audio_and_end_with_the_usage(self, replica: Replica) -> None:
        head, *events, _ = await answered(replica, response_format="pcm", stream_format="sse")
        assert head.announces_events
        reported = [orjson.loads(event.partition(b"data: ")[2]) for event in events]
        assert [one["type"] for one in reported] == ["speech.audio.delta"] * (len(reported) - 1) + ["speech.audio.done"]
        assert all(
            event.startswith(b"event: " + one["type"].encode()) for event, one in zip(events, reported, strict=True)
        )
        assert all(one["audio"] for one in reported[:-1])
        audio = b"".join(base64.b64decode(one["audio"]) for one in reported[:-1])
        assert seconds("pcm", audio) == pytest.approx(5 * WORD_SECONDS, rel=0.05)
        assert reported[-1]["usage"] == {"input_tokens": 7, "output_tokens": 25, "total_tokens": 32}

    async def test_what_the_model_can_do(self, replica: Replica) -> None:
        profile = Profile.from_wire(await replica.describe())
        assert profile.card()["voices"] == ["ada", "brian"]
        assert profile.card()["languages"] == ["en", "german"]
        assert profile.lacks == {"instructions": "it only beeps"}
        assert profile.limit("max_characters") == 4096

    @pytest.mark.parametrize("kind", FORMATS)
    async def test_audio_leaves_before_the_second_sentence_is_synthesized(self, replica: Replica, kind: str) -> None:
        async with aclosing(ask(replica, "One two three four. Five.", response_format=kind)) as items:
            assert (await anext(items)).status == 200
            assert len(await anext(items)) > 0
            assert "Five" not in synthesizer(replica).words


class TestFailures:
    @pytest.mark.parametrize("stream_format", ["audio", "sse"])
    async def test_a_text_without_words_is_a_400(self, replica: Replica, stream_format: str) -> None:
        (head,) = await answered(replica, "... ...", stream_format=stream_format)
        assert (head.status, head.error["code"], head.error["param"]) == (400, "invalid_value", "input")

    @pytest.mark.parametrize("stream_format", ["audio", "sse"])
    async def test_a_failure_before_the_first_audio_has_its_status(self, replica: Replica, stream_format: str) -> None:
        (head,) = await answered(replica, "fail now", stream_format=stream_format)
        assert isinstance(head, ResponseHead)
        assert head.error
        assert (head.status, head.error["code"]) == (502, "upstream_error")
        assert "fault" not in head.error["message"]

    @pytest.mark.parametrize("stream_format", ["audio", "sse"])
    async def test_a_failure_after_it_ends_the_stream_with_an_error(self, replica: Replica, stream_format: str) -> None:
        head, *pieces, tail = await answered(
            replica, "One two. Then fail.", stream_format=stream_format, response_format="pcm"
        )
        assert head.status == 200
        assert pieces
        assert not any(b"speech.audio.done" in piece for piece in pieces)
        assert tail.error["code"] == "upstream_error"

    async def test_after_a_failure_the_engine_s_trial_says_whether_the_replica_is_replaced(
        self, replica: Replica, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await answered(replica, "fail")  # a bad text
        await until(lambda: synthesizer(replica).words == ["Ready"])
        await replica.check_health()
        monkeypatch.setattr(synthesizer(replica), "synthesize", broken)
        await answered(replica)
        await until_replaced(replica)

    async def test_after_a_failure_the_next_request_is_served(self, replica: Replica) -> None:
        await answered(replica, "fail")
        assert (await answered(replica, "One."))[0].status == 200


class TestLeaving:
    async def test_who_leaves_stops_the_work_at_the_next_piece(self, replica: Replica) -> None:
        items = ask(replica, " ".join(["word"] * 19) + ". " + "More. " * 50, response_format="pcm")
        await anext(items)
        synthesizer(replica).go_on.clear()
        await items.aclose()
        synthesizer(replica).go_on.set()
        await until(lambda: replica.engine.unfinished() == 0)
        assert "More" not in synthesizer(replica).words
        assert synthesizer(replica).closed == 1

    async def test_who_leaves_while_the_engine_is_busy_stops_it_in_the_middle(self, replica: Replica) -> None:
        synthesizer(replica).go_on.clear()
        asking = asyncio.create_task(answered(replica, "One two."))
        await until(lambda: len(synthesizer(replica).utterances) == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: replica.engine.unfinished() == 0)
        assert synthesizer(replica).words == []
        synthesizer(replica).go_on.set()
        assert (await answered(replica, "One."))[0].status == 200

    async def test_who_leaves_while_waiting_is_never_synthesized(self, replica: Replica) -> None:
        synthesizer(replica).go_on.clear()
        first = asyncio.create_task(answered(replica, "One."))
        await until(lambda: len(synthesizer(replica).utterances) == 1)
        second = asyncio.create_task(answered(replica, "Two."))
        await until(lambda: replica.engine.unfinished() == 2)
        second.cancel()
        await asyncio.wait([second])
        synthesizer(replica).go_on.set()
        await first
        await until(lambda: replica.engine.unfinished() == 0)
        assert [utterance.text for utterance in synthesizer(replica).utterances] == ["One."]

    @pytest.mark.parametrize("kind", FORMATS)
    async def test_every_encoder_is_closed(self, replica: Replica, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[Any] = []
        open_container = av.open

        def watched(*args: Any, **kwargs: Any) -> Any:
            opened.append(open_container(*args, **kwargs))
            return opened[-1]

        closed: list[Any] = []
        close = audio_encoding.AudioEncoder.close
        monkeypatch.setattr("deployments.speech.audio_encoding.av.open", watched)

        def close_and_note(it: audio_encoding.AudioEncoder) -> None:
            close(it)
            closed.append(it)

        monkeypatch.setattr(audio_encoding.AudioEncoder, "close", close_and_note)
        items = ask(replica, response_format=kind)
        await anext(items)
        await items.aclose()
        await answered(replica, "fail", response_format=kind)
        await answered(replica, response_format=kind)
        await until(lambda: len(set(map(id, closed))) == len(opened) == 3)


class TestTurns:
    async def test_sentences_of_several_requests_take_turns(self, replica: Replica) -> None:
        synthesizer(replica).go_on.clear()
        texts = ["A1. A2. A3.", "B1. B2. B3.", "C1. C2. C3."]
        asking = [asyncio.create_task(answered(replica, text)) for text in texts]
        await until(lambda: replica.engine.unfinished() == 3)
        synthesizer(replica).go_on.set()
        await asyncio.gather(*asking)
        order = synthesizer(replica).words
        assert [sorted(order[start : start + 3]) for start in (0, 3, 6)] == [
            ["A1", "B1", "C1"],
            ["A2", "B2", "C2"],
            ["A3", "B3", "C3"],
        ]

    async def test_nothing_comes_between_the_words_of_a_sentence(self, replica: Replica) -> None:
        await asyncio.gather(*(answered(replica, f"{name}1 {name}2 {name}3. {name}4 {name}5.") for name in "ABCD"))
        words = synthesizer(replica).words
        starts = [index for index, word in enumerate(words) if word[1] in "14"]
        runs = [words[start:end] for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]
        assert all(len({word[0] for word in run}) == 1 for run in runs)

    async def test_every_request_gets_its_own_audio(self, replica: Replica) -> None:
        lengths = [3, 7, 12, 5]
        answers = await asyncio.gather(
            *(answered(replica, "word. " * length, response_format="pcm") for length in lengths)
        )
        for length, (_, *pieces, _) in zip(lengths, answers, strict=True):
            assert seconds("pcm", b"".join(pieces)) == pytest.approx(length * WORD_SECONDS, rel=0.05)

    async def test_the_event_loop_goes_on_while_the_engine_is_busy(self, replica: Replica) -> None:
        synthesizer(replica).go_on.clear()
        asking = asyncio.create_task(answered(replica))
        await until(lambda: len(synthesizer(replica).utterances) == 1)
        assert not asking.done()
        assert await replica.describe()
        synthesizer(replica).go_on.set()
        await asking
