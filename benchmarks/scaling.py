"""Models that sleep, wake, grow and sleep again under a scripted load: python -m benchmarks.scaling [MODEL ...]

Serves the models of tiny.yaml in mode flex with short times, and takes one after the other through 0 -> 1 -> N -> 0:
one request while it sleeps, then several clients that ask as fast as they are answered until N replicas have run for a
while, then nobody. Replicas are counted as Serve's controller has them. Every answer that is not a 200 is a lost
request. Writes benchmarks/scaling.csv (what happened when), benchmarks/scaling_from_zero.csv (the time to the first
answer of each engine) and benchmarks/scaling.png.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.service import HEADERS, local_entry, serving
from tests.recordings import encoded, voice

CSV = Path(__file__).with_suffix(".csv")
FROM_ZERO_CSV = CSV.with_name("scaling_from_zero.csv")
PLOT = CSV.with_suffix(".png")

MODELS = ("pocket-speech", "pocket-embed", "pocket-whisper", "pocket-image", "pocket-chat")
CLIENTS = 6
REPLICAS = 2
AT_FULL_SCALE_SECONDS = 5.0
SETTLE_SECONDS = 120.0
SCALING = {
    "max_replicas": REPLICAS,
    "target_ongoing_requests": 2,
    "upscale_delay_s": 1,
    "downscale_delay_s": 3,
    "downscale_to_zero_delay_s": 6,
    "look_back_s": 2,
    "wake_timeout_s": 300,
}
SAMPLE_SECONDS = 0.5


def entry(model: str) -> dict[str, Any]:
    return local_entry(model) | {"mode": "flex", "scaling": SCALING}


def request_of(model: str) -> Callable[[httpx.Client], httpx.Response]:
    """A small request of the model's own kind."""
    clip = encoded(voice(1.0), "wav")
    requests: dict[str, Callable[[httpx.Client], httpx.Response]] = {
        "pocket-speech": lambda c: c.post("/v1/audio/speech", json={"model": model, "input": "Good morning."}),
        "pocket-embed": lambda c: c.post("/v1/embeddings", json={"model": model, "input": "hello"}),
        "pocket-whisper": lambda c: c.post(
            "/v1/audio/transcriptions", data={"model": model, "language": "en"}, files={"file": ("clip.wav", clip)}
        ),
        "pocket-image": lambda c: c.post(
            "/v1/images/generations", json={"model": model, "prompt": "a boat", "size": "64x64"}
        ),
        "pocket-chat": lambda c: c.post(
            "/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16},
        ),
    }
    return requests[model]


