"""LoRA adapters in a real vLLM engine on CPU: each answers as the model does whose weights it is merged into."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from contract.protocol import CHAT_ROUTE, RESPONSES_ROUTE
from deployments.vllm.lora_files import CONFIG
from local_models.adapter import make_adapter

BASE = PROJECT_FOLDER / "local_models" / "pocket-chat"
# name -> seed and rank; with these the model says words, so that no cut-off character differs between two libraries
ADAPTERS = {"a": (1, 2), "b": (6, 7), "c": (8, 1), "d": (12, 5), "e": (17, 2), "f": (19, 4)}
NAMES = tuple(ADAPTERS)
MOST_RESIDENT, MAX_RANK = 3, 8
PROMPT = [{"role": "user", "content": "The quick brown fox"}]
TOKENS = 24
CHAT = {"messages": PROMPT, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, "logprobs": True}
RESPONSE = {"input": PROMPT, "temperature": 0, "max_output_tokens": TOKENS}
CLOSE = 2e-3  # of two logarithms of probabilities, as two libraries add up in float32
UNFIT = {
    "too-large": "its rank is 16, and max_lora_rank is 8; raise it in engine_kwargs",
    "of-another": "it was made for another model: layers.0.self_attn.q_proj takes 64 where the adapter has 32",
    "dora": "vLLM does not yet support DoRA",
    "gone": "its folder is not on the replica's machine",
}


class Generated(NamedTuple):
    """A greedy answer: its text, and the logarithm of each token's probability."""

    text: str
    logprobs: list[float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters, each in a folder of its name: some that fit, of several ranks, and those of UNFIT."""
    folder = tmp_path_factory.mktemp("adapters")
    for name, (seed, rank) in ADAPTERS.items():
        made(folder / name, seed=seed, rank=rank)
    made(folder / "too-large", rank=16)
    dora = json.loads((made(folder / "dora") / CONFIG).read_text()) | {"use_dora": True}
    (folder / "dora" / CONFIG).write_text(json.dumps(dora))
    made_for_another(folder / "of-another")
    return folder


def made(folder: Path, **options: Any) -> Path:
    folder.mkdir()
    make_adapter(folder, **options)
    return folder


def made_for_another(folder: Path) -> None:
    """For a model that is half as wide: vLLM would copy it into a corner."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    weights = load_file(made(folder) / "adapter_model.safetensors")
    halved = {
        name: np.ascontiguousarray(weight[:32, :32]) for name, weight in weights.items() if "0.self_attn.q_proj" in name
    }
    save_file(halved, folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str | None, Generated]:
    """What transformers generates of the model alone, and of it with an adapter merged into its weights."""
    return {None: generated(None)} | {name: generated(folder / name) for name in NAMES}


def generated(adapter: Path | None) -> Generated:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    if adapter is not None:
        merge(model, adapter)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    prompt = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids, logprobs = prompt["input_ids"], []
    for _ in range(TOKENS):
        with torch.inference_mode():
            likely = torch.log_softmax(model(ids).logits[0, -1], dim=-1)
        logprobs.append(float(likely.max()))
        ids = torch.cat([ids, likely.argmax().reshape(1, 1)], dim=1)
    return Generated(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True), logprobs)


def merge(model: Any, adapter: Path) -> None:
    """Add B @ A * alpha / r to the weights that an adapter changes."""
    import torch
    from safetensors.torch import load_file

    config, weights = json.loads((adapter / CONFIG).read_text()), load_file(adapter / "adapter_model.safetensors")
    with torch.no_grad():
        for name in [name for name in weights if name.endswith(".lora_A.weight")]:
            change = weights[name.replace("lora_A", "lora_B")] @ weights[name] * config["lora_alpha"] / config["r"]
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            model.get_submodule(module).weight += change


class Round:
    """One round of requests at once."""

    def __init__(self, folder: Path, *names: str | None, route: str = CHAT_ROUTE, **changes: Any) -> None:
        self.names = names
        body = (CHAT if route == CHAT_ROUTE else RESPONSE) | changes
        self.requests = [[name and [name, str(folder / name)], route, body] for name in names]


