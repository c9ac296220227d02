"""Two replicas of pocket-chat behind Serve's routing loop, in a process of its own: what their prompt caches gain.

Run with the environment of local.yaml's chat model. Prints a JSON object: for each policy the prompt tokens that were
found in a cache, and for requests that all begin alike how many each replica got.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import orjson
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from app.affinity import affinity
from app.prefix_router import PrefixRouter
from app.routing import Routing
from deployments.protocol import CHAT_ROUTE, RequestHead
from deployments.vllm import VllmChatReplica
from tests.routed import Routed

NAMES = "ab"
CONVERSATIONS, TURNS = 6, 4
WORDS = "a gateway reads the request, finds the model, asks the budget and relays the answer as it is made. " * 6
POLICIES: dict[str, Any] = {
    "power_of_two": PowerOfTwoChoicesRequestRouter,
    "session": ConsistentHashRouter,
    "prefix": PrefixRouter,
}
HOT = 24


class Pair:
    """Two engines, and the way to them."""

    def __init__(self, replicas: dict[str, VllmChatReplica]) -> None:
        self._replicas = replicas

    async def ask(self, routed: Routed, policy: str, session: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The name of the replica that answered, and its answer."""
        where = affinity(Routing(policy=policy), {"x-session-id": session}, body)  # type: ignore[arg-type]
        head = RequestHead(CHAT_ROUTE, "test", False, {}, False, *where)
        found: list[Any] = []

        async def work(name: str) -> None:
            payload = orjson.dumps({"model": "pocket-chat"} | body)
            found.extend([item async for item in self._replicas[name].handle(head, payload)])

        name = await routed.send(head, b"", work=work, session=where.session)
        assert found[0].body is not None, found
        return name, orjson.loads(found[0].body)

    async def cached(self, policy: str) -> int:
        """Prompt tokens from the caches, over conversations whose turns alternate."""
        routed = Routed(POLICIES[policy], NAMES)
        conversations = [[{"role": "user", "content": f"{policy} {n}: {WORDS}"}] for n in range(CONVERSATIONS)]
        cached = 0
        for turn in range(TURNS):
            for number, messages in enumerate(conversations):
                body = {"messages": messages, "max_tokens": 4, "seed": 1}
                _, answer = await self.ask(routed, policy, f"{policy} {number}", body)
                cached += (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
                said = answer["choices"][0]["message"]["content"] or ""
                messages += [
                    {"role": "assistant", "content": said},
                    {"role": "user", "content": f"{turn} {WORDS[:99]}"},
                ]
        return cached

    async def hot(self) -> tuple[Counter[str], list[float]]:
        """Many requests at once that begin alike: who got how many, and how full the caches were meanwhile."""
        routed = Routed(PrefixRouter, NAMES, max_imbalance=2)
        body = {"messages": [{"role": "user", "content": "hot " + WORDS}], "max_tokens": 64, "logit_bias": {"3": -100}}
        asking = [asyncio.create_task(self.ask(routed, "prefix", "", body)) for _ in range(HOT)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        usage = [(await one.record_autoscaling_stats())["kv_cache_usage"] for one in self._replicas.values()]
        return Counter([name for name, _ in await asyncio.gather(*asking)]), usage

    async def idle(self) -> list[float]:
        return [(await one.record_autoscaling_stats())["kv_cache_usage"] for one in self._replicas.values()]


async def measure(source: str, engine_kwargs: dict[str, Any]) -> dict[str, Any]:
    replicas = {}
    for name in NAMES:
        replicas[name] = VllmChatReplica.__new__(VllmChatReplica)
        await replicas[name].__init__("pocket-chat", source, engine_kwargs)  # type: ignore[misc]
    pair = Pair(replicas)
    cached = {policy: await pair.cached(policy) for policy in POLICIES}
    hot, busy = await pair.hot()
    return {"cached": cached, "hot": hot, "kv_cache_usage": {"busy": busy, "idle": await pair.idle()}}


if __name__ == "__main__":
    result = asyncio.run(measure(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
