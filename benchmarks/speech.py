"""How soon a voice is heard: python -m benchmarks.speech [ENGINE ...]

Serves each engine alone and asks for 500 characters as mp3, one request after the other: the time to the first byte of
audio, and to the last. eSpeak NG, Piper and Kokoro are real voices; `python -m local_models piper-joe kokoro-ja`
fetches the two. VITS has the size of MMS-TTS; Bark, XTTS and Qwen3-TTS are the small ones of the tests. These four have
random weights: the first byte against the whole means something, one engine against another does not. Writes
benchmarks/speech.csv; rows of engines that are not named stay.
"""

import argparse
import csv
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import httpx

from benchmarks.service import HEADERS, local_entry, serving
from local_models.speech import make_vits_model

CSV = Path(__file__).with_suffix(".csv")
MODEL = "voice"
FORMAT = "mp3"
TEXT = (
    "A gateway stands in front of many models. Whoever asks shows a key, and says which model is meant. "
    "The gateway reads the request once, and checks what it may say. Some numbers are too large, so they are made "
    "smaller, and the answer tells. Then the request goes to a replica that has room for it. "
    "The replica speaks sentence by sentence, and each of them leaves as soon as it is there. "
    "Nobody waits for the last word to hear the first. "
    "When the sound ends, the gateway counts what was said, and rests."
)
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
STAND_IN = "./tests/cpu_torchaudio"
# engine -> what of its entry is particular to it
ENTRIES: dict[str, dict[str, Any]] = {
    "espeak-ng": {},
    "piper": {"source": "./local_models/piper-joe", "engine_kwargs": {"device": "cpu"}},
    "kokoro": {"source": "./local_models/kokoro-ja", "engine_kwargs": {"device": "cpu", "language": "en-us"}},
    "vits": {"engine_kwargs": {"device": "cpu"}},
    "bark": {"source": "./local_models/pocket-bark", "engine_kwargs": {"device": "cpu"}},
    "xtts": {
        "source": "./local_models/pocket-xtts",
        "allow": ["pickle"],
        "packages": ["./.venv/xtts", STAND_IN],
        "engine_kwargs": {"device": "cpu", "accept_license": "cpml", "chunk_tokens": 4},
    },
    "qwen3-tts": {
        "source": "./local_models/pocket-qwen-tts",
        "packages": ["./.venv/qwen-tts", STAND_IN],
        "engine_kwargs": {"device": "cpu", "max_new_tokens": 6},
    },
}
WEIGHTS = {
    "espeak-ng": "rules",
    "piper": "en_US-joe-medium",
    "kokoro": "Kokoro-82M int8",
    "vits": "random, size of MMS-TTS",
}


def one_request(client: httpx.Client) -> tuple[float, float, bytes]:
    """Seconds to the first byte and to the last, and the file."""
    start = time.perf_counter()
    body = {"model": MODEL, "input": TEXT, "response_format": FORMAT}
    with client.stream("POST", "/v1/audio/speech", json=body) as response:
        response.raise_for_status()
        pieces = response.iter_raw()
        audio = next(pieces)
        first = time.perf_counter() - start
        audio += b"".join(pieces)
    return first, time.perf_counter() - start, audio


def seconds(audio: bytes) -> float:
    with av.open(io.BytesIO(audio)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


def measure(engine: str, rounds: int) -> list[Any]:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        entry = local_entry("pocket-speech") | {"id": MODEL, "engine": engine, "env": ENVIRONMENT} | ENTRIES[engine]
        if engine == "vits":
            make_vits_model(Path(folder), small=False)
            entry["source"] = folder
        with serving(entry) as url, httpx.Client(base_url=url, headers=HEADERS, timeout=600) as client:
            taken = [one_request(client) for _ in range(rounds + 1)][1:]  # the first warms up
    first, whole = (statistics.median(times) for times in ([one[0] for one in taken], [one[1] for one in taken]))
    weights = WEIGHTS.get(engine, "random, small")
    return [engine, weights, len(TEXT), f"{seconds(taken[0][2]):.1f}", rounds, f"{first:.3f}", f"{whole:.3f}",
            f"{100 * first / whole:.0f}"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", choices=[*ENTRIES, []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    header = [
        "engine",
        "weights",
        "characters",
        "audio_s",
        "rounds",
        "first_byte_p50_s",
        "whole_p50_s",
        "first_percent",
    ]
    found = {row[0]: row for row in csv.reader(CSV.read_text().splitlines()[1:])}
    found |= {engine: measure(engine, options.rounds) for engine in options.engines or ENTRIES}
    rows = [found[engine] for engine in ENTRIES if engine in found]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    for row in [header, *rows]:
        print("".join(f"{value!s:>26}" for value in row))


if __name__ == "__main__":
    main()
