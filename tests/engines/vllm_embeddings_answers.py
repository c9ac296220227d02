"""One vLLM embedding replica for the tests, in a process of its own: reads requests from stdin, writes their answers.

Run with the environment of tiny.yaml's chat model. A line is a JSON object with `source`, `engine_kwargs` and
`requests`: of embeddings, or of the `route` in them. So is the answer, with `profile` and `answers`: each a status and
a body or an error.
"""

import asyncio
import json
import sys
from typing import Any

from contract.protocol import EMBEDDINGS_ROUTE
from tests.engines.replicas import items_of, started


async def answers(source: str, engine_kwargs: dict[str, Any], requests: list[dict[str, Any]]) -> dict[str, Any]:
    replica = await started("vllm", "embeddings", source, engine_kwargs)
    await replica.check_health()

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        route = request.pop("route", EMBEDDINGS_ROUTE)
        (item,) = await items_of(replica, route, {"model": "pocket-embed"} | request)
        return {"status": item.status, "body": item.body and json.loads(item.body), "error": item.error}

    found = await asyncio.gather(*map(ask, requests))
    profile = await replica.describe()
    return {"profile": profile | {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")},
            "answers": found}  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(answers(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
