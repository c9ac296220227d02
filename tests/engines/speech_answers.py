"""One speech replica for the tests, in a process of its own with packages of its own.

Reads a JSON object from stdin, with `engine`, `source`, `engine_kwargs`, `requests`, and `wrong` options; writes one
with `profile`, with `answers`, each a status, an error, the content type, and the pieces as base64, and with what is
said of the wrong options.
"""

import asyncio
import base64
import json
import sys
from contextlib import aclosing
from typing import Any

import orjson

from contract.options.catalog import CATALOG
from contract.protocol import SPEECH_ROUTE, RequestHead, ResponseHead, ResponseTail
from deployments.replica import Replica
from tests.engines.replicas import started

HEAD = RequestHead(SPEECH_ROUTE, "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={})


async def answer(replica: Replica, request: dict[str, Any]) -> dict[str, Any]:
    reported: dict[str, Any] = {"pieces": []}
    async with aclosing(replica.handle(HEAD, orjson.dumps(request))) as items:
        async for item in items:
            match item:
                case ResponseHead():
                    reported |= {"status": item.status, "content_type": item.content_type, "error": item.error}
                case ResponseTail():
                    reported |= {"usage": item.usage, "error": item.error}
                case _:
                    reported["pieces"].append(base64.b64encode(item).decode())
    return reported


async def seconds_to_cancel(replica: Replica) -> float:
    """Seconds until the engine is free after the client of a request in the middle of a sentence has left."""
    asking = asyncio.create_task(answer(replica, {"input": "A sentence that nobody will hear, of many words."}))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    start = asyncio.get_running_loop().time()
    while replica.unfinished_requests():
        await asyncio.sleep(0.005)
    return asyncio.get_running_loop().time() - start


async def refusal(engine: str, source: str, engine_kwargs: Any) -> str:
    """What a replica with options that it cannot have says at its start."""
    try:
        await started(engine, "speech", source, engine_kwargs, allow=CATALOG[engine].needs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def answers(
    engine: str, source: str, engine_kwargs: Any, requests: list[dict[str, Any]], wrong: dict[str, Any]
) -> dict[str, Any]:
    replica = await started(engine, "speech", source, engine_kwargs, allow=CATALOG[engine].needs)
    found = [await answer(replica, request) for request in requests]
    profile = await replica.describe()
    profile |= {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")}
    reported = {"profile": profile, "answers": found, "seconds_to_cancel": await seconds_to_cancel(replica)}
    return reported | {"wrong": await refusal(engine, source, engine_kwargs | wrong)}


if __name__ == "__main__":
    parameters = json.load(sys.stdin)
    try:
        result = asyncio.run(answers(**parameters))
    except Exception as error:
        result = {"refused": f"{type(error).__name__}: {error}"}
    print("\n" + json.dumps(result))
    sys.stdout.flush()
