"""Three ingress replicas before a model that answers at once: `python -m tests.faults.three_gateways PORT CONFIG`.

The model is a stand-in, as these tests are about budgets. Everything else is real, on a Ray of its own.
"""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import ray
from ray import serve

from app.builder import ingress_deployment
from app.config.service import parse_config
from contract.profile import Profile
from contract.protocol import RequestHead, ResponseHead

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Model:
    """Answers a fixed body."""

    async def handle(self, request: RequestHead, body: bytes) -> AsyncIterator[ResponseHead]:
        yield ResponseHead(200, "application/json", json.dumps({"usage": USAGE}).encode(), USAGE)

    async def describe(self) -> dict[str, Any]:
        return Profile("vllm", frozenset({"chat"}), limits={"context_length": 1000}).to_wire()


def main(port: int, args: dict[str, Any]) -> None:
    ray.init(num_cpus=4, include_dashboard=False, logging_level="error", log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    config = parse_config(args)
    model = serve.deployment(name="alpha", max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})(Model)
    serve.run(ingress_deployment(config).bind({"alpha": model.bind()}), blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
