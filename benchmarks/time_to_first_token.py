"""Time to the first streamed token of one model behind several servers, in turn.

Start the servers, then name them; the first is what the others are compared with:

    python benchmarks/time_to_first_token.py vllm=http://127.0.0.1:8100/v1 portico-local=http://127.0.0.1:8000/v1

`python benchmarks/time_to_first_token.py --vllm-command` prints the command of vLLM's own server on the model and the
arguments of serve_configs/tiny.yaml. Writes benchmarks/time_to_first_token.csv. Times are of the client's clock, from
sending the request to the first event with text, on a connection that is already open.
"""

import argparse
import asyncio
import csv
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from app.config.service import read_serve_config
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER

CSV = Path(__file__).with_suffix(".csv")
TINY_CONFIG = PROJECT_FOLDER / "serve_configs" / "tiny.yaml"
BODY = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16, "temperature": 0, "stream": True}
WARM_UP = 10


def vllm_command(config: Path = TINY_CONFIG, port: int = 8100) -> list[str]:
    """The command of vLLM's own server, with the environment and the arguments of the first model of `config`."""
    model = read_serve_config(config)[1].models[0]
    words = ["env", *(f"{name}={value}" for name, value in model.env.items()), sys.executable, "-m"]
    words += ["vllm.entrypoints.openai.api_server", "--model", model.location(), "--served-model-name", model.id]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    for name, value in model.engine_kwargs.items():
        flag = "--" + name.replace("_", "-")
        words += (
            [flag] if value is True else [flag, orjson.dumps(value).decode() if isinstance(value, dict) else str(value)]
        )
    return words


async def first_token(client: httpx.AsyncClient, url: str, model: str) -> float:
    """Seconds to the first event with text; the whole answer is read."""
    start = time.perf_counter()
    first = None
    async with client.stream("POST", f"{url}/chat/completions", json=BODY | {"model": model}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if first is None and '"content":"' in line and '"role"' not in line:
                first = time.perf_counter() - start
    if first is None:
        raise RuntimeError(f"{url} sent no text")
    return first


async def measure(servers: dict[str, str], model: str, concurrency: int, rounds: int) -> dict[str, list[float]]:
    """Rounds of `concurrency` requests at once, the servers in turn. Seconds per server."""
    times: dict[str, list[float]] = {name: [] for name in servers}
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        for number in range(WARM_UP + rounds):
            for name, url in servers.items():
                batch = await asyncio.gather(*(first_token(client, url, model) for _ in range(concurrency)))
                if number >= WARM_UP:
                    times[name] += batch
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="NAME=URL")
    parser.add_argument("--vllm-command", action="store_true", help="print the command of vLLM's own server")
    parser.add_argument("--model", default="pocket-chat")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--append", action="store_true", help="add to the CSV of an earlier run")
    options = parser.parse_args()
    if options.vllm_command:
        print(shlex.join(vllm_command()))
        return
    servers = dict(server.split("=", 1) for server in options.servers)
    rows: list[list[Any]] = []
    for concurrency in options.concurrency:
        times = asyncio.run(measure(servers, options.model, concurrency, options.rounds))
        base = statistics.median(times[next(iter(servers))])
        for name, seconds in times.items():
            quantiles = statistics.quantiles(seconds, n=20)
            row = [name, concurrency, len(seconds), statistics.median(seconds), quantiles[-1], quantiles[9] - base]
            rows.append([value if isinstance(value, (str, int)) else f"{value * 1000:.2f}" for value in row])
    header: list[Any] = ["server", "concurrency", "requests", "p50_ms", "p95_ms", "added_p50_ms"]
    with CSV.open("a" if options.append else "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows if options.append else [header, *rows])
    for row in [header, *rows]:
        print("".join(f"{value!s:>14}" for value in row))


if __name__ == "__main__":
    main()
