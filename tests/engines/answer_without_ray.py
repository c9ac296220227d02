"""Starts one engine and asks it once, in a process where nothing has to do with Ray.

Reads a JSON object from stdin: `engine`, `task`, `source`, `engine_kwargs`, `route`, and `body`, in base64. Writes one:
the answer's status, how many bytes it has, its usage and error, and what Ray was found to be running.
"""

import asyncio
import base64
import json
import sys
from typing import Any

import psutil
import ray

from contract.protocol import ResponseHead, ResponseTail
from tests.engines.replicas import items_of, started


async def answer(engine: str, task: Any, source: str, engine_kwargs: Any, route: str, body: str) -> dict[str, Any]:
    replica = await started(engine, task, source, engine_kwargs)
    await replica.check_health()
    found: dict[str, Any] = {"bytes": 0}
    for item in await items_of(replica, route, base64.b64decode(body)):
        match item:
            case ResponseHead():
                found |= {"status": item.status, "usage": item.usage, "error": item.error}
                found["bytes"] += len(item.body or b"")
            case ResponseTail():
                found |= {"usage": item.usage, "error": item.error}
            case _:
                found["bytes"] += len(item)
    processes = [process.name() for process in psutil.Process().children(recursive=True)]
    found["ray"] = [name for name in processes if "raylet" in name or "gcs_server" in name]
    replica.close()
    return found | {"ray_is_initialized": ray.is_initialized()}


if __name__ == "__main__":
    result = asyncio.run(answer(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
