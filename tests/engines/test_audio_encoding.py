"""Sound as files: what is encoded piece by piece decodes again to the same length and the same tone."""

from typing import Any

import numpy as np
import pytest

from deployments.speech.audio_encoding import FORMATS, AudioEncoder
from tests.audio_files import decoded

RATE = 22_050
SECONDS = 3
TONE = 440
SOUND = (0.3 * np.sin(2 * np.pi * TONE * np.arange(RATE * SECONDS) / RATE)).astype(np.float32)


def encoded(kind: str, speed: float = 1.0, pieces: int = 20) -> list[bytes]:
    """What leaves after each piece of the sound, and at its end."""
    encoder = AudioEncoder(FORMATS[kind], RATE, speed)
    return [*(encoder.encode(piece) for piece in np.array_split(SOUND, pieces)), encoder.finish()]


def tone_of(samples: Any, rate: int) -> float:
    """The loudest frequency, in Hz."""
    strength = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(strength) * rate / len(samples))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_sound_decodes_to_its_length_and_its_tone(kind: str) -> None:
    samples, rate = decoded(kind, b"".join(encoded(kind)))
    assert len(samples) / rate == pytest.approx(SECONDS, rel=0.05)
    assert tone_of(samples, rate) == pytest.approx(TONE, rel=0.02)


@pytest.mark.parametrize("speed", [0.25, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("kind", ["wav", "opus"])
def test_speed_changes_the_length_and_not_the_tone(kind: str, speed: float) -> None:
    samples, rate = decoded(kind, b"".join(encoded(kind, speed)))
    assert len(samples) / rate == pytest.approx(SECONDS / speed, rel=0.05)
    assert tone_of(samples, rate) == pytest.approx(TONE, rel=0.02)


@pytest.mark.parametrize("kind", FORMATS)
def test_sound_leaves_before_all_of_it_is_there(kind: str) -> None:
    pieces = encoded(kind)
    assert sum(map(bool, pieces[:10])) >= 1


def test_a_wav_says_no_length_as_streams_do() -> None:
    head = b"".join(encoded("wav"))[:8]
    assert head == b"RIFF\xff\xff\xff\xff"


@pytest.mark.parametrize("kind", FORMATS)
def test_no_sound_is_still_a_file(kind: str) -> None:
    encoder = AudioEncoder(FORMATS[kind], RATE)
    assert encoder.encode(np.zeros(0, np.float32)) == b""
    assert isinstance(encoder.finish(), bytes)
