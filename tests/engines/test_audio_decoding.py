"""PyAV behind our interface: every format, in slices, under the limit; and what is no recording."""

import struct
import tracemalloc

import numpy as np
import pytest

from contract.errors import ApiError
from deployments.audio.recording import SAMPLE_RATE, SLICE_SECONDS, DecodingLimits, Recording
from tests.recordings import FORMATS, PLAYLIST, SESSION, TEXT, encoded, long_silence, silence, voice
from tests.sample_images import PNG

VOICE = voice(5)


LIMITS = DecodingLimits(60, cpu_seconds=120, memory_bytes=2**28)


def recording_of(content: bytes, max_seconds: float, **limits: int) -> Recording:
    return Recording(content, LIMITS._replace(max_seconds=max_seconds, **limits))


def decoded(content: bytes, max_seconds: float = 60, **limits: int) -> Recording:
    recording = recording_of(content, max_seconds, **limits)
    for _ in recording.decode():
        pass
    return recording


def refusal(content: bytes, max_seconds: float = 60, **limits: int) -> str:
    with pytest.raises(ApiError) as caught:
        decoded(content, max_seconds, **limits)
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "invalid_audio", "file")
    return caught.value.message


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_sound_again(form: str) -> None:
    recording = decoded(encoded(VOICE, form))
    assert recording.samples.dtype == np.float32
    assert recording.seconds == pytest.approx(5, abs=0.2)
    assert np.abs(recording.samples).max() == pytest.approx(0.3, abs=0.1)


def test_other_rates_become_ours() -> None:
    assert decoded(encoded(VOICE, "wav", rate=48_000)).seconds == pytest.approx(5 / 3, abs=0.01)


def test_what_is_not_compressed_is_the_same() -> None:
    np.testing.assert_allclose(decoded(encoded(VOICE, "flac")).samples, VOICE, atol=1e-4)


def test_a_step_is_a_slice() -> None:
    recording = recording_of(encoded(silence(100), "flac"), 200)
    lengths = [recording.seconds for _ in recording.decode()]
    assert lengths == pytest.approx([SLICE_SECONDS, 2 * SLICE_SECONDS, 3 * SLICE_SECONDS], abs=1)
    assert recording.seconds == 100


def test_the_limit_itself_is_legal() -> None:
    assert decoded(encoded(silence(10), "flac"), 10).seconds == 10


def test_a_long_recording_is_refused_at_the_limit_whatever_its_size() -> None:
    """A FLAC is not asked for its length, so it is decoded up to the limit."""
    content = encoded(silence(400), "flac")
    assert len(content) < 1_000_000
    tracemalloc.start()
    recording = recording_of(content, 300)
    with pytest.raises(ApiError, match="longer than 300 s"):
        list(recording.decode())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 290 < recording.seconds <= 300
    assert peak < 300 * SAMPLE_RATE * 4 + 3 * len(content)


@pytest.mark.parametrize("form", ["opus", "webm", "m4a"])
def test_what_says_itself_that_it_is_too_long_is_not_decoded(form: str) -> None:
    recording = recording_of(long_silence(2) if form == "opus" else encoded(silence(120), form), 60)
    with pytest.raises(ApiError, match="longer than 60 s"):
        list(recording.decode())
    assert recording.seconds == 0


def test_a_low_rate_is_measured_before_it_becomes_ours() -> None:
    content = bytearray(encoded(VOICE, "wav"))
    place = content.index(b"fmt ") + 12
    content[place : place + 4] = struct.pack("<I", 1000)  # 80 s of audio
    assert "longer than 60 s" in refusal(bytes(content))


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "empty"),
        (TEXT, "no recording"),
        (PNG, "no recording"),
        (PLAYLIST, "no recording"),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "no recording"),
        (SESSION, "no recording"),
        (bytes(100_000), "no recording"),
        (encoded(VOICE, "mp3")[:300], "no recording"),
        (encoded(VOICE, "m4a")[:20_000], "cut off"),
        (encoded(VOICE, "wav")[:44], "no recording"),
    ],
    ids=[
        "empty",
        "text",
        "png",
        "playlist",
        "concat",
        "session",
        "zeros",
        "mp3 of 300 bytes",
        "half an m4a",
        "head of a wav",
    ],
)
def test_what_is_no_recording(content: bytes, reported: str) -> None:
    assert reported in refusal(content)


def test_a_truncated_recording_is_what_is_left_of_it() -> None:
    content = encoded(VOICE, "mp3")
    assert decoded(content[: len(content) // 2]).seconds == pytest.approx(2.5, abs=0.2)


def test_damage_in_the_middle_is_left_out() -> None:
    content = bytearray(encoded(VOICE, "mp3"))
    content[6000:7000] = bytes(1000)
    assert 4 < decoded(bytes(content)).seconds < 5.2


def test_a_playlist_opens_no_other_file(tmp_path: object) -> None:
    other = f"{tmp_path}/other.wav"
    with open(other, "wb") as file:
        file.write(encoded(VOICE, "wav"))
    refusal(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:5,\nfile://{other}\n#EXT-X-ENDLIST\n".encode())
    refusal(f"ffconcat version 1.0\nfile '{other}'\n".encode())
