"""What batches, compiling and a cache gain, and whether the service stays awake: python -m benchmarks.images

Makes a Flux of random weights, bfloat16 on a GPU, and for each way to run it measures the time of a step alone, as the
replica's own pipeline takes it; then serves it and asks for images, one client after the other and several at once,
which the service joins into batches. Meanwhile it asks /health. Writes benchmarks/images.csv.

On a GPU: --scale large --compile --cache, or --scale full for the 12 billion weights of a real Flux. On a CPU the
scales pocket and small end within minutes. --alone leaves the service out. Random weights take the time of real ones,
except for the cache: how many steps it may skip depends on how alike they are, so its gain here is that of this model
and threshold only.
"""

import argparse
import asyncio
import csv
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import torch

from benchmarks.service import HEADERS, local_entry, serving
from contract.options.catalog import ServedModel
from contract.options.diffusers import DiffusersOptions
from deployments.images.pipeline import DiffusionModel, Prompt, Shape
from local_models.image import FluxSize, make_flux

CSV = Path(__file__).with_suffix(".csv")
MODEL = "images"
PROMPT = "a small boat"
REAL: dict[str, Any] = {"heads": 24, "rope": (16, 56, 56), "text_width": 4096, "vae_channels": (128, 256, 512, 512),
        "vae_norm_groups": 32}  # fmt: skip
# A model and the side of its pictures.
SCALES = {
    "pocket": (FluxSize(), 64),
    "small": (FluxSize(8, 8, 16), 256),
    "large": (FluxSize(6, 12, **REAL), 1024),  # 3.7 billion weights
    "full": (FluxSize(19, 38, **REAL), 1024),
}
COLUMNS = (
    "device", "dtype", "model", "side", "way", "batch", "step_ms", "step_ms_per_image", "percent_of_batch_of_1",
    "percent_of_plain", "rest_ms", "service_images_per_second", "health_p50_ms", "health_max_ms",
)  # fmt: skip


class Steps(NamedTuple):
    """Milliseconds of one batch."""

    step: float  # the median, of the whole batch
    rest: float  # everything but the steps: prompts read, latents decoded


class Served(NamedTuple):
    """What the service did with as many clients as pictures fit into a batch."""

    images_per_second: float
    health: list[float]  # milliseconds, sorted


def make(folder: Path, scale: str) -> None:
    """Write the model; where there is a GPU, on it and in half the bytes."""
    on_gpu = torch.cuda.is_available()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    try:
        with torch.device("cuda" if on_gpu else "cpu"):
            make_flux(folder, SCALES[scale][0])
    finally:
        torch.set_default_dtype(torch.float32)
    free()


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def steps_of(model: DiffusionModel, side: int, batch: int, steps: int, rounds: int) -> Steps:
    """Generate batches and time each step; the first batch of a size is the compiler's."""
    taken, rest = [], []

    def watch(_: int, __: Callable[[], list[Any]]) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        moments.append(time.perf_counter())

    for number in range(rounds + 1):
        moments: list[float] = []
        start = time.perf_counter()
        model.generate(
            Shape(side, side, steps, negative=False), [Prompt(PROMPT, "", seed) for seed in range(batch)], watch
        )
        whole = time.perf_counter() - start
        if number:
            between = [later - earlier for earlier, later in pairwise(moments)]
            taken += between
            rest.append(whole - statistics.median(between) * steps)
    return Steps(1000 * statistics.median(taken), 1000 * statistics.median(rest))


async def generate(client: httpx.AsyncClient, side: int, count: int, at_once: int) -> float:
    """Seconds for `count` images, `at_once` clients at a time."""
    body = {"model": MODEL, "prompt": PROMPT, "size": f"{side}x{side}", "output_format": "webp"}
    waiting = list(range(count))

    async def ask() -> None:
        while waiting:
            waiting.pop()
            (await client.post("/v1/images/generations", json=body)).raise_for_status()

    start = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return time.perf_counter() - start


async def probe(client: httpx.AsyncClient, times: list[float]) -> None:
    """Ask /health twenty times a second, and note how many milliseconds each answer took."""
    while True:
        start = time.perf_counter()
        (await client.get("/health")).raise_for_status()
        times.append(1000 * (time.perf_counter() - start))
        await asyncio.sleep(0.05)


async def served(entry: dict[str, Any], side: int, images: int, batches: list[int]) -> dict[int, Served]:
    """What the service does with each number of clients."""
    found = {}
    with serving(entry) as url:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=1800) as client:
            for batch in batches:
                await generate(client, side, 2 * batch, batch)  # a compiler sees each batch size once
                health: list[float] = []
                probing = asyncio.create_task(probe(client, health))
                taken = await generate(client, side, images, batch)
                probing.cancel()
                found[batch] = Served(images / taken, sorted(health))
    return found


Found = dict[int, tuple[Steps, Served | None]]


def measure(options: argparse.Namespace, folder: str, extra: dict[str, Any]) -> Found:
    """One way to run the model, for each batch: the pipeline alone, then behind the gateway."""
    side = SCALES[options.scale][1]
    kwargs = {
        "steps": options.steps,
        "default_size": f"{side}x{side}",
        "max_batch_images": max(options.batches),
    } | extra
    model = DiffusionModel(ServedModel(MODEL, "diffusers", "images", folder), DiffusersOptions.model_validate(kwargs))
    model.try_out()
    alone = {batch: steps_of(model, side, batch, options.steps, options.rounds) for batch in options.batches}
    del model
    free()
    if options.alone:
        return {batch: (steps, None) for batch, steps in alone.items()}
    entry = local_entry("pocket-image") | {"id": MODEL, "source": folder, "engine_kwargs": kwargs}
    entry["resources"] = {"num_cpus": 0.25, "num_gpus": int(torch.cuda.is_available())}
    behind = asyncio.run(served(entry, side, options.images, options.batches))
    return {batch: (alone[batch], behind[batch]) for batch in options.batches}


def rows(options: argparse.Namespace, found: dict[str, Found]) -> list[list[Any]]:
    """The lines of the CSV."""
    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    lines = []
    for way, by_batch in found.items():
        first = options.batches[0]
        for batch, (steps, service) in by_batch.items():
            a_step = steps.step / batch
            lines.append([
                device, "bfloat16" if on_gpu else "float32", options.scale, SCALES[options.scale][1], way, batch,
                f"{steps.step:.1f}", f"{a_step:.1f}", f"{100 * by_batch[first][0].step / first / a_step:.0f}",
                f"{100 * found['plain'][batch][0].step / steps.step:.0f}", f"{steps.rest:.1f}",
                *(["", "", ""] if service is None else [
                    f"{service.images_per_second:.2f}", f"{statistics.median(service.health):.1f}",
                    f"{service.health[-1]:.1f}",
                ]),
            ])  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="pictures at once; the first is 1")
    parser.add_argument("--images", type=int, default=16, help="requested of the service, for each batch size")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cache", type=float, nargs="?", const=0.05, metavar="THRESHOLD")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as tiny.yaml has it
    ways: dict[str, dict[str, Any]] = {"plain": {}}
    if options.compile:
        ways["compiled"] = {"compile": {"scope": "repeated_blocks", "dynamic": True}}
    if options.cache:
        ways[f"first-block cache {options.cache:g}"] = {"cache": {"kind": "first_block", "threshold": options.cache}}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.scale)
        found = {way: measure(options, folder, extra) for way, extra in ways.items()}
    lines = [list(COLUMNS), *rows(options, found)]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    for line in lines:
        print(*line, sep=", ")


if __name__ == "__main__":
    main()
