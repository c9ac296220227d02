"""What a model entry must allow by name: code beside the engine's own, and weights that are pickles."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

Permission = Literal["custom_code", "pickle"]

# Arguments of vLLM, transformers, sentence-transformers and diffusers that run code of the model's repository, or of a
# module or a file that they name, wherever in `engine_kwargs` they stand.
CODE = frozenset(
    {"trust_remote_code", "code_revision", "auto_map", "custom_pipeline", "custom_revision", "model_class_overrides",
     "logits_processors"}
)  # fmt: skip
CODE_ENDINGS = ("_cls", "_plugin", "_module_path")  # worker_cls, tool_parser_plugin, kv_connector_module_path, ...
CODE_VALUES = frozenset({("tokenizer_mode", "custom"), ("method", "custom_class")})
# They name a class where they hold a dotted name: my_package.Executor.
CODE_PATHS = frozenset({"backend", "distributed_executor_backend", "model", "spec_model"})
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
PICKLES = frozenset({("load_format", "pt"), ("load_format", "npcache"), ("use_safetensors", False)})
PICKLE_ENV = frozenset({"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "VLLM_ALLOW_INSECURE_SERIALIZATION"})
UNNAMED = ("auto", "default")  # instead of a class: the engine's own

MEANING: Mapping[Permission, str] = {
    "custom_code": "it runs code that is not the engine's, with all that the replica can reach. Read that code, then "
    "write `allow: [custom_code]` in the entry",
    "pickle": "it loads pickles, and a pickle runs code of whoever made it. Use safetensors, or where you trust the "
    "file's maker write `allow: [pickle]` in the entry",
}


def check_allowed(needs: Iterable[tuple[Permission, str]], allow: Collection[Permission]) -> None:
    """Raises ValueError for the first place that needs what the entry does not allow."""
    for permission, place in needs:
        if permission not in allow:
            raise ValueError(f"{place}: {MEANING[permission]}")


def needs_of(engine_kwargs: Mapping[str, Any]) -> Iterator[tuple[Permission, str]]:
    """What `engine_kwargs` need, and the place inside them that needs it."""
    for place, name, value in _values(engine_kwargs):
        if _runs_code(name, value):
            yield "custom_code", place
        elif isinstance(value, str | bool) and (name, value) in PICKLES:
            yield "pickle", place


def needs_of_env(env: Mapping[str, str]) -> Iterator[tuple[Permission, str]]:
    yield from (("pickle", name) for name in env if name in PICKLE_ENV)


def _runs_code(name: str, value: Any) -> bool:
    if name in CODE or name.endswith(CODE_ENDINGS):
        return bool(value) and value not in UNNAMED
    if not isinstance(value, str):
        return False
    return (name, value) in CODE_VALUES or (name in CODE_PATHS and DOTTED.fullmatch(value) is not None)


def _values(node: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value inside `node` that has a name: its place, its name, and the value."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            inner = f"{place}.{name}" if place else str(name)
            yield inner, str(name), value
            yield from _values(value, inner)
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _values(value, f"{place}[{number}]")
