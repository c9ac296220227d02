"""A thousand LoRA adapters of one model on two replicas that hold eight each, in a running service."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from app.config.service import APPLICATION_POLICY
from app.keys import LOCAL_KEY, hash_key, public_id
from contract.project import PROJECT_FOLDER
from local_models.adapter import make_adapter
from tests.conftest import entry_of, launched
from tests.scaling.conftest import CHAT, Cluster, ScaledService

CONFIGURED, RESIDENT, AT_ONCE = 1000, 8, 2
SEVERAL = [f"lora-{number}" for number in range(2 * RESIDENT + 4)]
SCOPED_KEY = "sk-portico-adapters0000-" + "a" * 43
MISFIT = "its rank is 32, and max_lora_rank is 16; raise it in engine_kwargs"
SEEN_SECONDS = 20  # for a changed configuration to be followed, and for files that were mended to be looked at
REPORT_SECONDS = 5  # for routers to hear what replicas have loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters, each in a folder of its id."""
    folder = tmp_path_factory.mktemp("adapters")
    for number in range(CONFIGURED):
        made(folder / f"lora-{number}", seed=number, rank=1)
    made(folder / "too-large", rank=32)
    made(folder / "added", seed=CONFIGURED)
    return folder


def made(folder: Path, **options: Any) -> None:
    folder.mkdir()
    make_adapter(folder, **options)


def entry(folder: Path, name: str) -> dict[str, str]:
    return {"id": name, "source": str(folder / name)}


