"""The options of faster-whisper."""

from typing import Literal

from pydantic import Field

from contract.fields import PositiveFloat, PositiveInt, Strict


class VoiceDetection(Strict):
    """How speech is distinguished from silence; silence never reaches the model, so that it cannot invent words."""

    threshold: float = Field(0.5, ge=0, le=1, description="probability from which a moment is speech")
    min_speech_duration_ms: int = Field(0, ge=0, description="shorter speech is left out")
    min_silence_duration_ms: int = Field(500, ge=0, description="shorter pauses stay in")
    speech_pad_ms: int = Field(400, ge=0, description="kept before and after speech")


class TranscriberOptions(Strict):
    """`engine_kwargs` of a model entry whose engine is faster-whisper."""

    # How the model is loaded.
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")
    compute_type: str = Field("default", description="int8, int8_float16, float16, bfloat16, float32, ...; default: as "
                              "the weights were saved")  # fmt: skip
    cpu_threads: int = Field(0, ge=0, description="of each worker; 0: OMP_NUM_THREADS, or 4")
    num_workers: PositiveInt = Field(1, description="windows that are transcribed at the same time")
    max_recordings: PositiveInt = Field(
        4, description="longer than a minute, in memory at once; they take turns, other long ones wait"
    )
    # How a recording is read.
    profile: Literal["auto", "accurate", "fast"] = Field(
        "auto",
        description="accurate: one window after the other, retried at higher temperatures where the text looks wrong. "
        "fast: many windows at once, one try each; each pause ends a window, and a prompt goes to every window. auto: "
        "fast for recordings over batch_over_s, accurate for the others and where word times, a prompt or a "
        "temperature are asked for. With vad_filter off it is always accurate",
    )
    batch_over_s: PositiveFloat = Field(60, description="of the profile auto")
    batch_size: PositiveInt = Field(8, description="windows at once where they are batched")
    beam_size: PositiveInt = 5
    temperatures: list[float] = Field(
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        min_length=1,
        description="tried in turn until a window's text looks right, where the client asks for none",
    )
    max_new_tokens: int | None = Field(None, ge=1, le=100, description="of one window; left out: what the model can")
    condition_on_previous_text: bool = Field(
        False, description="of the profile accurate: each window sees the text before it; steadier, but it can loop"
    )
    vad: bool = Field(True, description="leave out what is not speech, unless the client says `vad_filter`")
    vad_parameters: VoiceDetection = VoiceDetection()
    max_audio_seconds: PositiveFloat = Field(3600, le=6 * 3600, description="of one recording; an hour takes 230 MB")
    decoding_cpu_s: PositiveInt = Field(120, description="of the decoding of one recording; an hour takes about 10")
    decoding_memory_bytes: PositiveInt = Field(
        256 * 1024 * 1024,
        description="of the process that decodes one recording; there are as many as requests under way at most",
    )
