"""What the service adds to sentence-transformers: python -m benchmarks.embeddings

Makes a BERT of random weights in the size of a real sentence encoder, serves it alone, and embeds the same texts in
turn through the service and with sentence-transformers in this process, the same options, one thread each. Besides
batches of 1, 32 and 256 texts, 32 clients each ask for one text at a time, which the service must join into batches by
itself. Writes benchmarks/embeddings.csv.
"""

import argparse
import asyncio
import csv
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import HEADERS, local_entry, serving
from local_models.chat import CORPUS
from local_models.embed import make_embedding_model

CSV = Path(__file__).with_suffix(".csv")
MODEL = "encoder"
SIZES = {"minilm": (384, 6, 12), "base": (768, 12, 12)}  # width, layers, heads
CLIENTS = 32
OPTIONS = {"device": "cpu", "batch_size": 32}
WORDS = " ".join(CORPUS).split()


def texts(count: int, words: int) -> list[str]:
    """Texts that are all different, of about so many words."""
    return [" ".join(WORDS[(start + step * (1 + start % 7)) % len(WORDS)] for step in range(words))
            for start in range(count)]  # fmt: skip


async def rate(embed: Callable[[list[str]], Awaitable[None]], batch: int, words: int, seconds: float) -> float:
    """Texts a second, one batch after the other, for at least `seconds`."""
    given = texts(batch, words)
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        await embed(given)
        done += batch
    return done / (time.perf_counter() - start)


async def rate_of_singles(client: httpx.AsyncClient, words: int, seconds: float) -> float:
    """Texts a second of many clients that each ask for one text at a time."""
    given = texts(CLIENTS, words)
    start = time.perf_counter()

    async def ask(text: str) -> int:
        done = 0
        while time.perf_counter() < start + seconds:
            await through(client, [text])
            done += 1
        return done

    done = sum(await asyncio.gather(*map(ask, given)))
    return done / (time.perf_counter() - start)


async def through(client: httpx.AsyncClient, given: list[str]) -> None:
    body = {"model": MODEL, "input": given, "encoding_format": "base64"}
    (await client.post("/v1/embeddings", json=body)).raise_for_status()


async def measure(size: str, words: int, seconds: float, rounds: int) -> list[list[Any]]:
    """Rows of texts a second, the service and the library in turn."""
    import torch  # noqa: PLC0415 - only this needs them
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "model"
        source.mkdir()
        make_embedding_model(source, *SIZES[size])
        entry = local_entry("pocket-embed") | {"id": MODEL, "source": str(source), "engine_kwargs": OPTIONS}
        library = SentenceTransformer(str(source), device="cpu")
        tokens = sum(len(ids) for ids in library.tokenizer(texts(32, words))["input_ids"]) / 32

        async def directly(given: list[str]) -> None:
            library.encode(given, batch_size=OPTIONS["batch_size"], show_progress_bar=False)

        found: dict[tuple[str, str], list[float]] = {}
        with serving(entry) as url:
            async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=600) as client:
                await rate_of_singles(client, words, 1)
                for _ in range(rounds):
                    for batch in (1, 32, 256):
                        for way, embed in (("direct", directly), ("service", lambda given: through(client, given))):
                            taken = await rate(embed, batch, words, seconds)
                            found.setdefault((way, f"batch of {batch}"), []).append(taken)
                    taken = await rate_of_singles(client, words, seconds)
                    found.setdefault(("service", f"{CLIENTS} singles at once"), []).append(taken)
    base = statistics.median(found["direct", "batch of 32"])
    return [
        [size, round(tokens), way, what, f"{(median := statistics.median(rates)):.1f}", f"{100 * median / base:.0f}"]
        for (way, what), rates in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="minilm")
    parser.add_argument("--words", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = asyncio.run(measure(options.size, options.words, options.seconds, options.rounds))
    head = ["model", "tokens_per_text", "way", "requests", "texts_per_second", "percent_of_direct_batch_of_32"]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    for row in [head, *rows]:
        print(*row, sep=", ")


if __name__ == "__main__":
    main()
