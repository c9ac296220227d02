"""What the service adds to faster-whisper, and what decoding takes: python -m benchmarks.transcription

Makes a Whisper of random weights in the size of a real one (whisper-tiny by default), serves it alone, and
transcribes one clip in turn through the service and with faster-whisper in this process, the same options, one thread
each. Then decodes an hour of Opus that is nearly as large as a file may be, in a process of its own. Writes
benchmarks/transcription.csv.
"""

import argparse
import csv
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import HEADERS, local_entry, serving
from contract.options.faster_whisper import VoiceDetection
from deployments.audio.recording import DecodingLimits, Recording
from local_models.whisper import make_whisper_model
from tests.recordings import encoded, repeated, voice

CSV = Path(__file__).with_suffix(".csv")
MODEL = "whisper"
SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}  # width, layers, heads
HOUR_BITS_PER_SECOND = 33_000  # a buzz takes more than the encoder is set to
LOAD = {"device": "cpu", "cpu_threads": 1}
READ: dict[str, Any] = {"beam_size": 5, "max_new_tokens": 32}


def entry(source: Path) -> dict[str, Any]:
    """pocket-whisper's entry, with this model instead."""
    return local_entry("pocket-whisper") | {
        "id": MODEL,
        "source": str(source),
        "engine_kwargs": LOAD | READ | {"temperatures": [0.0]},
    }


def through_the_service(client: httpx.Client, clip: bytes) -> tuple[float, str]:
    """Seconds, and the text."""
    start = time.perf_counter()
    form = {"model": MODEL, "language": "en", "response_format": "verbose_json"}
    response = client.post("/v1/audio/transcriptions", data=form, files={"file": ("clip", clip)})
    response.raise_for_status()
    return time.perf_counter() - start, response.json()["text"]


def directly(model: Any, clip: bytes) -> tuple[float, str]:
    start = time.perf_counter()
    segments, _ = model.transcribe(
        io.BytesIO(clip), language="en", temperature=[0.0], vad_filter=True, condition_on_previous_text=False,
        vad_parameters=VoiceDetection().model_dump(), **READ,
    )  # fmt: skip
    text: list[str] = []
    return time.perf_counter() - start + _timed(text, segments), "".join(text).strip()


def _timed(text: list[str], segments: Any) -> float:
    start = time.perf_counter()
    text.extend(segment.text for segment in segments)
    return time.perf_counter() - start


def measure(size: str, seconds: int, rounds: int) -> list[list[Any]]:
    """Rows of the time that a clip takes, both ways."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - only this needs it

    clip = encoded(voice(seconds), "mp3")
    times: dict[str, list[float]] = {"direct": [], "service": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "model"
        source.mkdir()
        make_whisper_model(source, *SIZES[size])
        with serving(entry(source)) as url, httpx.Client(base_url=url, headers=HEADERS, timeout=600) as client:
            model = WhisperModel(str(source), **LOAD)
            for number in range(rounds + 1):
                took, text = directly(model, clip)
                took_there, text_there = through_the_service(client, clip)
                if text != text_there:
                    raise RuntimeError("both ways must give the same text")
                if number:  # the first warms up
                    times["direct"].append(took)
                    times["service"].append(took_there)
    base = statistics.median(times["direct"])
    rows = []
    for way, taken in times.items():
        median = statistics.median(taken)
        rows.append([way, size, seconds, len(taken), f"{median:.3f}", f"{median / seconds:.4f}",
                     f"{100 * (median / base - 1):.1f}", ""])  # fmt: skip
    return rows


def an_hour(path: Path) -> None:
    """A voice for nearly an hour, in Opus, a little under the limit of a file."""
    path.write_bytes(repeated(encoded(voice(60), "opus", bits_per_second=HOUR_BITS_PER_SECOND), 59))


def peak_rss_mb() -> float:
    """Of this process since its program began; getrusage would count what its parent had when it forked."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def decode(path: Path) -> None:
    """Decode the file; print seconds of audio, seconds taken, and MB of memory that it added at its peak."""
    content = path.read_bytes()
    before = peak_rss_mb()
    start = time.perf_counter()
    recording = Recording(content, DecodingLimits(3601, 600, 2**30))
    for _ in recording.decode():
        pass
    print(recording.seconds, time.perf_counter() - start, peak_rss_mb() - before)


def measure_decoding() -> list[Any]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "hour.opus"
        an_hour(path)
        command = [sys.executable, "-m", "benchmarks.transcription", "--decode", str(path)]
        reported = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        seconds, taken, added = map(float, reported.split())
        size = path.stat().st_size / 1024**2
    return [
        f"decode {size:.1f} MiB opus",
        "",
        round(seconds),
        1,
        f"{taken:.3f}",
        f"{taken / seconds:.4f}",
        "",
        round(added),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--decode", type=Path, help="only decode this file, and print what it took")
    options = parser.parse_args()
    if options.decode:
        decode(options.decode)
        return
    header = ["way", "model", "audio_s", "rounds", "p50_s", "real_time_factor", "overhead_percent", "peak_rss_mb"]
    rows = [*measure(options.size, options.seconds, options.rounds), measure_decoding()]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    for row in [header, *rows]:
        print("".join(f"{value!s:>22}" for value in row))


if __name__ == "__main__":
    main()
