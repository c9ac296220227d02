"""What an entry must allow by name: custom code and pickles; and the commit that a hub name is pinned to."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.config.model_entry import ModelEntry
from app.config.service import parse_config, read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from deployments.weights import PickleError, refuse_pickles
from tests.unit.conftest import config_args

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(**changes: Any) -> ModelEntry:
    """A model from the hub, checked. Raises ConfigError."""
    model = {"id": "alpha", "task": "chat", "engine": "vllm", "source": "hub/name"} | changes
    return parse_config(config_args(models=[model], keys=[{"id": "a" * 12, "sha256": "0" * 64}])).models[0]


CUSTOM_CODE: list[dict[str, Any]] = [
    {"trust_remote_code": True},
    {"trust_remote_code": "yes"},
    {"code_revision": COMMIT},
    {"hf_overrides": {"text_config": {"auto_map": {"AutoModel": "modeling.Model"}}}},
    {"mm_processor_kwargs": {"trust_remote_code": True}},
    {"tokenizer_mode": "custom"},
    {"worker_cls": "mine.Worker"},
    {"worker_extension_cls": "mine.Extension"},
    {"scheduler_cls": "mine.Scheduler"},
    {"logits_processors": ["mine.Processor"]},
    {"model_class_overrides": {"Qwen3ForCausalLM": "mine.Model"}},
    {"io_processor_plugin": "mine"},
    {"tool_parser_plugin": "/etc/parser.py"},
    {"structured_outputs_config": {"reasoning_parser_plugin": "/etc/parser.py"}},
    {"distributed_executor_backend": "mine.Executor"},
    {"compilation_config": {"backend": "mine.compile"}},
    {"kv_transfer_config": {"kv_connector_module_path": "mine.connector"}},
    {"speculative_config": {"model": "mine.Proposer"}},
]
PICKLES: list[dict[str, Any]] = [{"load_format": "pt"}, {"load_format": "npcache"}]
HARMLESS: list[dict[str, Any]] = [
    {"trust_remote_code": False},
    {"hf_overrides": {"is_matryoshka": True}},
    {"worker_cls": "auto", "distributed_executor_backend": "mp", "tokenizer_mode": "mistral"},
    {"structured_outputs_config": {"backend": "xgrammar", "reasoning_parser": "qwen3"}},
    {"load_format": "safetensors"},
    {"speculative_config": {"method": "draft_model", "model": "hub/draft-0.6b"}},
]


@pytest.mark.parametrize("given", CUSTOM_CODE, ids=str)
def test_an_argument_that_runs_custom_code_is_refused_until_the_entry_allows_it(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        entry(engine_kwargs=given)
    assert next(iter(given)) in str(caught.value)
    assert "runs code that is not the engine's" in str(caught.value)
    assert "write `allow: [custom_code]`" in str(caught.value)
    assert entry(engine_kwargs=given, allow=["custom_code"], revision=COMMIT).engine_kwargs == given


@pytest.mark.parametrize("given", PICKLES, ids=str)
def test_a_format_of_pickles_is_refused_until_the_entry_allows_it(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"load_format: .*pickle.* write `allow: \[pickle\]`"):
        entry(engine_kwargs=given, allow=["custom_code"], revision=COMMIT)
    assert entry(engine_kwargs=given, allow=["pickle"], revision=COMMIT).allow == ["pickle"]


@pytest.mark.parametrize("given", HARMLESS, ids=str)
def test_what_runs_no_other_code_needs_no_permission(given: dict[str, Any]) -> None:
    assert entry(engine_kwargs=given).allow == []


def test_custom_code_is_refused_for_engines_whose_options_do_not_have_it_too() -> None:
    with pytest.raises(ConfigError, match=r"write `allow: \[custom_code\]`"):
        entry(task="embeddings", engine="sentence-transformers", engine_kwargs={"trust_remote_code": True})
    with pytest.raises(ConfigError, match=r"write `allow: \[custom_code\]`"):
        entry(task="images", engine="diffusers", engine_kwargs={"custom_pipeline": "hub/pipeline"})


@pytest.mark.parametrize("name", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "VLLM_ALLOW_INSECURE_SERIALIZATION"])
def test_an_environment_variable_that_lets_pickles_run_code_is_refused_until_the_entry_allows_it(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"env: {name}: .*write `allow: \[pickle\]`"):
        entry(env={name: "1"})


def test_an_engine_whose_weights_are_always_pickles_says_so_before_the_start() -> None:
    xtts: dict[str, Any] = {"task": "speech", "engine": "xtts", "engine_kwargs": {"accept_license": "cpml"}}
    with pytest.raises(ConfigError, match=r"xtts: .*pickle.*`allow: \[pickle\]`"):
        entry(**xtts)
    assert entry(**xtts, allow=["pickle"], revision=COMMIT).served().allow == ("pickle",)


def test_what_is_allowed_of_a_hub_name_is_pinned_to_a_commit_and_of_a_folder_not() -> None:
    with pytest.raises(ConfigError, match="pin `revision` to the commit that you trust"):
        entry(allow=["pickle"])
    assert entry(allow=["pickle"], source="/models/mine").revision is None


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_branch_a_tag_and_a_short_commit_pin_nothing(revision: str) -> None:
    with pytest.raises(ConfigError, match="revision: String should match pattern"):
        entry(revision=revision)


@pytest.mark.parametrize("source", ["/models/mine", "./local_models/pocket-chat"])
def test_a_folder_has_no_commit(source: str) -> None:
    with pytest.raises(ConfigError, match=f"revision: {source} is no hub name"):
        entry(source=source, revision=COMMIT)


def test_the_commit_stands_in_the_entry_and_not_among_the_engine_s_options() -> None:
    with pytest.raises(ConfigError, match=r"engine_kwargs.revision: write `revision` in the entry"):
        entry(engine_kwargs={"revision": COMMIT})


def test_another_commit_or_another_permission_is_another_replica() -> None:
    some = [entry(), entry(revision=COMMIT), entry(revision=COMMIT, allow=["pickle"])]
    assert len({one.identity for one in some}) == len(some)


def test_check_names_every_hub_name_without_a_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [
        {"id": "pinned", "task": "chat", "engine": "vllm", "source": "hub/pinned", "revision": COMMIT},
        {"id": "floating", "task": "chat", "engine": "vllm", "source": "hub/floating"},
        {"id": "folder", "task": "chat", "engine": "vllm", "source": "/models/mine"},
        {"id": "espeak", "task": "speech", "engine": "espeak-ng", "source": "espeak-ng"},
        {"id": "draft", "task": "chat", "engine": "vllm", "source": "/models/mine",
         "speculation": {"method": "draft_model", "model": "hub/draft"}},
        {"id": "flux", "task": "images", "engine": "diffusers", "source": "/models/mine",
         "engine_kwargs": {"safety_checker": "hub/checker"}},
    ]  # fmt: skip
    path = tmp_path / "serve.yaml"
    args = config_args(models=models, keys=[{"id": "a" * 12, "sha256": "0" * 64}])
    path.write_text(yaml.safe_dump({"applications": [{"import_path": "app.builder:build", "args": args}]}))
    assert main(["check", str(path)]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "has no `revision`" in line]
    assert [line.split(" has ")[0] for line in warned] == [
        "floating: hub/floating",
        "draft: hub/draft",
        "flux: hub/checker",
    ]


def test_every_model_of_the_production_config_is_pinned() -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "prod.yaml")
    assert [name for model in config.models for name in model.unpinned()] == []
    assert {model.id: model.allow for model in config.models if model.allow} == {"bark": ["pickle"]}


def test_a_folder_with_pickles_only_is_refused_by_name_and_says_how_to_allow_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "pytorch_model.bin").touch()
    with pytest.raises(PickleError, match=r"part/pytorch_model.bin is a pickle\..*`allow: \[pickle\]`"):
        refuse_pickles(tmp_path)
    (tmp_path / "model.safetensors").touch()
    refuse_pickles(tmp_path)


def test_what_is_no_folder_is_left_to_the_engine(tmp_path: Path) -> None:
    refuse_pickles(tmp_path / "hub" / "name")
