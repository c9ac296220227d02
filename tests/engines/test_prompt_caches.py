"""What routing gains on two real engines: tokens from the prompt caches, and no replica that is left out."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from app.config import read_serve_config
from app.project import PROJECT_FOLDER


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "local.yaml")
    (chat,) = (entry for entry in config.models if entry.id == "pocket-chat")
    names = ("dtype", "enforce_eager", "max_model_len", "max_num_seqs", "kv_cache_memory_bytes")
    kwargs = {name: chat.engine_kwargs[name] for name in names}
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllm_pair"],
        input=json.dumps({"source": chat.location(), "engine_kwargs": kwargs}),
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT_FOLDER,
        env=os.environ | chat.env,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("policy", ["prefix", "session"])
def test_a_policy_of_affinity_finds_more_in_the_caches_than_routing_by_load(found: dict[str, Any], policy: str) -> None:
    assert found["cached"][policy] > found["cached"]["power_of_two"], found["cached"]


def test_requests_that_all_begin_alike_keep_both_replicas_at_work(found: dict[str, Any]) -> None:
    assert min(found["hot"].get(name, 0) for name in "ab") >= sum(found["hot"].values()) / 4, found["hot"]


def test_a_replica_tells_how_full_its_kv_cache_is_while_it_works(found: dict[str, Any]) -> None:
    usage = found["kv_cache_usage"]
    assert all(0 <= share <= 1 for share in usage["busy"])
    assert max(usage["busy"]) > 0
    assert usage["idle"] == [0, 0]
