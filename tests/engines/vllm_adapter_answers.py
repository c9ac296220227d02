"""A vLLM chat replica with LoRA adapters for the tests, in a process of its own.

Run with the environment of tiny.yaml's chat model. Reads a JSON object from stdin: `source`, `engine_kwargs`, and
`rounds`, each a list of [adapter or null, route, body] that are asked at once; an adapter is its id and its folder.
Writes for each round its answers and the adapters that are resident behind it: an answer is a body, the bytes of a
stream as text, or an error.
"""

import asyncio
import json
import sys
from typing import Any

from contract.protocol import Adapter, ResponseHead
from tests.engines.replicas import items_of, started


async def answers(source: str, engine_kwargs: dict[str, Any], rounds: list[list[Any]]) -> dict[str, Any]:
    replica = await started("vllm", "chat", source, engine_kwargs)

    async def ask(named: list[str] | None, route: str, body: dict[str, Any]) -> dict[str, Any]:
        adapter = Adapter(*named) if named else None
        request = {"model": adapter.id if adapter else "pocket-chat"} | body
        first, *pieces = await items_of(replica, route, request, adapter=adapter)
        assert isinstance(first, ResponseHead)
        if first.error:
            return {"error": first.error}
        if first.body is not None:
            answer: dict[str, Any] = json.loads(first.body)
            return answer
        return {"stream": b"".join(piece for piece in pieces if isinstance(piece, bytes)).decode()}

    found = []
    for one in rounds:
        answered = await asyncio.gather(*(ask(*request) for request in one))
        found.append({"answers": answered, "resident": replica.engine.resident_adapters()})
    await replica.engine.check_health()
    replica.close()
    return {"rounds": found}


if __name__ == "__main__":
    result = asyncio.run(answers(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
