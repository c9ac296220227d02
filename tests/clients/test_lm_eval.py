"""lm-evaluation-harness against /v1/completions, in an environment of its own (locks/lm-eval.txt)."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service
from tests.loglikelihoods import FOLDER, of_text

HERE = Path(__file__).parent
HARNESS = PROJECT_FOLDER / ".venv" / "lm-eval" / "bin" / "lm_eval"
MODEL = "pocket-chat"
DOCUMENTS = [json.loads(line) for line in (HERE / "lm_eval_tasks" / "choices.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def samples(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What the harness has recorded of each task's documents, in their order."""
    folder = tmp_path_factory.mktemp("lm-eval")
    model = f"model={MODEL},base_url={service.base_url}/completions,tokenizer={FOLDER},max_retries=1"
    result = subprocess.run(
        [
            HARNESS, "--model", "local-completions", "--model_args", model, "--batch_size", "4",
            "--tasks", "portico_choices,portico_texts", "--include_path", HERE / "lm_eval_tasks",
            "--output_path", folder / "out", "--log_samples",
        ],
        env=os.environ | {"OPENAI_API_KEY": LOCAL_KEY, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")},
        cwd=HERE, timeout=280, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-5000:]
    return {task: _recorded(folder / "out", task) for task in ("portico_choices", "portico_texts")}


def _recorded(folder: Path, task: str) -> list[Any]:
    (path,) = folder.rglob(f"samples_{task}_*.jsonl")
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda one: one["doc_id"])


def test_the_likelihood_of_each_choice_is_what_the_weights_say(samples: dict[str, list[Any]]) -> None:
    for document, sample in zip(DOCUMENTS, samples["portico_choices"], strict=True):
        expected = [of_text(document["question"], choice) for choice in document["choices"]]
        found = [(float(logprob), str(greedy) == "True") for ((logprob, greedy),) in sample["resps"]]
        assert [one for one, _ in found] == pytest.approx([one.logprob for one in expected], abs=1e-3)
        assert [greedy for _, greedy in found] == [one.is_greedy for one in expected]
        best = max(range(len(expected)), key=lambda index: expected[index].logprob)
        assert sample["acc"] == float(best == document["answer"])


def test_a_text_is_what_the_model_generates(samples: dict[str, list[Any]], http: httpx.Client) -> None:
    for document, sample in zip(DOCUMENTS, samples["portico_texts"], strict=True):
        body = {"model": MODEL, "prompt": document["question"], "max_tokens": 6, "temperature": 0}
        generated = http.post("/v1/completions", json=body).json()["choices"][0]["text"]
        assert sample["resps"] == [[generated]]
