"""Speculative decoding in real vLLM engines on CPU: the same answers as without it, with drafts that are accepted."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from tests.contract.weather import SCHEMA, assert_fits

TIERS = [[1, 1, 4], [2, 3, 2], [4, 16, 0]]
SPECULATIONS: dict[str, Any] = {
    "off": "off",
    "ngram": {"method": "ngram", "num_speculative_tokens": 4, "num_speculative_tokens_per_batch_size": TIERS},
    "draft_model": {
        "method": "draft_model",
        "model": "./local_models/pocket-draft",
        "num_speculative_tokens": 4,
        "num_speculative_tokens_per_batch_size": TIERS,
    },
}
# What `auto` chooses for most models, n-grams, the contract's tests run as well.
LONG = pytest.param("ngram", marks=pytest.mark.long)
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}
SPECULATING = [LONG, "draft_model"]


def chat(text: str, **settings: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 80} | settings


# Left to itself the model says one token again and again. A penalty makes its greedy text vary, against its drafts.
REPETITIVE = chat("The quick brown fox", ignore_eos=True)
VARIED = [
    chat(text, ignore_eos=True, frequency_penalty=0.2) for text in ("The quick brown fox", "A gateway", "0 1 2 3")
]
CROWD = [chat(f"{number} jumps over", ignore_eos=True, frequency_penalty=0.1) for number in range(8)]
FORMED = [
    chat("The weather?", max_tokens=300, response_format={
        "type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}),
    chat("The weather?", max_tokens=600, tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
         temperature=1, seed=1),
]  # fmt: skip
SAMPLED = [
    chat(text, ignore_eos=True, temperature=1, max_tokens=200, logprobs=True) for text in ("A gateway", "0 1 2 3")
]
ROUNDS = [[REPETITIVE], *([one] for one in VARIED), VARIED, CROWD, *([one] for one in FORMED), SAMPLED]
ALONE, TOGETHER, IN_A_CROWD, JSON, TOOLS, AT_RANDOM = range(4), 4, 5, 6, 7, 8


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """By speculation that is tested, and without any: the profile, and the answers to each round."""
    items = [item for item in request.session.items if item.path == request.path]
    named = {item.callspec.params.get("name") for item in items if hasattr(item, "callspec")}
    tested = {name: one for name, one in SPECULATIONS.items() if name in named | {"off"}}
    with ThreadPoolExecutor() as pool:  # an engine starts on one core, and there are several
        return dict(zip(tested, pool.map(asked, tested.values()), strict=True))


def asked(speculation: Any) -> Any:
    """What an engine that speculates in this way answers."""
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    (entry,) = [model for model in config.models if model.id == "pocket-chat"]
    request = {
        "source": entry.location(),
        "engine_kwargs": entry.engine_kwargs,
        "speculation": speculation,
        "rounds": ROUNDS,
    }
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllm_chat_answers"],
        input=json.dumps(request),
        env=os.environ | entry.env,
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.rstrip().rpartition("\n")[2])


def messages(reported: dict[str, Any], number: int) -> list[Any]:
    return [answer["choices"][0]["message"] for answer in reported["rounds"][number]]


def counts(reported: dict[str, Any], number: int) -> dict[str, int]:
    """What vLLM counted in a round: steps, drafted and accepted tokens."""
    names = ("num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens")
    each = [answer.get("metrics", {}).get("speculative_decoding", {}) for answer in reported["rounds"][number]]
    return {name: sum(one.get(name, 0) for one in each) for name in names}


@pytest.mark.parametrize("name", SPECULATING)
def test_greedy_answers_are_the_same_alone_and_together(found: Any, name: str) -> None:
    for number in (*ALONE, TOGETHER, IN_A_CROWD):
        assert messages(found[name], number) == messages(found["off"], number)
    varied = {message["content"] for number in ALONE for message in messages(found["off"], number)}
    assert len(varied) == len(ALONE), "the texts are all different, so that equal ones mean something"


def repeated(reported: dict[str, Any]) -> float:
    """The share of sampled tokens that are the same as the one before."""
    found = [[token["token"] for token in answer["choices"][0]["logprobs"]["content"]]
             for answer in reported["rounds"][AT_RANDOM]]  # fmt: skip
    pairs = [pair for tokens in found for pair in pairwise(tokens)]
    assert len(pairs) > 300
    return sum(one == other for one, other in pairs) / len(pairs)


@pytest.mark.parametrize("name", SPECULATING)
def test_sampled_answers_have_the_temperature_that_was_asked_for(found: Any, name: str) -> None:
    """Near 0 the model says one token again and again; at 1 it does so about every tenth time."""
    assert repeated(found[name]) < repeated(found["off"]) + 0.15 < 0.4


@pytest.mark.parametrize("name", SPECULATING)
def test_drafts_are_accepted_and_rejected(found: Any, name: str) -> None:
    repetitive = counts(found[name], 0)
    assert repetitive["num_accepted_draft_tokens"] > 0.8 * repetitive["num_draft_tokens"] > 0
    tokens = found[name]["rounds"][0][0]["usage"]["completion_tokens"]
    assert repetitive["num_spec_steps"] < tokens / 2, "fewer steps than tokens"
    varied = [counts(found[name], number) for number in (1, 2, 3)]
    drafted, accepted = (sum(one[key] for one in varied) for key in ("num_draft_tokens", "num_accepted_draft_tokens"))
    assert 0 < accepted < drafted


@pytest.mark.parametrize("name", SPECULATING)
def test_the_draft_length_falls_with_the_batch_and_is_off_in_a_crowd(found: Any, name: str) -> None:
    def length(number: int) -> float:
        reported = counts(found[name], number)
        return reported["num_draft_tokens"] / max(1, reported["num_spec_steps"])

    assert length(0) > 2
    assert length(TOGETHER) < 2.5  # 2, and more for the last request once it is alone
    tokens = sum(answer["usage"]["completion_tokens"] for answer in found[name]["rounds"][IN_A_CROWD])
    assert counts(found[name], IN_A_CROWD)["num_draft_tokens"] < 0.1 * tokens


@pytest.mark.parametrize("name", ["off", *SPECULATING])
def test_structured_output_and_tool_calls_still_fit(found: Any, name: str) -> None:
    (message,) = messages(found[name], JSON)
    assert_fits(json.loads(message["content"]))
    (message,) = messages(found[name], TOOLS)
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert_fits(json.loads(call["function"]["arguments"]))


@pytest.mark.parametrize("name", SPECULATING)
def test_what_it_forbids_and_how_it_speculates_is_found(found: Any, name: str) -> None:
    assert found["off"]["profile"]["speculation"] is None
    assert "min_p" not in found["off"]["profile"]["lacks"]
    assert {"logit_bias", "min_p"} <= set(found[name]["profile"]["lacks"])
    speculation = {"method": name, "num_speculative_tokens": 4, "num_speculative_tokens_per_batch_size": TIERS}
    drafts = {"model": "pocket-draft"} if name == "draft_model" else {}
    assert found[name]["profile"]["speculation"] == speculation | drafts
