"""What batching gains, and whether the service stays awake while it paints: python -m benchmarks.images

Makes a Stable Diffusion or a Flux of random weights, serves it alone, and asks for images: one client after the other,
and several at once, which the service joins into batches. Meanwhile it asks /health. With --compile and --cache it is
served once more with each of them. On a GPU use --scale large, in bfloat16. Writes benchmarks/images.csv.
"""

import argparse
import asyncio
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import HEADERS, local_entry, serving
from local_models.image import make_flux

CSV = Path(__file__).with_suffix(".csv")
MODEL = "painter"
STEPS = 8
# How many layers and heads the denoiser has; the rest is pocket-flux.
SCALES = {"pocket": (1, 2), "small": (8, 16), "large": (38, 24)}
SIDES = {"pocket": 64, "small": 256, "large": 1024}


async def paint(client: httpx.AsyncClient, size: int, count: int, at_once: int) -> float:
    """Seconds for `count` images, `at_once` clients at a time."""
    body = {"model": MODEL, "prompt": "a small boat", "size": f"{size}x{size}", "output_format": "webp"}
    waiting = list(range(count))

    async def ask() -> None:
        while waiting:
            waiting.pop()
            (await client.post("/v1/images/generations", json=body)).raise_for_status()

    start = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return time.perf_counter() - start


async def probe(client: httpx.AsyncClient, times: list[float]) -> None:
    """Ask /health twenty times a second, and note how long each answer took."""
    while True:
        start = time.perf_counter()
        (await client.get("/health")).raise_for_status()
        times.append(time.perf_counter() - start)
        await asyncio.sleep(0.05)


async def measure(options: argparse.Namespace, name: str, extra: dict[str, Any]) -> list[list[Any]]:
    """Rows of one way to serve the model."""
    side, rows = SIDES[options.scale], []
    with tempfile.TemporaryDirectory() as folder:
        make_flux(Path(folder), *SCALES[options.scale])
        engine_kwargs = {"steps": STEPS, "default_size": f"{side}x{side}", "max_batch_images": max(options.at_once)}
        entry = local_entry("pocket-image") | {"id": MODEL, "source": folder, "engine_kwargs": engine_kwargs | extra}
        entry["resources"] = {"num_cpus": 0.25, "num_gpus": options.gpus}
        with serving(entry) as url:
            async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=600) as client:
                for at_once in options.at_once:
                    await paint(client, side, 2 * at_once, at_once)  # a compiler sees each batch size once
                    healthy: list[float] = []
                    probing = asyncio.create_task(probe(client, healthy))
                    taken = await paint(client, side, options.images, at_once)
                    probing.cancel()
                    healthy.sort()
                    rows.append([
                        options.scale, side, name, at_once, f"{options.images / taken:.2f}",
                        f"{1000 * taken / options.images / STEPS:.1f}", f"{1000 * statistics.median(healthy):.1f}",
                        f"{1000 * healthy[-1]:.1f}",
                    ])  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--gpus", type=float, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cache", action="store_true")
    options = parser.parse_args()
    ways: dict[str, dict[str, Any]] = {"plain": {}}
    if options.compile:
        ways["compiled"] = {"compile": {"scope": "repeated_blocks", "dynamic": True}}
    if options.cache:
        ways["first-block cache"] = {"cache": {"kind": "first_block"}}
    head = [
        "model", "side", "way", "clients", "images_per_second", "ms_per_image_and_step", "health_p50_ms",
        "health_max_ms",
    ]  # fmt: skip
    rows = [row for name, extra in ways.items() for row in asyncio.run(measure(options, name, extra))]
    with CSV.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    for row in [head, *rows]:
        print(*row, sep=", ")


if __name__ == "__main__":
    main()