class Load:
    """Counts requests and answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: {"under_way": 0, "answered": 0, "lost": 0})

    def ask(self, model: str, client: httpx.Client) -> float:
        """One request; seconds until its answer was there."""
        self._add(model, under_way=1)
        start = time.perf_counter()
        try:
            good = request_of(model)(client).status_code == 200
        except httpx.HTTPError:
            good = False
        self._add(model, under_way=-1, answered=int(good), lost=int(not good))
        return time.perf_counter() - start

    @contextmanager
    def clients(self, model: str) -> Iterator[None]:
        """Several clients, each as fast as it is answered."""
        stop = threading.Event()

        def work() -> None:
            with self.client() as client:
                while not stop.is_set():
                    self.ask(model, client)

        clients = [threading.Thread(target=work) for _ in range(CLIENTS)]
        for one in clients:
            one.start()
        try:
            yield
        finally:
            stop.set()
            for one in clients:
                one.join()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=HEADERS, timeout=400)

    def _add(self, model: str, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self.counts[model][name] += number


class Sampler:
    """The replicas of each model, as they are now, reported by a process beside this one."""

    def __init__(self, address: str, load: Load) -> None:
        self.replicas: dict[str, int] = {}
        self.rows: list[list[Any]] = []
        self._load = load
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "benchmarks.scaling", "--sample", address],
            env=os.environ | {"RAY_AUTH_MODE": "token"},  # a cluster that Ray starts by itself asks for a token
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start = time.monotonic()
        for line in self._process.stdout or ():
            self.replicas = json.loads(line)
            for model, replicas in self.replicas.items():
                counts = self._load.counts[model]
                self.rows.append([round(time.monotonic() - start, 1), model, replicas, *counts.values()])

    def wait(self, model: str, replicas: int) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.replicas.get(model) != replicas:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"{model} has not {replicas} replicas but {self.replicas.get(model)}")
            time.sleep(SAMPLE_SECONDS / 2)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._thread.join(30)


@contextmanager
def sampling(load: Load) -> Iterator[Sampler]:
    sampler = Sampler(cluster_address(), load)
    try:
        yield sampler
    finally:
        sampler.stop()


def cluster_address() -> str:
    """Of the Ray that the service has started."""
    arguments = [argument for child in psutil.Process().children(recursive=True) for argument in child.cmdline()]
    return next(argument.partition("=")[2] for argument in arguments if argument.startswith("--gcs-address="))


def sample(address: str) -> None:
    """Print how many replicas run, again and again: this file's own process, the only one that joins the cluster."""
    import ray  # noqa: PLC0415 - the process that measures starts no Ray
    from ray import serve  # noqa: PLC0415

    ray.init(address=address, namespace="serve", logging_level="error", log_to_driver=False)
    while True:
        deployments = serve.status().applications["portico"].deployments
        running = {name: one.replica_states.get("RUNNING", 0) for name, one in deployments.items() if name in MODELS}
        print(json.dumps(running), flush=True)
        time.sleep(SAMPLE_SECONDS)


def measure(models: list[str]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of what happened when, and of the times from zero."""
    from_zero = []
    with serving(*(entry(model) for model in models)) as url:
        load = Load(url)
        with sampling(load) as sampler, load.client() as client:
            for model in models:
                sampler.wait(model, 0)
                seconds = load.ask(model, client)
                with load.clients(model):
                    sampler.wait(model, REPLICAS)
                    time.sleep(AT_FULL_SCALE_SECONDS)
                sampler.wait(model, 0)
                counts = load.counts[model]
                most = max(row[2] for row in sampler.rows if row[1] == model)
                engine = entry(model)["engine"]
                from_zero.append([model, engine, round(seconds, 2), most, counts["answered"], counts["lost"]])
                print(*from_zero[-1], flush=True)
        return sampler.rows, from_zero


def plot(rows: list[list[Any]], models: list[str]) -> None:
    """Replicas and requests over time, a panel for each model."""
    import matplotlib as mpl  # noqa: PLC0415 - only here, and a package of the developers'

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, panels = pyplot.subplots(len(models), 1, sharex=True, figsize=(9, 1.6 * len(models) + 1), squeeze=False)
    for (panel,), model in zip(panels, models, strict=True):
        own = [row for row in rows if row[1] == model]
        seconds = [row[0] for row in own]
        panel.fill_between(seconds, [row[3] for row in own], step="post", color="0.85", label="requests under way")
        panel.step(seconds, [row[2] for row in own], where="post", color="tab:blue", label="replicas that run")
        panel.set_title(f"{model} ({entry(model)['engine']}), {own[-1][4]} answered, {own[-1][5]} lost", fontsize=9)
        panel.set_ylim(0, CLIENTS + 1)
    panels[0][0].legend(loc="upper right", fontsize=8)
    panels[-1][0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)


def write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="of tiny.yaml; all of them by default")
    parser.add_argument("--sample", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sample:
        sample(options.sample)
    models = options.models or list(MODELS)
    rows, from_zero = measure(models)
    write(CSV, ["seconds", "model", "replicas", "requests_under_way", "answered", "lost"], rows)
    header = ["model", "engine", "seconds_to_first_answer_from_zero", "most_replicas", "answered", "lost"]
    write(FROM_ZERO_CSV, header, from_zero)
    plot(rows, models)
    if lost := sum(row[5] for row in from_zero):
        sys.exit(f"{lost} requests were lost")


if __name__ == "__main__":
    main()
