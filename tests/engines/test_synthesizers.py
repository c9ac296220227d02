"""Speech engines behind our interface: what all of them do, then what is particular to each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from contract.options.speech import (
    ESPEAK_VOICES,
    BarkOptions,
    EspeakOptions,
    KokoroOptions,
    PiperOptions,
    VitsOptions,
)
from contract.project import in_project
from deployments.speech.bark import BarkSynthesizer
from deployments.speech.espeak import EspeakSynthesizer
from deployments.speech.kokoro import KokoroSynthesizer
from deployments.speech.piper import PiperSynthesizer
from deployments.speech.synthesizer import Cancelled, Synthesizer, Utterance, VoiceError
from deployments.speech.vits import VitsSynthesizer
from tests.engines.replicas import served

VOICES = {"alloy": "en-us", "nova": "en-us+f3", "klara": "de"}
VITS, BARK = in_project("./local_models/pocket-vits"), in_project("./local_models/pocket-bark")
PIPER, KOKORO = in_project("./local_models/pocket-piper"), in_project("./local_models/pocket-kokoro")
LOADED: dict[str, Callable[[], Synthesizer]] = {
    "espeak-ng": lambda: EspeakSynthesizer(served("espeak-ng", ""), EspeakOptions(voices=VOICES)),
    "piper": lambda: PiperSynthesizer(served("piper", PIPER), PiperOptions(noise_scale=0)),
    "kokoro": lambda: KokoroSynthesizer(served("kokoro", KOKORO), KokoroOptions()),
    "vits": lambda: VitsSynthesizer(served("vits", VITS), VitsOptions()),
    "bark": lambda: BarkSynthesizer(served("bark", BARK), BarkOptions()),
}


@pytest.fixture(scope="module", params=LOADED)
def engine(request: pytest.FixtureRequest) -> Synthesizer:
    return LOADED[request.param]()


@pytest.fixture(scope="module")
def espeak() -> Synthesizer:
    return LOADED["espeak-ng"]()


@pytest.fixture(scope="module")
def vits() -> Synthesizer:
    return LOADED["vits"]()


@pytest.fixture(scope="module")
def bark() -> Synthesizer:
    return LOADED["bark"]()


def synthesized(engine: Synthesizer, text: str, voice: str | None = None, seed: int | None = None) -> Any:
    utterance = Utterance(text, voice or engine.voices[0], seed=seed)
    return np.concatenate([np.zeros(0, np.float32), *engine.synthesize(utterance, lambda: False)])


class TestEveryEngine:
    def test_a_sentence_becomes_audio(self, engine: Synthesizer) -> None:
        audio = synthesized(engine, "The quick brown fox jumps over the lazy dog.")
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert 0.3 < len(audio) / engine.sample_rate < 15
        assert np.abs(audio).mean() > 0.01
        assert np.abs(audio).max() <= 1

    def test_its_voices_sound_different(self, engine: Synthesizer) -> None:
        audios = [synthesized(engine, "Hello there.", voice, seed=3) for voice in engine.voices]
        assert len({audio.tobytes() for audio in audios}) == len(engine.voices) > 1

    @pytest.mark.parametrize("text", ["a\0b", "<speak>not markup</speak>", "[[not phonemes]]", "x" * 140])
    def test_any_text_with_words_is_said(self, engine: Synthesizer, text: str) -> None:
        assert len(synthesized(engine, text)) > 0

    @pytest.mark.parametrize("text", ["...", "?!", "\u2026 \u2014"])
    def test_a_text_without_words_is_no_failure(self, engine: Synthesizer, text: str) -> None:
        assert synthesized(engine, text).dtype == np.float32

    def test_a_sentence_that_is_closed_early_leaves_the_next_as_it_is(self, engine: Synthesizer) -> None:
        begun = engine.synthesize(Utterance("First.", engine.voices[0], seed=5), lambda: False)
        next(begun)
        begun.close()
        assert len(synthesized(engine, "Second.", seed=5)) > 0

    def test_what_it_cannot_honour_it_says(self, engine: Synthesizer) -> None:
        assert engine.languages == []
        assert {"language", "instructions"} <= set(engine.lacks)


class TestSeeds:
    @pytest.fixture(scope="class", params=["vits", "bark"])
    def random_engine(self, request: pytest.FixtureRequest) -> Any:
        return request.getfixturevalue(request.param)

    def test_a_seed_decides_the_audio(self, random_engine: Synthesizer) -> None:
        one, again, other = (synthesized(random_engine, "Hello there.", seed=seed).tobytes() for seed in (1, 1, 2))
        assert one == again != other

    def test_without_one_every_audio_is_another(self, random_engine: Synthesizer) -> None:
        assert (
            synthesized(random_engine, "Hello there.").tobytes() != synthesized(random_engine, "Hello there.").tobytes()
        )

    def test_it_changes_nobody_elses_chance(self, random_engine: Synthesizer) -> None:
        import torch

        torch.manual_seed(11)
        expected = torch.rand(3)
        torch.manual_seed(11)
        synthesized(random_engine, "Hello there.", seed=1)
        assert torch.equal(torch.rand(3), expected)


class TestEspeak:
    def test_more_words_take_longer(self, espeak: Synthesizer) -> None:
        one, two = synthesized(espeak, "A fox."), synthesized(espeak, "A fox, a boat, a gateway and a picture.")
        assert len(two) > 2 * len(one)

    def test_a_voice_is_not_changed_by_another_before_it(self, espeak: Synthesizer) -> None:
        """Its length stays; the library's state moves single samples."""
        before = synthesized(espeak, "Hello there.")
        synthesized(espeak, "Something else.", "klara")
        assert len(synthesized(espeak, "Hello there.")) == pytest.approx(len(before), rel=0.02)

    def test_two_sentences_at_once_are_not_mixed(self, espeak: Synthesizer) -> None:
        """The library has one callback for the whole process; each sentence keeps its own audio."""
        alone = [
            len(synthesized(espeak, text)) for text in ("One, two, three.", "A much longer sentence about a gateway.")
        ]
        first = espeak.synthesize(Utterance("One, two, three.", "alloy"), lambda: False)
        second = espeak.synthesize(Utterance("A much longer sentence about a gateway.", "alloy"), lambda: False)
        begun = [next(first), next(second)]
        lengths = [
            len(begun[0]) + sum(map(len, first)),
            len(begun[1]) + sum(map(len, second)),
        ]
        assert lengths == pytest.approx(alone, rel=0.02)

    def test_a_voice_that_is_none_is_refused_at_the_start(self) -> None:
        with pytest.raises(VoiceError, match="no voice 'nobody'"):
            EspeakSynthesizer(served("espeak-ng", ""), EspeakOptions(voices={"alloy": "nobody"}))

    def test_the_usual_voices_are_all_there(self) -> None:
        engine = EspeakSynthesizer(served("espeak-ng", ""), EspeakOptions())
        assert engine.voices == list(ESPEAK_VOICES)
        assert len({synthesized(engine, "Hello.", voice, 7).tobytes() for voice in engine.voices}) == len(ESPEAK_VOICES)


