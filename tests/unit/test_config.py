"""The configuration: right files load, wrong ones name the field and the fault."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.model_entry import ENGINE_ENV
from app.config.service import parse_config, read_serve_config
from app.endpoints import completions
from app.parameters import generation
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from tests.unit.conftest import config_args

CONFIGS = sorted((PROJECT_FOLDER / "serve_configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads_in_serve_and_in_portico(path: Any) -> None:
    from ray.serve.schema import ServeDeploySchema

    content, config = read_serve_config(path)
    ServeDeploySchema.model_validate(content)
    assert config.models


def test_the_production_config_scales_several_models_on_gpus_and_knows_no_local_key() -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "prod.yaml")
    assert len(config.models) > 1
    assert all(model.resources.num_gpus > 0 for model in config.models)
    assert any(model.scale.max_replicas > model.scale.min_replicas for model in config.models)
    assert config.keys == []
    assert str(config.key_path()) == "/etc/portico/keys.json"


CHART = PROJECT_FOLDER / "cluster" / "helm" / "portico"


def shipped_models() -> dict[str, list[dict[str, Any]]]:
    """The models by the file that names them: each Serve configuration, the chart's values and its examples."""
    configs = {path.name: yaml.safe_load(path.read_text()) for path in CONFIGS}
    values = {
        path.name: yaml.safe_load(path.read_text()) for path in [CHART / "values.yaml", *CHART.glob("examples/*")]
    }
    found = {name: config["applications"][0]["args"]["models"] for name, config in configs.items()}
    return found | {name: one["models"] for name, one in values.items() if "models" in one}


@pytest.mark.parametrize("name", shipped_models())
def test_no_chat_model_of_a_shipped_config_may_fill_its_answer_with_whitespace(name: str) -> None:
    """Where a grammar allows whitespace between fields, a model can go on with it up to its token limit."""
    chat = [model for model in shipped_models()[name] if model["task"] == "chat"]
    assert chat
    for model in chat:
        options = model["engine_kwargs"].get("structured_outputs_config")
        assert options == {"backend": "xgrammar", "disable_any_whitespace": True}, model["id"]


def entry(**changes: Any) -> dict[str, Any]:
    return {"id": "alpha", "task": "chat", "engine": "vllm", "source": "hub/name"} | changes


def embedder(**options: Any) -> dict[str, Any]:
    return config_args(models=[entry(task="embeddings", engine="sentence-transformers", engine_kwargs=options)])


def xtts(**options: Any) -> dict[str, Any]:
    allowed = {"allow": ["pickle"], "revision": "0" * 40}
    return config_args(models=[entry(task="speech", engine="xtts", engine_kwargs=options, **allowed)])


