"""`portico config schema`: the JSON Schema that an editor checks Serve files with."""

import copy
import json
from typing import Any

import jsonschema
import pytest
import yaml

from app.__main__ import main
from contract.project import PROJECT_FOLDER

CONFIGS = sorted((PROJECT_FOLDER / "serve_configs").glob("*.yaml"))
LOCAL: dict[str, Any] = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["config", "schema"]) == 0
    return json.loads(capsys.readouterr().out)


def changed(change: Any) -> dict[str, Any]:
    """local.yaml, with `change` made in its `args`."""
    content = copy.deepcopy(LOCAL)
    change(content["applications"][0]["args"])
    return content


def test_it_is_a_schema_and_every_file_of_the_project_is_right_by_it(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in CONFIGS:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda args: args.update(modles=[]), "modles"),
        (lambda args: args["models"][0].update(tsak="chat"), "tsak"),
        (lambda args: args["models"][0].update(engine="vlmm"), "vlmm"),
        (lambda args: args["models"][2]["engine_kwargs"].update(beam_sise=5), "beam_sise"),
        (lambda args: args["models"][3]["engine_kwargs"].update(voices=7), "7"),
        (lambda args: args["keys"][0].update(budget={"requests_per_minute": "many"}), "many"),
    ],
    ids=["of args", "of an entry", "an engine", "an engine's option", "its type", "of a key"],
)
def test_a_mistake_at_any_level_is_found(schema: Any, change: Any, reported: str) -> None:
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(changed(change), schema)
    assert reported in str(caught.value)


def test_a_mistake_beside_args_is_found_where_serve_has_a_type_for_it(schema: Any) -> None:
    with pytest.raises(jsonschema.ValidationError, match="eight thousand"):
        jsonschema.validate(copy.deepcopy(LOCAL) | {"http_options": {"port": "eight thousand"}}, schema)


def test_args_alone_have_a_schema_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", "--args"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for path in CONFIGS:
        jsonschema.validate(yaml.safe_load(path.read_text())["applications"][0]["args"], schema)


def test_every_description_is_there_for_the_editor_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", "--args"]) == 0
    definitions = json.loads(capsys.readouterr().out)["$defs"]
    assert "a hub name" in definitions["ModelEntry"]["properties"]["source"]["description"]
