"""A vLLM chat replica for the tests, in a process of its own.

Run with the environment of local.yaml's chat model. Reads a JSON object from stdin: `source`, `engine_kwargs`,
`speculation`, and `rounds`, each a list of chat bodies that are asked at once. Writes the profile and the answers to
each round: an answer is a body or an error.
"""

import asyncio
import json
import sys
from typing import Any

import orjson

from contract.protocol import CHAT_ROUTE, RequestHead, ResponseHead
from deployments.vllm.deployment import VllmChatReplica

HEAD = RequestHead(CHAT_ROUTE, "test", include_usage=False, echo={})
COUNTED = {"per_request_spec_decode_metrics": "summary"}  # legal for a speculating engine only


async def asked(
    source: str, engine_kwargs: dict[str, Any], speculation: Any, rounds: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    replica = VllmChatReplica.__new__(VllmChatReplica)
    counted = {} if speculation == "off" else COUNTED
    await replica.__init__("speaker", source, engine_kwargs | counted, speculation)  # type: ignore[misc]

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        body = orjson.dumps({"model": "speaker"} | request)
        (item,) = [item async for item in replica.handle(HEAD, body)]
        assert isinstance(item, ResponseHead)
        return json.loads(item.body) if item.body else {"error": item.error}

    answers = [await asyncio.gather(*map(ask, one)) for one in rounds]
    profile = await replica.describe()
    replica._engine.shutdown()
    return {"profile": profile | {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")},
            "rounds": answers}  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(asked(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