@pytest.mark.parametrize(
    ("args", "reported"),
    [
        ({}, "models: Field required"),
        (config_args(models=[]), "models: List should have at least 1 item"),
        (config_args(models=[entry(), entry()]), "'alpha' stands there twice"),
        (config_args(models=[entry(id="chat")]), "models[0].id: 'chat' is a part of the routes"),
        (config_args(models=[entry(id="v1")], keys=[]), "models[0].id: 'v1' is a part of the routes"),
        (config_args(models=[entry(id="a/b")]), "models[0].id: String should match"),
        (config_args(models=[entry(task="dance")]), "models[0].task: Input should be 'chat'"),
        (config_args(models=[entry(engine="diffusers")]), "diffusers does not do the task chat; vllm does"),
        (
            embedder(batch=8),
            "models[0].engine_kwargs: batch: there is no such field (did you mean batch_size?); check its spelling and "
            "its place. Legal are device, batch_size, matryoshka",
        ),
        (embedder(batch_size=0), "models[0].engine_kwargs: batch_size: Input should be greater than or equal to 1"),
        (xtts(), "Coqui Public Model License, which permits non-commercial use only; read it at https://coqui.ai/cpml"),
        (xtts(accept_license="mit"), "write `accept_license: cpml` where it permits yours"),
        (config_args(models=[entry(packages=["site"])]), "models[0].packages[0]: String should match"),
        (config_args(models=[entry(packages=["/a:/b"])]), "models[0].packages[0]: String should match"),
        (config_args(models=[entry(gpus=1)]), "models[0].gpus: there is no such field"),
        (config_args(models=[entry(resources={"num_gpus": 1.5})]), "neither a whole number of GPUs nor a fraction"),
        (config_args(models=[entry(scaling={"min_replicas": 2})]), "max_replicas (1) is under min_replicas (2)"),
        (config_args(keys=[{"id": "short", "sha256": "0" * 64}]), "keys[0].id: String should match"),
        (config_args(keys=[{"id": "a" * 12, "sha256": "0" * 64, "pipelines": ["gamma"]}]), "names the model 'gamma'"),
        (config_args(keys=[{"id": "a" * 12, "sha256": "0" * 64}] * 2), f"keys: the id {'a' * 12!r} stands there twice"),
        (config_args(keys=[]), "keys: there are none, and neither `key_file` nor `token_issuers` is there"),
        (config_args(key_file="keys.json"), "key_file: 'keys.json' is neither an absolute path nor one in the project"),
        (config_args(limits={"max_body_bytes": 0}), "limits.max_body_bytes: Input should be greater than"),
        (config_args(budgets={"shards": 0}), "budgets.shards: Input should be greater than or equal to 1"),
        (config_args(budgets={"shards": 101}), "budgets.shards: Input should be less than or equal to 100"),
    ],
)
def test_a_wrong_config_names_the_field_and_the_fault(args: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(args)
    assert reported in str(caught.value)


def test_a_file_without_args_says_so(tmp_path: Any) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("applications: []")
    with pytest.raises(ConfigError, match="there is no `applications"):
        read_serve_config(path)


def test_a_license_that_is_accepted_lets_the_model_be() -> None:
    assert parse_config(xtts(accept_license="cpml") | {"keys": KEYS}).models[0].engine == "xtts"


def test_packages_of_its_own_come_before_what_the_replica_imports_otherwise() -> None:
    args = config_args(
        models=[entry(packages=["./own", "/opt/more"], env={"PYTHONPATH": "/last", "A": "1"})], keys=KEYS
    )
    environment = parse_config(args).models[0].environment()
    assert environment == ENGINE_ENV | {"A": "1", "PYTHONPATH": f"{PROJECT_FOLDER / 'own'}:/opt/more:/last"}
    assert parse_config(config_args(models=[entry()], keys=KEYS)).models[0].environment() == ENGINE_ENV


def test_the_engine_takes_as_many_stop_sequences_as_the_route_with_the_most() -> None:
    environment = parse_config(config_args(models=[entry()], keys=KEYS)).models[0].environment()
    assert int(environment["VLLM_MAX_STOP_STRINGS"]) == completions.MAX_STOPS > generation.MAX_STOPS


def test_a_path_of_libraries_may_name_folders_of_the_project() -> None:
    args = config_args(models=[entry(env={"LD_LIBRARY_PATH": "./.venv/cuda12/lib:/opt/lib"})], keys=KEYS)
    environment = parse_config(args).models[0].environment()
    assert environment["LD_LIBRARY_PATH"] == f"{PROJECT_FOLDER / '.venv/cuda12/lib'}:/opt/lib"


def test_a_source_is_a_hub_name_or_a_folder_of_the_project() -> None:
    local, hub = parse_config(
        config_args(models=[entry(source="./m"), entry(id="b", source="org/m")], keys=KEYS)
    ).models
    assert local.location() == str(PROJECT_FOLDER / "m")
    assert hub.location() == "org/m"


def test_a_key_file_is_an_absolute_path_or_one_of_the_project_and_keys_may_then_be_left_out() -> None:
    assert parse_config(config_args()).key_path() is None
    local, absolute = (
        parse_config(config_args(keys=[], key_file=place)) for place in ("./keys.json", "/etc/keys.json")
    )
    assert local.key_path() == PROJECT_FOLDER / "keys.json"
    assert absolute.key_path() == Path("/etc/keys.json")


def test_the_local_key_may_ask_more_often_than_any_test_does() -> None:
    _, config = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")
    assert [key.budget.requests_per_minute for key in config.keys] == [60_000]


def test_a_file_that_is_no_yaml_names_the_line_and_does_not_repeat_it(tmp_path: Any) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(f"applications:\n  - sha256: {'0' * 64}: x\n")
    with pytest.raises(ConfigError, match="line 2") as caught:
        read_serve_config(path)
    assert "0" * 64 not in str(caught.value)


KEYS = [{"id": "a" * 12, "sha256": "0" * 64}]


def test_a_disabled_route_that_is_none_is_named_with_those_that_are() -> None:
    args = config_args(routes={"disabled": ["/v1/audio/speech", "/v1/audio"]})
    with pytest.raises(ConfigError) as failure:
        parse_config(args)
    assert "routes.disabled: '/v1/audio' is no route that can be disabled. Those are: /v1/chat/" in str(failure.value)


def test_a_model_that_is_to_start_first_and_is_not_there_is_named_with_those_that_are() -> None:
    args = config_args(models=[entry(), entry(id="beta")], start_first=["beta", "gamma"])
    with pytest.raises(ConfigError) as failure:
        parse_config(args)
    assert str(failure.value).endswith("start_first: 'gamma' is not in `models`. Those are: alpha, beta")
