"""Speech engines behind our interface."""

from typing import Any

import numpy as np
import pytest

from app.engines.speech import ESPEAK_VOICES
from deployments.speech_engine import SpeechEngine, Utterance
from deployments.speech_espeak import EspeakEngine, VoiceError

VOICES = {"alloy": "en-us", "nova": "en-us+f3", "klara": "de"}


@pytest.fixture(scope="module")
def engine() -> SpeechEngine:
    return EspeakEngine(VOICES)


def spoken(engine: SpeechEngine, text: str, voice: str = "alloy") -> Any:
    return np.concatenate([np.zeros(0, np.float32), *engine.speak(Utterance(text, voice))])


def test_a_sentence_becomes_sound(engine: SpeechEngine) -> None:
    sound = spoken(engine, "The quick brown fox jumps over the lazy dog.")
    assert 1.5 < len(sound) / engine.sample_rate < 6
    assert 0.01 < np.abs(sound).mean() < 0.5
    assert np.abs(sound).max() <= 1


def test_more_words_take_longer(engine: SpeechEngine) -> None:
    one, two = spoken(engine, "A fox."), spoken(engine, "A fox, a boat, a gateway and a picture.")
    assert len(two) > 2 * len(one)


def test_voices_sound_different_and_the_first_is_the_usual_one(engine: SpeechEngine) -> None:
    assert engine.voices == list(VOICES)
    sounds = [spoken(engine, "Hello there.", voice) for voice in engine.voices]
    assert len({sound.tobytes() for sound in sounds}) == len(VOICES)


def test_a_voice_is_not_changed_by_another_before_it(engine: SpeechEngine) -> None:
    """Its length stays; the library's state moves single samples."""
    before = spoken(engine, "Hello there.")
    spoken(engine, "Something else.", "klara")
    assert len(spoken(engine, "Hello there.")) == pytest.approx(len(before), rel=0.02)


@pytest.mark.parametrize("text", ["...", "🙂", "a\0b", "<speak>not markup</speak>", "[[not phonemes]]"])
def test_any_text_can_be_said(engine: SpeechEngine, text: str) -> None:
    assert spoken(engine, text).dtype == np.float32


def test_a_voice_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(VoiceError, match="no voice 'nobody'"):
        EspeakEngine({"alloy": "nobody"})


def test_the_usual_voices_are_all_there() -> None:
    assert EspeakEngine(ESPEAK_VOICES).voices == list(ESPEAK_VOICES)
