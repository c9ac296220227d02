"""docs/engines.md, written from the option models: `python -m app docs`."""

import json
from collections.abc import Iterator
from typing import Any

from contract.options.catalog import SPECS, EngineSpec

INTRO = """# Engines and their options

<!-- Written by `python -m app docs` from contract/options/. Do not edit by hand. -->

What may stand under `engine_kwargs` of a model entry. A name or a value that is not legal stops the start, and
`python -m app check FILE` says which. vLLM's are the arguments of `vllm serve`, with underscores; vLLM checks them.
"""


def page() -> str:
    """The whole page."""
    return INTRO + "".join(map(_section, SPECS))


def _section(spec: EngineSpec) -> str:
    head = (
        f"\n## {spec.name}\n\nFor `task: {'` and `task: '.join(spec.tasks)}`. `engine_stall_timeout_s` of the entry is "
        f"{spec.stall_timeout_s:g} unless set."
    )
    if spec.options is None:
        return f"{head}\n"
    rows = _rows(spec.options.model_json_schema())
    lines = [f"{head}\n", "| Option | Is | Default | |", "|---|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _rows(schema: dict[str, Any]) -> Iterator[str]:
    kinds = schema.get("$defs", {})
    for name, option in schema["properties"].items():
        yield _row(name, option, kinds)
    for kind, inner in kinds.items():
        for name, option in inner.get("properties", {}).items():
            yield _row(f"{kind}: {name}", option, kinds)


def _row(name: str, option: dict[str, Any], kinds: dict[str, Any]) -> str:
    default = f"`{json.dumps(option['default'])}`" if "default" in option else "required"
    message = option.get("description", "").replace("|", "\\|")
    return f"| `{name}` | {_kind(option, kinds)} | {'' if default == '`null`' else default} | {message} |"


def _kind(option: dict[str, Any], kinds: dict[str, Any]) -> str:
    """The type of an option in words, from its JSON Schema."""
    if "enum" in option or "const" in option:
        return " or ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
    if "$ref" in option:
        name = option["$ref"].rpartition("/")[2]
        return f"a {name}" if "properties" in kinds[name] else _kind(kinds[name], kinds)
    if "anyOf" in option:
        return " or ".join(_kind(one, kinds) for one in option["anyOf"] if one.get("type") != "null")
    if option.get("type") == "array":
        return f"a list, each {_kind(option.get('items', {}), kinds)}"
    return {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "object": "a mapping",
    }.get(option.get("type", ""), "anything")