class TestVits:
    def test_its_speakers_are_voices_by_number_or_by_the_names_of_the_configuration(self, vits: Synthesizer) -> None:
        assert vits.voices == ["0", "1", "2"]
        named = VitsSynthesizer(served("vits", VITS), VitsOptions(voices={"alloy": 1}))
        assert named.voices == ["alloy"]
        assert synthesized(named, "Hello.", "alloy", 7).tobytes() == synthesized(vits, "Hello.", "1", 7).tobytes()

    def test_a_speaker_that_is_none_is_refused_at_the_start(self) -> None:
        with pytest.raises(VoiceError, match="voices: alloy: the model has no speaker 9; it has 0, 1, 2"):
            VitsSynthesizer(served("vits", VITS), VitsOptions(voices={"alloy": 9}))

    def test_letters_that_it_does_not_know_are_silent(self, vits: Synthesizer) -> None:
        assert len(synthesized(vits, "\u4f60\u597d")) == 0


class TestBark:
    def test_its_presets_are_voices(self, bark: Synthesizer) -> None:
        assert bark.voices == ["v2/en_speaker_0", "v2/en_speaker_1"]
        assert BarkSynthesizer(served("bark", BARK), BarkOptions(voices={"nova": "v2/en_speaker_1"})).voices == ["nova"]

    @pytest.mark.parametrize("preset", ["v2/en_speaker_9", "../../etc/passwd", "repo_or_path"])
    def test_a_preset_that_is_none_is_refused_at_the_start(self, preset: str) -> None:
        with pytest.raises(VoiceError, match="voices: nova: the model has no preset"):
            BarkSynthesizer(served("bark", BARK), BarkOptions(voices={"nova": preset}))

    def test_it_stops_in_the_middle_of_a_sentence(self, bark: Synthesizer) -> None:
        steps = iter(range(1000))
        with pytest.raises(Cancelled):
            list(bark.synthesize(Utterance("Hello there.", bark.voices[0]), lambda: next(steps) >= 10))
        assert next(steps) == 11
        assert len(synthesized(bark, "Hello there.")) > 0