@pytest.fixture(scope="module")
def adapted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScaledService]:
    """The service: pocket-chat with its adapters, one of which does not fit, so that `portico serve` gets it later."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "tiny.yaml").read_text())
    args = content["applications"][0]["args"]
    chat = copy.deepcopy(entry_of(args["models"], CHAT))
    chat["scaling"] = {"min_replicas": 2, "max_replicas": 2, "max_ongoing_requests": 16}
    chat["engine_kwargs"] |= {"enable_lora": True, "max_loras": AT_ONCE, "max_cpu_loras": RESIDENT}
    chat["adapters"] = [entry(folder, f"lora-{number}") for number in range(CONFIGURED)]
    args["models"] = [chat]
    scope = {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "pipelines": ["lora-1"]}
    args["keys"].append(scope)
    content["applications"][0]["autoscaling_policy"] = {"policy_function": APPLICATION_POLICY}
    place = tmp_path_factory.mktemp("adapted")
    with launched(content, place, place / "none") as service, closing(Cluster(service.ray_address)) as cluster:
        yield ScaledService(service, content, place, cluster)


@pytest.fixture(scope="module")
def client(adapted: ScaledService) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapted.service.base_url, api_key=LOCAL_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(adapted: ScaledService) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    with httpx.Client(base_url=adapted.service.base_url, headers=headers, timeout=90) as http:
        yield http


def ask(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "The quick brown fox"}],
        max_tokens=8,
        temperature=0,
        logprobs=True,
    )
    assert answer.model == model
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    return " ".join(f"{token.token}:{token.logprob:.3f}" for token in logprobs.content)


def test_get_models_lists_all_with_their_parent(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == [CHAT, *(f"lora-{number}" for number in range(CONFIGURED))]
    assert {getattr(model, "parent", None) for model in models[1:]} == {CHAT}
    assert getattr(client.models.retrieve("lora-7"), "parent") == CHAT  # noqa: B009 - OpenAI's type has no such field


def test_each_answers_by_itself_and_the_same_after_it_was_away(adapted: ScaledService, client: openai.OpenAI) -> None:
    names = [CHAT, *SEVERAL]
    with ThreadPoolExecutor(8) as pool:
        first = dict(zip(names, pool.map(lambda name: ask(client, name), names), strict=True))
        others = [f"lora-{number}" for number in range(500, 500 + 3 * RESIDENT)]
        list(pool.map(lambda name: ask(client, name), others))
        again = dict(zip(names, pool.map(lambda name: ask(client, name), names), strict=True))
    assert len(set(first.values())) == len(names)
    assert again == first
    held = adapted.residents(CHAT)
    assert len(held) == 2
    assert all(len(one) <= RESIDENT for one in held)


def test_a_thousand_in_turn_pass_through_the_places_of_eight(adapted: ScaledService, client: openai.OpenAI) -> None:
    names = [f"lora-{number}" for number in range(CONFIGURED)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: ask(client, name), names))
    assert len(set(answers)) == len(names)
    assert all(len(one) == RESIDENT for one in adapted.residents(CHAT))


def test_requests_go_to_the_replica_that_has_the_adapter(adapted: ScaledService, client: openai.OpenAI) -> None:
    names = SEVERAL[:RESIDENT]
    for _ in range(2):
        for name in names:
            ask(client, name)
        time.sleep(REPORT_SECONDS)
    for _ in range(3):
        for name in names:
            ask(client, name)
    one, other = (set(held) & set(names) for held in adapted.residents(CHAT))
    assert one | other == set(names)
    assert not one & other, "both replicas have loaded the same"


def test_streams_and_responses_are_the_adapter_s(client: openai.OpenAI) -> None:
    request: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "extra_body": {"ignore_eos": True}}
    messages: Any = [{"role": "user", "content": "The quick brown fox"}]
    texts = {}
    for name in (CHAT, "lora-1"):
        whole = client.chat.completions.create(model=name, messages=messages, **request)
        stream = client.chat.completions.create(model=name, messages=messages, stream=True, **request)
        chunks = list(stream)
        assert {chunk.model for chunk in chunks} == {name}
        texts[name] = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert texts[name] == whole.choices[0].message.content
        assert client.responses.create(model=name, input="hi", max_output_tokens=4).model == name
    assert texts[CHAT] != texts["lora-1"]


def test_the_scope_of_a_key_is_adapter_by_adapter(adapted: ScaledService) -> None:
    with openai.OpenAI(base_url=adapted.service.base_url, api_key=SCOPED_KEY, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["lora-1"]
        assert ask(client, "lora-1")
        for other in ("lora-2", CHAT):
            with pytest.raises(openai.PermissionDeniedError):
                ask(client, other)


def test_metrics_are_by_adapter(adapted: ScaledService, client: openai.OpenAI, http: httpx.Client) -> None:
    ask(client, "lora-3")
    deadline = time.monotonic() + 60
    while 'model="lora-3"' not in http.get(f"http://127.0.0.1:{adapted.service.port}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(1)


def test_adding_one_and_one_that_does_not_fit_changes_no_replica(
    adapted: ScaledService, client: openai.OpenAI, http: httpx.Client, folder: Path
) -> None:
    before = adapted.pids()
    expected = ask(client, "lora-1")
    adapters = adapted.entry(CHAT)["adapters"]
    adapters += [entry(folder, "added"), entry(folder, "too-large")]
    with client.chat.completions.create(
        model="lora-1", messages=[{"role": "user", "content": "go on"}], max_tokens=1500, stream=True,
        extra_body={"ignore_eos": True},
    ) as stream:  # fmt: skip
        chunks = [next(stream)]
        adapted.deploy()
        wait_listed(client, "added")
        chunks += stream
    assert chunks[-1].choices[0].finish_reason == "length"
    assert ask(client, "added") != expected
    assert ask(client, "lora-1") == expected
    adapted.wait_settled()
    assert adapted.pids() == before
    assert len(before[CHAT]) == 2
    assert "too-large" not in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, "too-large")
    assert (refused.value.code, refused.value.param) == ("model_failed", "model")
    assert MISFIT in refused.value.message
    port = adapted.service.port
    assert http.get(f"http://127.0.0.1:{port}/ready").status_code == 200
    ready = http.get(f"http://127.0.0.1:{port}/ready?model=too-large")
    assert ready.json()["models"] == [{"id": "too-large", "state": "failed", "error": MISFIT}]


def test_check_names_it_before_anything_starts(adapted: ScaledService) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app", "check", "--json", str(adapted.changed)],
        cwd=PROJECT_FOLDER, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert json.loads(result.stdout)["faults"] == [
        {"place": "too-large", "message": f"the adapter does not fit its model: {MISFIT}"}
    ]


def test_one_that_is_mended_is_served_without_a_deployment(client: openai.OpenAI, folder: Path) -> None:
    (folder / "too-large").rename(folder / "as-it-was")
    made(folder / "too-large", seed=CONFIGURED + 1)
    wait_listed(client, "too-large")
    assert ask(client, "too-large")


def wait_listed(client: openai.OpenAI, name: str) -> None:
    deadline = time.monotonic() + SEEN_SECONDS
    while name not in [model.id for model in client.models.list()]:
        assert time.monotonic() < deadline, f"{name} is not listed"
        time.sleep(0.3)
