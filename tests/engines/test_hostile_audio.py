"""What strangers send as recordings: each is refused as invalid audio, or decoded, within bounds of time and memory."""

import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import av
import pytest

from contract.errors import ApiError
from deployments.audio import decoder, recording
from tests.engines.test_audio_decoding import decoded, recording_of, refusal
from tests.hostile_recordings import flac_with_comments, mp3_with_compressed_tags, muxed, wav
from tests.recordings import FORMATS, encoded, silence, voice
from tests.sample_images import image

LEFT: set[str] = set()  # processes of other tests


def children() -> list[int]:
    """The processes that this one has started and that still run, but for those that other tests have left."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in listed if child not in LEFT]


@pytest.mark.parametrize("rate", [0, 1, 999, 384_001, 30_000_001, 200_000_000, 2**31 - 1, 2**32 - 1])
def test_a_sample_rate_that_nobody_records_at_is_refused(rate: int) -> None:
    reported = refusal(wav(rate=rate))
    assert "between 1000 and 384000 Hz" in reported or "no recording" in reported


@pytest.mark.parametrize(("rate", "seconds"), [(1_000, 16), (8_000, 2), (384_000, 16_000 / 384_000)])
def test_the_rates_between_are_decoded(rate: int, seconds: float) -> None:
    assert decoded(wav(rate=rate)).seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("channels", [9, 64, 250])
def test_more_than_eight_channels_are_refused(channels: int) -> None:
    assert "more than 8 channels" in refusal(wav(channels=channels, size=1_000_000))


def test_eight_channels_become_one() -> None:
    assert decoded(wav(channels=8)).seconds == pytest.approx(32_000 / 16 / 16_000, abs=0.01)


def test_a_rate_may_change_in_mid_stream() -> None:
    both = encoded(voice(2), "aac") + encoded(voice(2), "aac", rate=48_000)
    assert decoded(both).seconds == pytest.approx(2 + 2 / 3, abs=0.3)


def test_tags_that_would_take_hours_end_with_the_cpu_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert "more than 2 s of CPU time" in refusal(flac_with_comments(200_000), cpu_seconds=2)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3


def test_compressed_tags_take_no_more_memory_than_is_legal() -> None:
    content = mp3_with_compressed_tags(2, 60_000_000)
    assert len(content) < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decoded(content, memory_bytes=80_000_000).seconds == pytest.approx(1, abs=0.2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_too_little_memory_is_no_fault_of_the_service() -> None:
    assert "2000000 bytes of memory" in refusal(encoded(voice(1), "flac"), memory_bytes=2_000_000)


def test_hundreds_of_streams_are_not_looked_at() -> None:
    with av.open(io.BytesIO(muxed("matroska", ["pcm_s16le"] * 100)), options=decoder.OPTIONS) as container:
        assert len(container.streams) == int(decoder.OPTIONS["max_streams"])


@pytest.mark.parametrize("container", ["avi", "mpegts", "nut", "asf", "au"])
def test_other_containers_are_refused(container: str) -> None:
    assert "no recording" in refusal(muxed(container, ["mp2" if container != "au" else "pcm_s16be"]))


def test_other_codecs_are_refused() -> None:
    assert "codec" in refusal(muxed("matroska", ["wavpack"]))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_an_image_is_no_recording(form: str) -> None:
    assert "no recording" in refusal(image(form=form))


@pytest.mark.parametrize(
    ("container", "codecs"),
    [
        ("mp4", ["libx264", "aac"]),
        ("mov", ["mjpeg", "alac"]),
        ("matroska", ["libx264", "mp3"]),
        ("webm", ["libvpx", "libopus"]),
        ("aiff", ["pcm_s16be"]),
        ("caf", ["pcm_s16le"]),
    ],
)
def test_the_audio_of_a_film_or_of_a_rarer_container_is_decoded(container: str, codecs: list[str]) -> None:
    assert decoded(muxed(container, codecs)).seconds == pytest.approx(1, abs=0.1)


def test_a_file_without_audio() -> None:
    assert "no audio" in refusal(muxed("mp4", ["libx264"]))


@pytest.mark.parametrize("form", FORMATS)
def test_damage_of_every_kind_ends_well(form: str) -> None:
    """What is left is decoded, or the file is refused."""
    content = bytearray(encoded(voice(1), form))
    for place in range(8, len(content), max(1, len(content) // 6)):
        content[place : place + 4] = b"\xff\xfe\x80\x7f"
    with suppress(ApiError):
        assert decoded(bytes(content)).seconds < 60


class TestTheProcess:
    @pytest.fixture(autouse=True)
    def left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(f"{__name__}.LEFT", {str(child) for child in children()})

    def test_it_ends_with_the_recording(self) -> None:
        decoded(encoded(voice(1), "flac"))
        refusal(wav(rate=200_000_000))
        assert children() == []

    def test_it_ends_when_nobody_decodes_any_more(self) -> None:
        with closing(recording_of(encoded(silence(100), "flac"), 200).decode()) as steps:
            next(steps)
            assert len(children()) == 1
        assert children() == []

    def test_one_that_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recording, "PAUSE_SECONDS", 1)
        steps = recording_of(encoded(silence(600), "flac"), 1000).decode()
        next(steps)
        os.kill(children()[0], signal.SIGSTOP)
        with pytest.raises(ApiError, match="damaged"):
            list(steps)
        assert children() == []

    @pytest.mark.parametrize("attempt", ["open('/etc/hostname', 'rb')", "socket.socket()"])
    def test_it_can_open_neither_files_nor_sockets(self, attempt: str) -> None:
        code = (
            "import socket, sys; from deployments.audio import decoder; sys.argv[1:] = ['1', '10', '100000000']; "
            f"decoder.decode = lambda *_: [{attempt} and b'opened']; sys.exit(decoder.main())"
        )
        ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
        assert (ended.returncode, ended.stdout) == (decoder.Fault.NO_RECORDING, b"")
