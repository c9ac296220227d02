"""JSON Schemas of a Serve config file and of the `args` in it, for editors."""

from typing import Any

from app.config.service import Config
from contract.options.catalog import SPECS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEMPLATE = "#/$defs/{model}"


def args_schema() -> dict[str, Any]:
    """Of what is under `args`: our configuration. The options of each engine are its own."""
    schema = Config.model_json_schema(ref_template=TEMPLATE)
    definitions = schema["$defs"]
    entry = definitions["ModelEntry"]
    entry["properties"]["engine"]["enum"] = [spec.name for spec in SPECS]
    rules = []
    for spec in SPECS:
        if spec.options is None:
            continue
        options = spec.options.model_json_schema(ref_template=TEMPLATE)
        definitions |= options.pop("$defs", {})
        definitions[spec.options.__name__] = options
        reference = {"$ref": TEMPLATE.format(model=spec.options.__name__)}
        rules.append(
            {
                "if": {"properties": {"engine": {"const": spec.name}}, "required": ["engine"]},
                "then": {"properties": {"engine_kwargs": reference}},
            }
        )
    entry["allOf"] = rules
    return {"$schema": DRAFT, "title": "args of a Portico application", **schema}


def file_schema() -> dict[str, Any]:
    """Of a whole Serve config file."""
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - Ray takes a second to import

    ours, whole = args_schema(), ServeDeploySchema.model_json_schema(ref_template=TEMPLATE)
    definitions = {f"Serve{name}": one for name, one in whole.pop("$defs", {}).items()}
    whole, definitions = (_renamed(part, definitions) for part in (whole, definitions))
    ours.pop("$schema")
    both = ours.pop("$defs") | definitions
    both["Args"] = ours
    both["ServeServeApplicationSchema"]["properties"]["args"] = {"$ref": TEMPLATE.format(model="Args")}
    return {"$schema": DRAFT, **whole, "title": "A Serve config file of Portico", "$defs": both}


def _renamed(node: Any, definitions: dict[str, Any]) -> Any:
    """`node` with references to Serve's definitions by their names beside ours."""
    if isinstance(node, dict):
        return {name: _renamed(value, definitions) for name, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, definitions) for value in node]
    if isinstance(node, str) and node.startswith("#/$defs/"):
        name = f"Serve{node.removeprefix('#/$defs/')}"
        return TEMPLATE.format(model=name) if name in definitions else node
    return node
