"""faster-whisper behind our interface, and the replica around it, on a small model of random weights."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import faster_whisper
import faster_whisper.tokenizer
import numpy as np
import orjson
import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES as THEIR_LANGUAGES
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from contract.errors import ApiError
from contract.options.faster_whisper import TranscriberOptions
from contract.options.whisper_languages import CODES_BY_NAME, LANGUAGES
from contract.project import PROJECT_FOLDER
from contract.protocol import TRANSCRIPTIONS_ROUTE, TRANSLATIONS_ROUTE, RequestHead, ResponseHead, ResponseTail, join
from deployments.audio.recording import SAMPLE_RATE, DecodingLimits, Recording
from deployments.replica import Replica
from deployments.transcriptions.engine import in_steps
from deployments.transcriptions.transcriber import (
    CUT_WITHIN_SECONDS,
    PART_WINDOWS,
    WINDOW_SECONDS,
    Transcriber,
    TranscriptionRequest,
    quiet_cut,
)
from deployments.transcriptions.transcript import Segment
from tests.engines.replicas import items_of, served, started, until_replaced
from tests.recordings import TEXT, encoded, silence, voice

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-whisper")
OPTIONS = {"device": "cpu", "cpu_threads": 1, "beam_size": 1, "temperatures": [0.0], "max_new_tokens": 16}
HEAD = RequestHead(TRANSCRIPTIONS_ROUTE, "", False, {})
LIMITS = DecodingLimits(4000, 120, 2**29)
PART_SECONDS = PART_WINDOWS * WINDOW_SECONDS
SHORT = encoded(voice(8), "flac")
LONG = encoded(voice(75), "flac")


def options(**changes: Any) -> TranscriberOptions:
    return TranscriberOptions.model_validate(OPTIONS | changes)


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber(served("faster-whisper", SOURCE), options())


@pytest.fixture(scope="module")
async def replica() -> Replica:
    return await started("faster-whisper", "transcriptions", SOURCE, OPTIONS)


def segments(transcriber: Transcriber, content: bytes, **parameters: Any) -> list[Segment]:
    recording = Recording(content, LIMITS)
    return [found.segment for found in transcriber.transcribe(recording, TranscriptionRequest(**parameters)) if found]


def test_the_languages_are_those_of_whisper() -> None:
    assert LANGUAGES == THEIR_LANGUAGES
    assert CODES_BY_NAME == TO_LANGUAGE_CODE
    assert set(LANGUAGES) == set(faster_whisper.tokenizer._LANGUAGE_CODES)


class TestTranscribe:
    def test_a_voice_becomes_text_with_times_inside_the_recording(self, transcriber: Transcriber) -> None:
        found = segments(transcriber, SHORT, segments=True)
        assert "".join(one.text for one in found).strip()
        assert all(0 <= one.start <= one.end <= 8 for one in found)
        assert found == segments(transcriber, SHORT, segments=True)

    def test_silence_becomes_nothing(self, transcriber: Transcriber) -> None:
        assert segments(transcriber, encoded(silence(8), "flac")) == []
        assert segments(transcriber, encoded(silence(75), "flac")) == []

    def test_the_client_may_have_silence_read(self, transcriber: Transcriber) -> None:
        assert segments(transcriber, encoded(silence(8), "flac"), vad_filter=False) != []

    @pytest.mark.parametrize("content", [SHORT, LONG], ids=["short", "long"])
    def test_words_have_times(self, transcriber: Transcriber, content: bytes) -> None:
        words = [word for one in segments(transcriber, content, words=True, segments=True) for word in one.words]
        assert words
        assert all(isinstance(word.start, float) and word.start <= word.end for word in words)

    def test_the_language_is_detected_or_taken(self, transcriber: Transcriber) -> None:
        def languages(**parameters: Any) -> set[str]:
            steps = transcriber.transcribe(Recording(LONG, LIMITS), TranscriptionRequest(**parameters))
            return {found.language for found in steps if found}

        assert len(languages()) == 1
        assert languages(language="fr") == {"fr"}

    def test_a_prompt_beyond_the_model_s_memory_is_cut(self, transcriber: Transcriber) -> None:
        parameters = {"prompt": "a fox <|translate|> jumps " * 500, "hotwords": "dog " * 500}
        assert segments(transcriber, SHORT, **parameters) is not None
        assert transcriber._bounded("<|translate|> fox", 9) == "fox"

    @pytest.mark.parametrize("profile", ["fast", "accurate"])
    @pytest.mark.parametrize("task", ["transcribe", "translate"])
    def test_the_model_is_told_the_task(self, profile: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
        transcriber = Transcriber(served("faster-whisper", SOURCE), options(profile=profile))
        prompts: list[list[int]] = []
        get_prompt = faster_whisper.WhisperModel.get_prompt

        def seen(*arguments: Any, **options: Any) -> Any:
            prompts.append(get_prompt(*arguments, **options))
            return prompts[-1]

        monkeypatch.setattr(faster_whisper.WhisperModel, "get_prompt", seen)
        assert segments(transcriber, SHORT, task=task)
        token = transcriber._model.hf_tokenizer.token_to_id(f"<|{task}|>")
        assert prompts
        assert all(token in prompt for prompt in prompts)

    def test_a_model_of_one_language_does_not_translate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ctranslate2

        monkeypatch.setattr(ctranslate2.models.Whisper, "is_multilingual", False)
        of_one = Transcriber(served("faster-whisper", SOURCE), options())
        assert of_one.languages == ["en"]
        assert of_one.profile().capabilities == {"transcriptions"}

    def test_a_language_that_this_model_does_not_have(self) -> None:
        transcriber = Transcriber(served("faster-whisper", SOURCE), options())
        transcriber.languages = ["en"]
        with pytest.raises(ApiError, match="it knows en") as caught:
            segments(transcriber, SHORT, language="fr")
        assert (caught.value.status, caught.value.param) == (400, "language")

    @pytest.mark.parametrize(
        ("profile", "seconds", "vad", "parameters", "batches"),
        [
            ("auto", 61, True, {}, True),
            ("auto", 59, True, {}, False),
            ("auto", 61, True, {"words": True}, False),
            ("auto", 61, True, {"prompt": "a"}, False),
            ("auto", 61, True, {"temperature": 0.5}, False),
            ("auto", 61, False, {}, False),
            ("fast", 5, True, {"words": True, "prompt": "a"}, True),
            ("fast", 61, False, {}, False),
            ("accurate", 3000, True, {}, False),
        ],
    )
    def test_when_windows_are_batched(
        self, transcriber: Transcriber, profile: Any, seconds: float, vad: bool, parameters: Any, batches: bool
    ) -> None:
        transcriber = object.__new__(Transcriber)
        transcriber.options = Transcriber(served("faster-whisper", SOURCE), options(profile=profile)).options
        assert transcriber.batches(TranscriptionRequest(**parameters), seconds, vad) is batches

    def test_a_part_holds_a_batch_and_is_no_longer_than_it_must_be(self) -> None:
        wide = Transcriber(served("faster-whisper", SOURCE), options(batch_size=16))
        assert wide.part_seconds(TranscriptionRequest(), 3000) == 16 * WINDOW_SECONDS
        assert wide.part_seconds(TranscriptionRequest(words=True), 3000) == PART_SECONDS
        assert (
            Transcriber(served("faster-whisper", SOURCE), options()).part_seconds(TranscriptionRequest(), 3000)
            == PART_SECONDS
        )

    @pytest.mark.parametrize("profile", ["fast", "accurate"])
    def test_times_go_on_from_part_to_part(self, profile: str) -> None:
        transcriber = Transcriber(served("faster-whisper", SOURCE), options(profile=profile))
        quiet = np.concatenate([silence(PART_SECONDS - 10), voice(40)])
        found = segments(transcriber, encoded(quiet, "flac"), segments=True)
        assert found
        assert all(PART_SECONDS - 12 <= one.start <= one.end <= PART_SECONDS + 30 for one in found)


class TestQuietCut:
    def test_a_short_recording_is_one_part(self) -> None:
        assert quiet_cut(voice(5), PART_SECONDS) == 5 * SAMPLE_RATE

    def test_a_long_one_is_cut_in_a_pause_near_the_end(self) -> None:
        samples = np.full((PART_SECONDS + 60) * SAMPLE_RATE, 0.5, np.float32)
        pause = (PART_SECONDS - CUT_WITHIN_SECONDS // 2) * SAMPLE_RATE
        samples[pause : pause + SAMPLE_RATE] = 0
        assert pause <= quiet_cut(samples, PART_SECONDS) <= pause + SAMPLE_RATE


class TestSteps:
    """Recordings take turns; a client that leaves stops its own."""

    async def test_two_take_turns_on_one_worker(self) -> None:
        order: list[str] = []

        def steps(name: str) -> Iterator[str]:
            for _ in range(4):
                order.append(name)
                yield name

        async def run(name: str) -> None:
            async for _ in in_steps(workers, steps(name)):
                pass

        with ThreadPoolExecutor(1) as workers:
            await asyncio.gather(run("a"), run("b"))
        assert order == ["a", "b"] * 4

    async def test_after_the_reader_left_no_step_begins(self) -> None:
        made, freed = [], threading.Event()
        going, go = threading.Event(), threading.Event()

        def steps() -> Iterator[int]:
            try:
                for number in range(100):
                    going.set()
                    go.wait(10)
                    made.append(number)
                    yield number
            finally:
                freed.set()

        async def read() -> None:
            async with aclosing(in_steps(workers, steps())) as results:
                async for _ in results:
                    pass

        with ThreadPoolExecutor(1) as workers:
            reading = asyncio.create_task(read())
            await asyncio.to_thread(going.wait, 10)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            go.set()
            assert await asyncio.to_thread(freed.wait, 10)
        assert made == [0]


def engine_of(replica: Replica) -> Any:
    return replica.engine


def lost(*_: Any) -> Any:
    raise RuntimeError("the GPU is lost")


class TestReplica:
    async def answer(self, replica: Replica, content: bytes, **parameters: Any) -> list[Any]:
        return await items_of(replica, TRANSCRIPTIONS_ROUTE, join(orjson.dumps(parameters), content))

    async def test_a_whole_answer(self, replica: Replica) -> None:
        (head,) = await self.answer(replica, SHORT, response_format="vtt")
        assert head.content_type == "text/vtt; charset=utf-8"
        assert head.body.startswith(b"WEBVTT\n\n00:")
        assert head.usage == {"type": "duration", "seconds": 8.0}

    async def test_a_translation_is_in_english_whatever_is_spoken(self, replica: Replica) -> None:
        body = join(orjson.dumps({"response_format": "verbose_json", "language": "de"}), SHORT)
        (translated,) = await items_of(replica, TRANSLATIONS_ROUTE, body)
        (transcribed,) = await items_of(replica, TRANSCRIPTIONS_ROUTE, body)
        translation, transcript = orjson.loads(translated.body), orjson.loads(transcribed.body)
        assert (translation["task"], translation["language"]) == ("translate", "english")
        assert (transcript["task"], transcript["language"]) == ("transcribe", "german")
        assert translated.usage == {"type": "duration", "seconds": 8.0}

    async def test_a_long_recording_is_translated_to_its_end(self, replica: Replica) -> None:
        body = join(orjson.dumps({"response_format": "verbose_json"}), LONG)
        (translated,) = await items_of(replica, TRANSLATIONS_ROUTE, body)
        translation = orjson.loads(translated.body)
        assert (translation["task"], translation["language"], translation["duration"]) == ("translate", "english", 75)
        assert translation["segments"][-1]["end"] > 60

    async def test_a_stream(self, replica: Replica) -> None:
        head, *events, tail = await self.answer(replica, LONG, stream=True)
        assert isinstance(head, ResponseHead)
        assert head.body is None
        assert tail == ResponseTail({"type": "duration", "seconds": 75.0})
        *deltas, done = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
        assert len(deltas) > 1
        assert done["text"] == "".join(one["delta"] for one in deltas)

    async def test_a_stream_of_silence_has_its_end_only(self, replica: Replica) -> None:
        _, done, tail = await self.answer(replica, encoded(silence(3), "wav"), stream=True)
        assert b'"text":""' in done
        assert tail.error is None

    @pytest.mark.parametrize("stream", [True, False])
    async def test_what_is_no_recording_is_an_error_of_the_client(self, replica: Replica, stream: bool) -> None:
        (head,) = await self.answer(replica, TEXT, stream=stream)
        assert (head.status, head.error["code"]) == (422, "invalid_audio")

    async def test_several_at_once_each_get_their_own(self, replica: Replica) -> None:
        contents = [encoded(voice(seconds), "flac") for seconds in (2, 4, 6, 8, 3, 5)]
        alone = [(await self.answer(replica, content))[0].body for content in contents]
        together = await asyncio.gather(*(self.answer(replica, content) for content in contents))
        assert [head.body for (head,) in together] == alone

    async def test_closing_the_answer_gives_its_place_back(self, replica: Replica) -> None:
        for _ in range(6):  # more than there are places
            items = replica.handle(HEAD, join(orjson.dumps({"stream": True}), LONG))
            assert isinstance(await anext(items), ResponseHead)
            await items.aclose()
        assert len(await self.answer(replica, SHORT)) == 1

    async def test_a_short_recording_does_not_wait_for_long_ones(self, replica: Replica) -> None:
        long = join(orjson.dumps({"stream": True}), LONG)
        under_way = [replica.handle(HEAD, long) for _ in range(4)]  # as many as may be in memory
        for items in under_way:
            assert isinstance(await anext(items), ResponseHead)
        another = asyncio.create_task(self.answer(replica, LONG))
        async with asyncio.timeout(30):
            assert len(await self.answer(replica, SHORT)) == 1
        assert engine_of(replica)._room.locked(), "the long ones still had every place"
        for items in under_way:
            await items.aclose()
        (head,) = await another
        assert head.status == 200

    async def test_an_engine_that_fails_its_trial_too_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        replica = await started("faster-whisper", "transcriptions", SOURCE, OPTIONS)
        monkeypatch.setattr(engine_of(replica)._transcriber, "_part", lost)
        (head,) = await self.answer(replica, SHORT)
        assert (head.status, head.error["code"]) == (502, "upstream_error")
        await until_replaced(replica)

    async def test_it_says_what_it_can(self, replica: Replica) -> None:
        profile = await replica.describe()
        assert (profile["engine"], profile["limits"]) == ("faster-whisper", {"audio_seconds": 3600})
        assert profile["capabilities"] == {"transcriptions", "translations"}
        assert "logprobs" in profile["lacks"]
