"""One vLLM embedding replica for the tests, in a process of its own: reads requests from stdin, writes their answers.

Run with the environment of local.yaml's chat model. A line is a JSON object with `source`, `engine_kwargs` and
`requests`; so is the answer, with `profile` and `answers`: each a status and a body or an error.
"""

import asyncio
import json
import sys
from typing import Any

import orjson

from contract.protocol import EMBEDDINGS_ROUTE, RequestHead, ResponseHead
from deployments.vllm.embeddings import VllmEmbeddingsReplica


async def answers(source: str, engine_kwargs: dict[str, Any], requests: list[dict[str, Any]]) -> dict[str, Any]:
    replica = VllmEmbeddingsReplica.__new__(VllmEmbeddingsReplica)
    await replica.__init__("embedder", source, engine_kwargs)  # type: ignore[misc]
    await replica.check_health()
    head = RequestHead(EMBEDDINGS_ROUTE, "test", include_usage=False, echo={})

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        body = orjson.dumps({"model": "embedder"} | request)
        (item,) = [item async for item in replica.handle(head, body)]
        assert isinstance(item, ResponseHead)
        return {"status": item.status, "body": item.body and json.loads(item.body), "error": item.error}

    found = await asyncio.gather(*map(ask, requests))
    profile = await replica.describe()
    return {"profile": profile | {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")},
            "answers": found}  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(answers(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
