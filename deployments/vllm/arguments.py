"""`engine_kwargs` of a model entry as arguments of vLLM: which there are, and of what type."""

import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

# What a model entry may not set: the gateway owns the door, and nothing a client sends may run or name code or files.
RESERVED_ARGUMENTS = frozenset(
    {"host", "port", "uds", "grpc_port", "api_key", "root_path", "middleware", "ssl_keyfile", "ssl_certfile",
     "ssl_ca_certs", "served_model_name", "model", "trust_request_chat_template", "trust_request_mm_kwargs",
     "enable_log_requests", "enable_log_outputs", "tool_server", "allowed_media_domains", "allowed_local_media_path",
     "lora_modules"}
)  # fmt: skip


class EngineArgumentError(ValueError):
    """`engine_kwargs` of a model entry holds a name or a value that vLLM does not take. One line for each."""


def split(values: dict[str, Any], engine_class: Any, frontend_class: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort `values` into arguments of the engine and of the server, each coerced to its field's type.

    Raises EngineArgumentError for all that is wrong.
    """
    sorted_values, found = _sorted(values, engine_class, frontend_class)
    if found:
        raise EngineArgumentError("\n".join(found))
    return sorted_values[0], sorted_values[1]


def faults(values: dict[str, Any], engine_class: Any, frontend_class: Any) -> list[str]:
    """What is wrong in `values`."""
    return _sorted(values, engine_class, frontend_class)[1]


def parser_faults(values: Mapping[str, Any], name: str, known: Iterable[str]) -> list[str]:
    """What is wrong in the name of a parser, where one is given."""
    given, known = values.get(name), sorted(known)
    if not isinstance(given, str) or not given or given in known:
        return []
    return [f"engine_kwargs.{name}: vLLM has no parser {given}.{_hint(given, known) or ' It has ' + ', '.join(known)}"]


def _sorted(
    values: dict[str, Any], engine_class: Any, frontend_class: Any
) -> tuple[tuple[dict[str, Any], dict[str, Any]], list[str]]:
    classes = (engine_class, frontend_class)
    fields = [{field.name: field for field in dataclasses.fields(cls)} for cls in classes]
    sorted_values: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    found = []
    for name, value in values.items():
        owner = next((at for at, names in enumerate(fields) if name in names), None)
        if name in RESERVED_ARGUMENTS:
            found.append(f"engine_kwargs.{name} is set by Portico itself. Remove it from the model entry.")
        elif owner is None:
            hint = _hint(name, [known for names in fields for known in names])
            found.append(f"engine_kwargs.{name} is not an argument of vLLM.{hint}")
        else:
            try:
                sorted_values[owner][name] = _coerce(classes[owner], fields[owner][name], value)
            except EngineArgumentError as error:
                found.append(str(error))
    return sorted_values, found


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _coerce(owner: Any, field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the type of `field`: mappings become vLLM's configuration objects. vLLM itself converts only some."""
    annotation: Any = field.type
    try:
        if isinstance(annotation, str):
            annotation = eval(annotation, dict(vars(sys.modules[owner.__module__])))  # noqa: S307 - vLLM's own source
        adapter = pydantic.TypeAdapter(annotation)
    except (NameError, pydantic.PydanticSchemaGenerationError):
        return value  # a type that pydantic cannot check, such as torch.dtype; vLLM reads the plain value
    try:
        return adapter.validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["engine_kwargs", field.name, *map(str, first["loc"])])
        raise EngineArgumentError(f"{place}: {first['msg']}") from error