ALONE, AT_ONCE, REFUSED, STREAMED, RESPONSES, LAST = range(6)


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """The answers of one engine to rounds of requests, and which adapters it holds behind each."""
    rounds = [
        Round(folder, None),
        Round(folder, *NAMES, None, *NAMES),
        Round(folder, *UNFIT, "a", None),
        Round(folder, "b", None, "c", stream=True, stream_options={"include_usage": True}),
        Round(folder, "d", None, route=RESPONSES_ROUTE),
        *(Round(folder, name) for name in (*NAMES, *NAMES)),
    ]
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    (entry,) = [model for model in config.models if model.id == "pocket-chat"]
    lora = {"enable_lora": True, "max_loras": 2, "max_cpu_loras": MOST_RESIDENT, "max_lora_rank": MAX_RANK}
    request = {
        "source": entry.location(),
        "engine_kwargs": entry.engine_kwargs | lora,
        "rounds": [one.requests for one in rounds],
    }
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllm_adapter_answers"],
        input=json.dumps(request),
        env=os.environ | entry.env,
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answered: list[dict[str, Any]] = json.loads(result.stdout.rstrip().rpartition("\n")[2])["rounds"]
    return [one | {"names": asked.names} for one, asked in zip(answered, rounds, strict=True)]


def named(one: dict[str, Any]) -> list[tuple[str | None, dict[str, Any]]]:
    return list(zip(one["names"], one["answers"], strict=True))


def text_of(answer: dict[str, Any]) -> str:
    assert "choices" in answer, answer
    return str(answer["choices"][0]["message"]["content"])


def test_the_adapters_of_this_test_answer_differently(expected: dict[str | None, Generated]) -> None:
    assert len({one.text for one in expected.values()}) == len(expected)


@pytest.mark.parametrize("number", [ALONE, AT_ONCE])
def test_each_answers_as_the_model_does_that_it_is_merged_into(found: Any, expected: Any, number: int) -> None:
    for name, answer in named(found[number]):
        assert text_of(answer) == expected[name].text
        tokens = answer["choices"][0]["logprobs"]["content"]
        assert [token["logprob"] for token in tokens] == pytest.approx(expected[name].logprobs, abs=CLOSE)
        assert answer["model"] == (name or "pocket-chat")


def test_no_more_are_resident_than_max_cpu_loras_and_each_is_right_after_it_came_back(
    found: Any, expected: Any
) -> None:
    one_by_one = found[LAST:]
    assert [name for one in one_by_one for name in one["names"]] == [*NAMES, *NAMES]
    for number, one in enumerate(one_by_one):
        ((name, answer),) = named(one)
        assert text_of(answer) == expected[name].text
        latest = [*NAMES, *NAMES][max(0, number + 1 - MOST_RESIDENT) : number + 1]
        assert one["resident"][-len(latest) :] == latest, "the one used longest ago left"
        assert len(one["resident"]) == MOST_RESIDENT


def test_one_that_does_not_fit_is_refused_by_name_and_the_others_and_the_model_answer(
    found: Any, expected: Any
) -> None:
    answers = dict(named(found[REFUSED]))
    for name, why in UNFIT.items():
        error = answers[name]["error"]
        assert (error["code"], error["param"]) == ("model_failed", "model")
        assert error["message"] == f"The adapter `{name}` cannot be used with its model: {why}."
    for fitting in ("a", None):
        assert text_of(answers[fitting]) == expected[fitting].text


def test_streams_are_the_adapter_s(found: Any, expected: Any) -> None:
    for name, answer in named(found[STREAMED]):
        events = [line.removeprefix("data: ") for line in answer["stream"].splitlines() if line]
        assert events.pop() == "[DONE]"
        chunks = [json.loads(event) for event in events]
        assert {chunk["model"] for chunk in chunks} == {name or "pocket-chat"}
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert text == expected[name].text


def test_responses_are_the_adapter_s(found: Any, expected: Any) -> None:
    for name, answer in named(found[RESPONSES]):
        assert answer["model"] == (name or "pocket-chat")
        text = answer["output"][0]["content"][0]["text"]
        assert text
        assert expected[name].text.startswith(text), "up to its end of the turn"
