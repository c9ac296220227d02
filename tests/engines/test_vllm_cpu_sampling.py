"""What a plugin of ours puts in the place of a function of vLLM's on CPUs: values of requests, repeated for drafts."""

import json
import subprocess
import sys
from typing import Any

import pytest

from contract.project import PROJECT_FOLDER

# In a process of its own, as an engine's: it loads vLLM's plugins, then puts functions in the place of kernels.
REPEATED = """
import json, sys, torch
from vllm.platforms import current_platform
from vllm.plugins import load_general_plugins
load_general_plugins()
current_platform.register_triton_kernel_overrides()
from vllm.v1.sample.rejection_sampler import expand_batch_to_tokens
for values, kind, counts, replaced in json.loads(sys.argv[1]):
    values = torch.tensor(values, dtype=getattr(torch, kind))
    found = expand_batch_to_tokens(values, torch.tensor(counts, dtype=torch.int32).cumsum(0), sum(counts), *replaced)
    print(json.dumps([str(found.dtype), found.tolist()]))
"""
CASES: dict[str, tuple[list[Any], str, list[int], list[Any], list[Any]]] = {
    "temperatures": ([0.5, 1.25], "float32", [1, 2], [], [0.5, 1.25, 1.25]),
    "top_k": ([7, 9], "int32", [2, 1], [], [7, 7, 9]),
    "large numbers": ([2**40], "int64", [2], [], [2**40] * 2),
    "a request without drafts": ([0.5, 1.0, 2.0], "float32", [1, 0, 2], [], [0.5, 2.0, 2.0]),
    "greedy ones": ([0.0, 1.5], "float32", [2, 1], [0, 1], [1.0, 1.0, 1.5]),
    "nothing": ([], "float32", [], [], []),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    asked = json.dumps([case[:4] for case in CASES.values()])
    result = subprocess.run(
        [sys.executable, "-c", REPEATED, asked],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.splitlines()[-len(CASES) :]
    return dict(zip(CASES, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_each_draft_token_has_the_value_of_its_request(found: dict[str, Any], name: str) -> None:
    _, kind, _, _, expected = CASES[name]
    assert found[name] == [f"torch.{kind}", expected]
