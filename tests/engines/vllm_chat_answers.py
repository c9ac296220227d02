"""A vLLM replica of a language model for the tests, in a process of its own.

Run with the environment of tiny.yaml's chat model. Reads a JSON object from stdin: `source`, `engine_kwargs`,
`speculation`, and `rounds`, each a list of bodies that are asked at once: of chat completions, or of the `route` in
them. Writes the profile and the answers to each round: an answer is a body or an error.
"""

import asyncio
import json
import sys
from typing import Any

from contract.protocol import CHAT_ROUTE
from tests.engines.replicas import items_of, started

COUNTED = {"per_request_spec_decode_metrics": "summary"}  # legal for a speculating engine only


async def answers(
    source: str, engine_kwargs: dict[str, Any], speculation: Any, rounds: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    counted = {} if speculation == "off" else COUNTED
    replica = await started("vllm", "chat", source, engine_kwargs | counted, speculation=speculation)

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        route = request.pop("route", CHAT_ROUTE)
        (item,) = await items_of(replica, route, {"model": source.rpartition("/")[2]} | request)
        return json.loads(item.body) if item.body else {"error": item.error}

    found = [await asyncio.gather(*map(ask, one)) for one in rounds]
    profile = await replica.describe()
    replica.close()
    return {"profile": profile | {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")},
            "rounds": found}  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(answers(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
