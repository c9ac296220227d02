"""One replica of vLLM's pooling runner for the tests, in a process of its own: requests from stdin, their answers out.

Run with the environment of tiny.yaml's chat model. Both are JSON objects: `task`, `source`, `engine_kwargs` and
`requests`, each a route and a body; `profile` and `answers`, each a status and a body or an error.
"""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from app.config.service import read_serve_config
from contract.options.catalog import Task
from contract.project import PROJECT_FOLDER
from tests.engines.replicas import items_of, started

OPTIONS = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_num_seqs": 16,
    "kv_cache_memory_bytes": 2**26,
    "gpu_memory_utilization": 0.1,  # of this machine's memory, where there is no GPU
}


def answers_of(task: Task, source: str, requests: dict[str, tuple[str, Any]], **options: Any) -> dict[str, Any]:
    """The profile of a replica, and what it answered to each request; all of them were asked at once."""
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    asked = {"task": task, "source": source, "engine_kwargs": OPTIONS | options, "requests": list(requests.values())}
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllm_pooling_answers"],
        input=json.dumps(asked),
        env=os.environ | config.models[0].env,
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    reported = json.loads(result.stdout.rstrip().rpartition("\n")[2])
    return {"profile": reported["profile"]} | dict(zip(requests, reported["answers"], strict=True))


async def answers(task: Task, source: str, engine_kwargs: dict[str, Any], requests: list[Any]) -> dict[str, Any]:
    replica = await started("vllm", task, source, engine_kwargs)
    await replica.check_health()

    async def ask(route: str, request: dict[str, Any]) -> dict[str, Any]:
        (item,) = await items_of(replica, route, {"model": source.rpartition("/")[2]} | request)
        return {"status": item.status, "body": item.body and json.loads(item.body), "error": item.error}

    found = await asyncio.gather(*(ask(route, request) for route, request in requests))
    profile = await replica.describe()
    return {"profile": profile | {key: sorted(profile[key]) for key in ("capabilities", "template_kwargs")},
            "answers": found}  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(answers(**json.load(sys.stdin)))
    print("\n" + json.dumps(result))
    sys.stdout.flush()
