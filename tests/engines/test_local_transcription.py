"""whisper-base understands espeak-ng: the two speech models of local.yaml, as it configures them, without Ray."""

from typing import Any, NamedTuple

import jiwer
import numpy as np
import pytest
import yaml
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from contract.options.faster_whisper import TranscriberOptions
from contract.options.speech import EspeakOptions
from contract.project import PROJECT_FOLDER, in_project
from deployments.audio.recording import DecodingLimits, Recording, Samples
from deployments.speech.espeak import EspeakSynthesizer
from deployments.speech.synthesizer import Utterance
from deployments.transcriptions.transcriber import TRANSLATE, Transcriber, TranscriptionRequest
from deployments.transcriptions.transcript import Segment, in_time_order
from tests.engines.replicas import served
from tests.recordings import encoded

LIMITS = DecodingLimits(4000, 120, 2**29)
PAUSE_SECONDS = 0.5
MAX_WORD_ERROR_RATE = 0.25
# Nothing was chosen by these: the voice and the options of local.yaml were, by others.
SENTENCES = """\
The baker opens his shop before the sun comes up.
We need two more chairs for the dinner on Friday.
Her brother plays the piano better than anyone in town.
The last bus home leaves at a quarter past eleven.
Do not forget to water the plants while I am away.
They bought a big yellow house close to the river.
The doctor told him to drink more water every day.
A cold wind blew the leaves across the empty street.
I lost my keys somewhere between the office and the station.
The museum is closed on Mondays and open until late on Thursdays.
She wrote a long letter to her friend in Canada.
Could you speak a little louder, please? I can hardly hear you.
The soup tastes much better with a little more salt.
Our plane landed an hour late because of the storm.
The farmer keeps horses, sheep and a few old chickens.
It takes about ten minutes to walk from here to the market.
My sister is learning how to drive a truck.
The students finished the exam and left the room quietly.
There is nothing better than hot chocolate on a winter evening.
He put the letter on the table and closed the door behind him.""".splitlines()


class Heard(NamedTuple):
    said: str
    seconds: float
    segments: list[Segment]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


def entry(model_id: str) -> dict[str, Any]:
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
    models = content["applications"][0]["args"]["models"]
    return next(one for one in models if one["id"] == model_id)


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    local = entry("whisper-base")
    options = TranscriberOptions.model_validate(local["engine_kwargs"])
    return Transcriber(served("faster-whisper", in_project(local["source"])), options)


@pytest.fixture(scope="module")
def synthesizer() -> EspeakSynthesizer:
    options = EspeakOptions.model_validate(entry("espeak-ng").get("engine_kwargs", {}))
    return EspeakSynthesizer(served("espeak-ng", "espeak-ng"), options)


@pytest.fixture(scope="module")
def heard(transcriber: Transcriber, synthesizer: EspeakSynthesizer) -> list[Heard]:
    """Each sentence, a recording of its own, in the voice that a client gets who names none."""
    return [listen(transcriber, synthesizer, [sentence]) for sentence in SENTENCES]


def listen(transcriber: Transcriber, synthesizer: EspeakSynthesizer, sentences: list[str], **parameters: Any) -> Heard:
    """What is heard of `sentences` in one recording."""
    rate = synthesizer.sample_rate
    pieces: list[Samples] = []
    for sentence in sentences:
        pieces += synthesizer.synthesize(Utterance(sentence, synthesizer.voices[0]), lambda: False)
        pieces.append(np.zeros(int(rate * PAUSE_SECONDS), np.float32))
    samples = np.concatenate(pieces)
    recording = Recording(encoded(samples, "wav", rate=rate), LIMITS)
    steps = transcriber.transcribe(recording, TranscriptionRequest(**parameters))
    return Heard(" ".join(sentences), len(samples) / rate, [step.segment for step in steps if step])


def test_few_words_of_a_sentence_are_misheard(heard: list[Heard]) -> None:
    normal = EnglishTextNormalizer({})
    said, understood = (
        [normal(text) for text in texts] for texts in ([h.said for h in heard], [h.text for h in heard])
    )
    for one, other in zip(said, understood, strict=True):
        if one != other:
            print(f"{one} -> {other}")
    rate = jiwer.wer(said, understood)
    print(f"word error rate: {rate:.3f}")
    assert rate <= MAX_WORD_ERROR_RATE


def test_each_sentence_is_heard_within_its_recording(heard: list[Heard]) -> None:
    for one in heard:
        assert one.segments
        segments = in_time_order(one.segments, one.seconds)
        assert all(0 <= segment.start < segment.end <= one.seconds for segment in segments)


def test_times_follow_the_text(transcriber: Transcriber, synthesizer: EspeakSynthesizer) -> None:
    """Those of segments and of words, each in order; and each sentence is where it was said."""
    said = [SENTENCES[1], SENTENCES[6], SENTENCES[7]]  # about equally long
    spoken = listen(transcriber, synthesizer, said, language="en", words=True, segments=True)
    words = [word for segment in spoken.segments for word in segment.words]
    for spans in (spoken.segments, words):
        times = [time for span in spans for time in (span.start, span.end)]
        assert times == sorted(times)
        assert times[-1] <= spoken.seconds
    at = {word.text.strip(" .,").lower(): word.start / spoken.seconds for word in words}
    assert at["friday"] < 1 / 3 < at["drink"] < 2 / 3 < at["leaves"]


def test_german_is_written_in_english(transcriber: Transcriber, synthesizer: EspeakSynthesizer) -> None:
    """A greeting is: a model this small makes little of longer sentences in a machine's voice."""
    said = Utterance("Guten Morgen. Ich habe einen Hund und zwei Katzen.", "de")
    samples = np.concatenate(list(synthesizer.synthesize(said, lambda: False)))
    recording = Recording(encoded(samples, "wav", rate=synthesizer.sample_rate), LIMITS)
    request = TranscriptionRequest(task=TRANSLATE, language="de")
    text = "".join(step.segment.text for step in transcriber.transcribe(recording, request) if step)
    print(text)
    assert "good morning" in text.lower()
