"""The options of the speech engines."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import pydantic
from pydantic import BeforeValidator, Field

from contract.fields import PositiveInt, Strict

# Names that OpenAI's clients know, and voices of eSpeak NG.
ESPEAK_VOICES = {
    "alloy": "en-us",
    "ash": "en-us+m3",
    "coral": "en-us+f2",
    "echo": "en-us+m1",
    "fable": "en-gb-scotland",
    "nova": "en-us+f3",
    "onyx": "en-us+m7",
    "shimmer": "en-us+f4",
}
CPML = "cpml"
CPML_NEEDED = (
    "XTTS's weights are under the Coqui Public Model License, which permits non-commercial use only; read it at "
    f"https://coqui.ai/cpml and write `accept_license: {CPML}` where it permits yours"
)


KokoroLanguage = Literal["en-us", "en-gb", "es", "fr", "hi", "it", "pt-br"]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class SpeechOptions(Strict):
    """What `engine_kwargs` of every speech engine may hold."""

    voices: Mapping[str, object] = Field({}, description="what clients call a voice, and what the engine calls it")
    default_voice: str | None = Field(None, description="left out: the first of them")
    max_characters: PositiveInt = Field(4096, description="of one input")

    @pydantic.model_validator(mode="after")
    def _default_is_a_voice(self) -> Self:
        if self.voices and self.default_voice is not None and self.default_voice not in self.voices:
            raise ValueError(f"default_voice {self.default_voice!r} is not one of voices: {', '.join(self.voices)}")
        return self


class EspeakOptions(SpeechOptions):
    """`engine_kwargs` of a model entry whose engine is espeak-ng."""

    voices: dict[str, str] = Field(
        ESPEAK_VOICES, min_length=1, description="what clients call a voice, and what `espeak-ng --voices` calls it"
    )


class TorchSpeechOptions(SpeechOptions):
    """What those that run on torch have in common."""

    device: str | None = Field(None, description="cpu, cuda, ...; left out: a GPU where there is one")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field("auto", description="auto: as it was saved")


class VitsOptions(TorchSpeechOptions):
    """`engine_kwargs` of a model entry whose engine is vits: VITS and MMS-TTS."""

    voices: dict[str, int] = Field(
        {}, description="what clients call a voice, and the number of its speaker; left out: the numbers themselves"
    )
    noise_scale: float | None = Field(None, ge=0, description="variation of the audio; left out: the model's own")
    noise_scale_duration: float | None = Field(None, ge=0, description="variation of the rhythm; left out: the model's")


class BarkOptions(TorchSpeechOptions):
    """`engine_kwargs` of a model entry whose engine is bark."""

    voices: dict[str, str] = Field(
        {}, description="what clients call a voice, and the preset, such as v2/en_speaker_6; left out: all presets"
    )
    min_eos_p: float | None = Field(
        0.2, gt=0, le=1, description="a sentence ends once the model gives its end this probability"
    )


class XttsOptions(SpeechOptions):
    """`engine_kwargs` of a model entry whose engine is xtts."""

    accept_license: str | None = Field(None, description=f"`{CPML}`, which permits non-commercial use only; required")
    voices: dict[str, str] = Field(
        {},
        description="what clients call a voice, and a speaker of the model, or the path of a recording of who is to "
        "speak; left out: all speakers",
    )
    device: str | None = Field(None, description="cpu, cuda, ...; left out: a GPU where there is one")
    language: str = Field("en", description="where the client names none")
    chunk_tokens: PositiveInt = Field(20, description="of audio that leave together; one is 46 ms")
    temperature: float | None = Field(None, gt=0, description="left out: the model's own")

    @pydantic.model_validator(mode="after")
    def _license_is_accepted(self) -> Self:
        if self.accept_license != CPML:
            raise ValueError(CPML_NEEDED)
        return self


class QwenTtsOptions(TorchSpeechOptions):
    """`engine_kwargs` of a model entry whose engine is qwen3-tts."""

    voices: dict[str, str] = Field(
        {}, description="what clients call a voice, and a speaker of the model, such as vivian; left out: all speakers"
    )
    language: str = Field("auto", description="where the client names none")
    attn_implementation: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    max_new_tokens: PositiveInt = Field(1024, description="of audio for one sentence; 12 are a second")


class OnnxSpeechOptions(SpeechOptions):
    """What those that run on ONNX Runtime have in common."""

    device: str | None = Field(
        None,
        pattern=r"^(cpu|cuda(:\d+)?)$",
        description="cpu, cuda or cuda:N; a GPU needs locks/onnxruntime-gpu.txt; left out: a GPU where that can be had",
    )
    threads: PositiveInt | None = Field(
        None, description="on CPUs; left out: OMP_NUM_THREADS, else all cores that the process may have"
    )


class PiperOptions(OnnxSpeechOptions):
    """`engine_kwargs` of a model entry whose engine is piper."""

    voices: dict[str, str] = Field(
        {},
        description="what clients call a voice, and what Piper calls it, such as en_US-joe-medium, or "
        "en_GB-vctk-medium:p239 for a speaker of several; left out: all of the folder. Those named here are loaded",
    )
    accept_license: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        [], description="licences, as the voices' MODEL_CARDs name them, that are not free and that you have read"
    )
    noise_scale: float | None = Field(None, ge=0, description="variation of the audio; left out: the voice's own")
    noise_scale_duration: float | None = Field(None, ge=0, description="of the rhythm; left out: the voice's own")


class KokoroOptions(OnnxSpeechOptions):
    """`engine_kwargs` of a model entry whose engine is kokoro."""

    voices: dict[str, str] = Field(
        {}, description="what clients call a voice, and what Kokoro calls it, such as af_heart; left out: all of them"
    )
    file: str | None = Field(
        None,
        pattern=r"^(\w[\w.-]*/)*\w[\w.-]*\.onnx$",
        description="the model's file in its folder, such as onnx/model_quantized.onnx; left out: onnx/model.onnx, or "
        "the only one",
    )
    language: KokoroLanguage | None = Field(
        None, description="what all voices speak; left out: what the first letter of a voice's name says"
    )
