"""Real voices of Piper and Kokoro are understood: whisper-base writes down what they say."""

from collections.abc import Callable
from typing import Any

import jiwer
import numpy as np
import pytest
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from contract.options.faster_whisper import TranscriberOptions
from contract.options.speech import KokoroOptions, PiperOptions
from contract.project import in_project
from deployments.audio.recording import DecodingLimits, Recording
from deployments.speech.kokoro import KokoroSynthesizer
from deployments.speech.piper import PiperSynthesizer
from deployments.speech.synthesizer import Synthesizer, Utterance
from deployments.transcriptions.transcriber import Transcriber, TranscriptionRequest
from tests.engines.replicas import served
from tests.recordings import encoded

# Together shorter than the 30 s that Whisper hears at once. Nothing was chosen by them.
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Would you like tea, coffee, or a glass of cold water?",
    "My brother paid 25 dollars for two tickets to the museum.",
    "After the storm, the children ran down to the river!",
]
MAX_WORD_ERROR_RATE = 0.15  # a Piper voice is another one each time
PAUSE_SECONDS = 0.5
REAL: dict[str, Callable[[], Synthesizer]] = {
    "piper": lambda: PiperSynthesizer(
        served("piper", in_project("./local_models/piper-joe")),
        PiperOptions(device="cpu", voices={"joe": "en_US-joe-medium"}),
    ),
    # The package has Japanese voices only; Kokoro's speak any of its languages.
    "kokoro": lambda: KokoroSynthesizer(
        served("kokoro", in_project("./local_models/kokoro-ja")), KokoroOptions(device="cpu", language="en-us")
    ),
}


@pytest.fixture(params=["piper", pytest.param("kokoro", marks=pytest.mark.long)])
def engine(request: pytest.FixtureRequest) -> Any:
    return REAL[request.param]()


def heard(samples: Any, rate: int) -> str:
    options = TranscriberOptions(device="cpu", compute_type="int8", beam_size=1, temperatures=[0.0])
    transcriber = Transcriber(served("faster-whisper", in_project("./local_models/whisper-base")), options)
    recording = Recording(encoded(samples, "wav", rate=rate), DecodingLimits(4000, 120, 2**29))
    steps = transcriber.transcribe(recording, TranscriptionRequest(language="en"))
    return "".join(step.segment.text for step in steps if step)


def test_what_it_says_is_understood(engine: Synthesizer) -> None:
    pause = np.zeros(int(engine.sample_rate * PAUSE_SECONDS), np.float32)
    audio = [
        piece
        for sentence in SENTENCES
        for piece in (*engine.synthesize(Utterance(sentence, engine.voices[0]), lambda: False), pause)
    ]
    normal = EnglishTextNormalizer({})
    said, understood = normal(" ".join(SENTENCES)), normal(heard(np.concatenate(audio), engine.sample_rate))
    print(f"{said}\n{understood}")
    assert jiwer.wer(said, understood) <= MAX_WORD_ERROR_RATE
