"""Kokoro: its voices and what they speak, the phonemes it reads, and how many at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from contract.options.speech import KokoroOptions
from contract.project import in_project
from deployments.speech.kokoro import LONGEST, KokoroSynthesizer
from deployments.speech.kokoro_phonemes import ESPEAK_VOICES, kokoro_phonemes
from deployments.speech.synthesizer import Utterance, VoiceError
from local_models.onnx_speech import KOKORO_SAMPLES
from tests.engines.replicas import served

POCKET = Path(in_project("./local_models/pocket-kokoro"))
ENDS = 2  # tokens around a sentence


def kokoro(source: Path | str = POCKET, **options: Any) -> KokoroSynthesizer:
    return KokoroSynthesizer(served("kokoro", str(source)), KokoroOptions.model_validate(options))


def pieces(engine: KokoroSynthesizer, text: str, voice: str | None = None) -> list[Any]:
    return list(engine.synthesize(Utterance(text, voice or engine.voices[0]), lambda: False))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POCKET, tmp_path / "model"))


class TestVoices:
    def test_they_are_those_of_the_folder_whose_language_can_be_read(self) -> None:
        assert kokoro().voices == ["af_ada", "bm_brian", "ff_claire"]

    def test_their_names_are_those_of_the_configuration(self) -> None:
        named = kokoro(voices={"alloy": "bm_brian"})
        assert named.voices == ["alloy"]
        assert pieces(named, "Hello.")[0].tobytes() == pieces(kokoro(), "Hello.", "bm_brian")[0].tobytes()

    @pytest.mark.parametrize("name", ["af_nobody", "../voices/af_ada", "af_ada.bin"])
    def test_a_voice_that_is_none_is_refused_at_the_start(self, name: str) -> None:
        with pytest.raises(VoiceError, match=f"voices: alloy: the model has no voice '{name}'; it has af_ada"):
            kokoro(voices={"alloy": name})

    def test_one_whose_language_cannot_be_read_is_refused(self) -> None:
        with pytest.raises(VoiceError, match="jf_dai speaks Japanese, and eSpeak NG does not make the phonemes"):
            kokoro(voices={"alloy": "jf_dai"})

    def test_a_model_of_such_voices_alone_is_refused(self, copy: Path) -> None:
        for path in (copy / "voices").glob("[!j]*"):
            path.unlink()
        with pytest.raises(VoiceError, match=r"all of .* are Japanese or Chinese"):
            kokoro(copy)
        assert kokoro(copy, language="en-us").voices == ["jf_dai"]

    def test_a_language_of_the_configuration_is_that_of_all(self) -> None:
        english = kokoro(language="en-us")
        assert english.voices == ["af_ada", "bm_brian", "ff_claire", "jf_dai"]
        lengths = {len(pieces(english, "The day is near.", voice)[0]) for voice in english.voices}
        assert lengths == {(len(kokoro_phonemes("The day is near.", "en-us")) + ENDS) * KOKORO_SAMPLES}

    def test_they_may_be_an_archive_of_numpy(self, copy: Path) -> None:
        files = sorted((copy / "voices").iterdir())
        styles = {path.stem: np.fromfile(path, np.float32).reshape(510, 1, 256) for path in files}
        np.savez(copy / "voices-v1.0.npz", **styles)  # type: ignore[arg-type]
        (copy / "voices-v1.0.npz").rename(copy / "voices-v1.0.bin")
        shutil.rmtree(copy / "voices")
        assert kokoro(copy).voices == kokoro().voices
        assert pieces(kokoro(copy), "Hello.")[0].tobytes() == pieces(kokoro(), "Hello.")[0].tobytes()

    def test_a_pickle_among_them_is_not_read(self, copy: Path) -> None:
        np.savez(copy / "voices.npz", af_evil=np.array([print], dtype=object))
        with pytest.raises(ValueError, match="allow_pickle=False"):
            kokoro(copy)

    @pytest.mark.parametrize("content", [b"", b"1234" * 255])
    def test_a_file_that_is_no_table_is_refused(self, copy: Path, content: bytes) -> None:
        (copy / "voices" / "af_ada.bin").write_bytes(content)
        with pytest.raises(VoiceError, match="voices: af_ada: its file is no table of rows of 256"):
            kokoro(copy)

    def test_a_folder_without_any_is_refused(self, copy: Path) -> None:
        shutil.rmtree(copy / "voices")
        with pytest.raises(VoiceError, match="holds no voices of Kokoro"):
            kokoro(copy)


class TestFiles:
    def test_one_of_several_precisions_is_named(self, copy: Path) -> None:
        shutil.copy(copy / "onnx" / "model.onnx", copy / "onnx" / "model_fp16.onnx")
        assert kokoro(copy).voices == kokoro(copy, file="onnx/model_fp16.onnx").voices
        with pytest.raises(
            VoiceError, match=r"has no onnx/model_q4.onnx; it has onnx/model.onnx, onnx/model_fp16.onnx"
        ):
            kokoro(copy, file="onnx/model_q4.onnx")

    def test_the_only_one_needs_no_name(self, copy: Path) -> None:
        (copy / "onnx" / "model.onnx").rename(copy / "kokoro-v1.0.onnx")
        assert kokoro(copy).voices

    @pytest.mark.parametrize("file", ["../model.onnx", "/etc/model.onnx", "onnx/../../model.onnx", "model.bin", ""])
    def test_it_lies_within_the_folder(self, file: str) -> None:
        with pytest.raises(pydantic.ValidationError, match="file"):
            KokoroOptions(file=file)

    def test_without_a_vocabulary_there_is_nothing_to_read_with(self, copy: Path) -> None:
        content = json.loads((copy / "tokenizer.json").read_text())
        (copy / "tokenizer.json").unlink()
        (copy / "config.json").write_text('{"model_type": "style_text_to_speech_2"}')
        with pytest.raises(VoiceError, match=r"no vocabulary: put config\.json of hexgrad/Kokoro-82M"):
            kokoro(copy)
        (copy / "config.json").write_text(json.dumps({"vocab": content["model"]["vocab"]}))
        assert kokoro(copy).voices

    @pytest.mark.parametrize(
        ("file", "weights"), [(None, "onnx/model.onnx"), ("onnx/model_q4.onnx", "onnx/model_q4.onnx")]
    )
    def test_of_the_hub_one_precision_and_the_voices_are_fetched(
        self, monkeypatch: pytest.MonkeyPatch, file: str | None, weights: str
    ) -> None:
        from huggingface_hub.utils import filter_repo_objects

        asked: dict[str, Any] = {}
        monkeypatch.setattr(
            "huggingface_hub.snapshot_download", lambda _, **options: asked.update(options) or str(POCKET)
        )
        if file is None:
            kokoro("onnx-community/Kokoro-82M-v1.0-ONNX")
        else:
            with pytest.raises(VoiceError, match="has no"):  # the pocket one
                kokoro("onnx-community/Kokoro-82M-v1.0-ONNX", file=file)
        repository = ["README.md", "config.json", "tokenizer.json", "onnx/model.onnx", "onnx/model_q4.onnx",
                      "onnx/model_fp16.onnx", "voices/af_heart.bin", "samples/af.wav", "pytorch_model.bin"]  # fmt: skip
        found = filter_repo_objects(
            repository, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"]
        )
        assert set(found) == {"config.json", "tokenizer.json", weights, "voices/af_heart.bin"}


class TestReading:
    def test_the_audio_is_as_long_as_what_is_read(self) -> None:
        text = "Hello there, my friend."
        (audio,) = pieces(kokoro(), text)
        assert len(audio) == (len(kokoro_phonemes(text, "en-us")) + ENDS) * KOKORO_SAMPLES

    def test_a_sentence_of_too_many_tokens_is_read_in_parts(self) -> None:
        text = "7,777,777 " * 30
        parts = pieces(kokoro(), text)
        tokens = [len(part) // KOKORO_SAMPLES - ENDS for part in parts]
        assert max(tokens) <= LONGEST
        assert sum(tokens) + len(tokens) - 1 == len(kokoro_phonemes(text, "en-us"))  # a blank is lost between two

    def test_a_word_without_end_is_cut_all_the_same(self) -> None:
        tokens = list(kokoro()._tokens("a" * 1100))
        assert [len(part) for part in tokens] == [LONGEST, LONGEST, 80]

    def test_the_style_is_that_of_the_number_of_tokens(self, copy: Path) -> None:
        """A voice has a row for each; here all but the one for two tokens say nothing."""
        rows = np.zeros((510, 256), np.float32)
        rows[1] = 1000
        rows.tofile(copy / "voices" / "af_ada.bin")
        engine = kokoro(copy, voices={"alloy": "af_ada"})
        style = engine._voices["alloy"].styles
        loud = [np.abs(np.concatenate(pieces(engine, text))).max() > 1 for text in ("a", "see")]
        assert style.shape == (510, 256)
        assert [len(kokoro_phonemes(text, "en-us")) for text in ("a", "see")] == [2, 3]
        assert loud == [True, False]


class TestPhonemes:
    @pytest.mark.parametrize(
        ("text", "phonemes"),
        [
            ("day", "d\u02c8A"),
            ("my", "m\u02c8I"),
            ("how", "h\u02c8W"),
            ("boy", "b\u02c8Y"),
            ("go", "\u0261\u02c8O"),
            ("judge", "\u02a4\u02c8\u028c\u02a4"),
            ("church", "\u02a7\u02c8\u025c\u0279\u02a7"),
            ("water", "w\u02c8\u0254T\u0259\u0279"),
            ("Hello, world!", "h\u0259l\u02c8O, w\u02c8\u025c\u0279ld!"),
        ],
    )
    def test_american_english(self, text: str, phonemes: str) -> None:
        assert kokoro_phonemes(text, "en-us") == phonemes

    @pytest.mark.parametrize(("text", "phonemes"), [("go", "\u0261\u02c8Q"), ("car", "k\u02c8\u0251\u02d0")])
    def test_british_english(self, text: str, phonemes: str) -> None:
        assert kokoro_phonemes(text, "en-gb") == phonemes

    @pytest.mark.parametrize(
        ("language", "text", "phonemes"),
        [
            ("es", "mucho", "m\u02c8u\u02a7o"),
            ("it", "pizza", "p\u02c8i\u02a6\u02d0a"),
            ("fr", "le monde", "l\u0259 m\u02c8\u0254\u0303d"),
        ],
    )
    def test_other_languages(self, language: str, text: str, phonemes: str) -> None:
        assert kokoro_phonemes(text, language) == phonemes

    @pytest.mark.parametrize("language", ESPEAK_VOICES)
    def test_no_tie_is_left(self, language: str) -> None:
        assert "^" not in kokoro_phonemes("The judge chose a day, and the boy said: how near is it?", language)
