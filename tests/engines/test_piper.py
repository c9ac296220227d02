"""Piper's voices: which a folder has, whom they mean, what they read, and under which licence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.options.speech import PiperOptions
from contract.project import in_project
from deployments.speech.piper import PiperSynthesizer
from deployments.speech.synthesizer import Utterance, VoiceError
from deployments.speech.voice_license import LicenseError
from local_models.onnx_speech import PIPER_RATE, PIPER_SAMPLES
from tests.engines.replicas import served

POCKET = Path(in_project("./local_models/pocket-piper"))
SOLO, ANNA, BERT = "en_US-solo-low", "de_DE-duo-low:anna", "de_DE-duo-low:bert"
SOLO_FILE = POCKET / "en" / "en_US" / "solo" / "low" / f"{SOLO}.onnx"
QUIET = {"noise_scale": 0}


def piper(source: Path | str = POCKET, **options: Any) -> PiperSynthesizer:
    return PiperSynthesizer(served("piper", str(source)), PiperOptions.model_validate(QUIET | options))


def said(engine: PiperSynthesizer, text: str, voice: str | None = None) -> Any:
    utterance = Utterance(text, voice or engine.voices[0])
    return np.concatenate([np.zeros(0, np.float32), *engine.synthesize(utterance, lambda: False)])


def changed(folder: Path, name: str = SOLO, card: str | None = "* License: CC0", **config: Any) -> Path:
    """A voice in `folder`, as the pocket one but for `config`."""
    folder.mkdir(exist_ok=True)
    shutil.copy(SOLO_FILE, folder / f"{name}.onnx")
    usual = json.loads(SOLO_FILE.with_name(f"{SOLO}.onnx.json").read_text())
    (folder / f"{name}.onnx.json").write_text(json.dumps(usual | config))
    if card is not None:
        (folder / "MODEL_CARD").write_text(card)
    return folder


class TestVoices:
    def test_they_are_the_files_of_the_folder_and_the_speakers_in_them(self) -> None:
        assert piper().voices == [ANNA, BERT, SOLO]

    def test_their_names_are_those_of_the_configuration(self) -> None:
        named = piper(voices={"alloy": BERT, "nova": SOLO})
        assert named.voices == ["alloy", "nova"]
        assert said(named, "Hallo.", "alloy").tobytes() == said(piper(), "Hallo.", BERT).tobytes()

    def test_only_what_may_be_asked_for_is_loaded(self) -> None:
        assert [file.stem for file in piper(voices={"alloy": SOLO})._voices] == [SOLO]

    @pytest.mark.parametrize("name", ["nobody", "de_DE-duo-low", f"{SOLO}:anna", "../../etc/passwd", str(SOLO_FILE)])
    def test_a_voice_that_is_none_is_refused_at_the_start(self, name: str) -> None:
        with pytest.raises(VoiceError, match=f"voices: alloy: the model has no voice '{name}'; it has {ANNA}"):
            piper(voices={"alloy": name})

    def test_speakers_without_names_are_numbers(self, tmp_path: Path) -> None:
        duo = POCKET / "de" / "de_DE" / "duo" / "low"
        shutil.copytree(duo, tmp_path / "duo")
        config = json.loads((duo / "de_DE-duo-low.onnx.json").read_text()) | {"speaker_id_map": {}}
        (tmp_path / "duo" / "de_DE-duo-low.onnx.json").write_text(json.dumps(config))
        assert piper(tmp_path).voices == ["de_DE-duo-low:0", "de_DE-duo-low:1"]

    def test_a_folder_without_any_is_refused(self, tmp_path: Path) -> None:
        shutil.copy(SOLO_FILE, tmp_path)
        with pytest.raises(VoiceError, match=r"holds no voice of Piper: NAME.onnx with NAME.onnx.json"):
            piper(tmp_path)

    def test_those_of_one_entry_have_one_sample_rate(self, tmp_path: Path) -> None:
        changed(tmp_path / "a", "a")
        changed(tmp_path / "b", "b", audio={"sample_rate": 22_050})
        with pytest.raises(VoiceError, match=r"a has 16000, b has 22050 Hz; .* make an entry for each"):
            piper(tmp_path)
        assert piper(tmp_path, voices={"b": "b"}).sample_rate == 22_050

    def test_a_voice_that_reads_another_alphabet_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VoiceError, match=f"{SOLO} reads pinyin"):
            piper(changed(tmp_path, phoneme_type="pinyin"))

    def test_a_language_that_espeak_does_not_have_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VoiceError, match="no voice 'tlh-x'"):
            piper(changed(tmp_path, espeak={"voice": "tlh-x"}))


class TestReading:
    @pytest.fixture(scope="class")
    def solo(self) -> PiperSynthesizer:
        return piper(voices={"alloy": SOLO})

    def numbers(self, engine: PiperSynthesizer, text: str) -> list[int]:
        voice = engine._voices[SOLO_FILE]
        return voice._numbers(voice._symbols(text))

    def test_every_phoneme_is_padded_between_a_beginning_and_an_end(self, solo: PiperSynthesizer) -> None:
        ids = json.loads(SOLO_FILE.with_name(f"{SOLO}.onnx.json").read_text())["phoneme_id_map"]
        h, i = ids["h"][0], ids["a"][0]
        pad, begin, end = (ids[symbol][0] for symbol in "_^$")
        numbers = self.numbers(solo, "Hi!")  # h, stress, a, \u026a, !
        assert numbers[:3] == [begin, pad, h]
        assert numbers[-3:] == [ids["!"][0], pad, end]
        assert numbers[1::2] == [pad] * 6
        assert i in numbers

    def test_the_audio_is_as_long_as_what_is_read(self, solo: PiperSynthesizer) -> None:
        text = "Hello there, my friend."
        assert len(said(solo, text)) == len(self.numbers(solo, text)) * PIPER_SAMPLES

    def test_marks_between_clauses_are_read(self, solo: PiperSynthesizer) -> None:
        one, other = self.numbers(solo, "Yes, no."), self.numbers(solo, "Yes no.")
        assert len(one) == len(other) + 2

    def test_a_mark_without_a_symbol_is_read_as_another_pause(self, solo: PiperSynthesizer) -> None:
        assert self.numbers(solo, "Yes \u2014 no\u2026") == self.numbers(solo, "Yes ; no;")

    def test_the_loudest_sample_is_at_full_scale(self, solo: PiperSynthesizer) -> None:
        assert np.abs(said(solo, "Hello there.")).max() == pytest.approx(1)

    def test_letters_that_the_voice_does_not_know_are_silent(self, tmp_path: Path) -> None:
        text = piper(changed(tmp_path, phoneme_type="text"))
        assert len(said(text, "\u4f60\u597d")) == 0
        assert len(said(text, "ab")) == len("^_a_b_$") * PIPER_SAMPLES

    def test_the_voices_own_variation_is_used_unless_the_configuration_names_one(self) -> None:
        varied = piper(noise_scale=None)
        assert said(varied, "Hello.").tobytes() != said(varied, "Hello.").tobytes()
        assert said(piper(), "Hello.").tobytes() == said(piper(), "Hello.").tobytes()

    def test_its_rate_is_the_voices(self, solo: PiperSynthesizer) -> None:
        assert solo.sample_rate == PIPER_RATE


class TestLicences:
    @pytest.mark.parametrize("license_", ["CC BY-NC-SA 4.0", "Research only"])
    def test_a_voice_whose_licence_is_not_free_is_accepted_by_name(self, tmp_path: Path, license_: str) -> None:
        folder = changed(tmp_path, card=f"# Model card\n\n## Dataset\n\n* License: {license_}\n")
        with pytest.raises(LicenseError, match=f"{SOLO}: its MODEL_CARD names the licence '{license_}'"):
            piper(folder)
        assert piper(folder, accept_license=license_).voices == [SOLO]

    def test_a_voice_without_a_card_is_accepted_as_unknown(self, tmp_path: Path) -> None:
        folder = changed(tmp_path, card=None)
        with pytest.raises(LicenseError, match="`accept_license: unknown`"):
            piper(folder)
        assert piper(folder, accept_license="unknown").voices == [SOLO]

    def test_one_that_is_not_served_needs_no_acceptance(self, tmp_path: Path) -> None:
        changed(tmp_path / "a", "a")
        changed(tmp_path / "b", "b", card="* License: Research only")
        assert piper(tmp_path, voices={"alloy": "a"}).voices == ["alloy"]


class TestHub:
    """rhasspy/piper-voices has hundreds of voices."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def download(name: str, **options: Any) -> str:
            asked.update(options, name=name)
            return str(POCKET)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        return asked

    def matched(self, asked: dict[str, Any], files: list[str]) -> set[str]:
        from huggingface_hub.utils import filter_repo_objects

        return set(
            filter_repo_objects(files, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"])
        )

    def test_only_the_named_voices_are_fetched_with_their_cards(self, asked: dict[str, Any]) -> None:
        piper("rhasspy/piper-voices", voices={"alloy": SOLO, "nova": ANNA})
        wanted = {
            f"{folder}/{file}"
            for folder, voice in (("en/en_US/solo/low", SOLO), ("de/de_DE/duo/low", "de_DE-duo-low"))
            for file in ("MODEL_CARD", f"{voice}.onnx", f"{voice}.onnx.json")
        }
        others = {"voices.json", "en/en_US/amy/low/en_US-amy-low.onnx", "en/en_US/solo/high/en_US-solo-high.onnx",
                  "en/en_US/solo/low/samples/speaker_0.mp3", "en/en_US/amy/low/MODEL_CARD"}  # fmt: skip
        assert self.matched(asked, sorted(wanted | others)) == wanted
        assert asked["name"] == "rhasspy/piper-voices"

    def test_without_names_nothing_is(self, asked: dict[str, Any]) -> None:
        with pytest.raises(VoiceError, match="may hold hundreds of voices; name those to serve"):
            piper("rhasspy/piper-voices")
        assert not asked
