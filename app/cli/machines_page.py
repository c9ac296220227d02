"""The tables of docs/machines.md, by the arithmetic of `portico check` and `portico serve MODEL`: `portico docs`."""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from app.commands.planned.entries import CONTEXT_ON_CPU, SPARE_GIB
from app.commands.planned.needs import ON_CPU_WORKING_GIB
from app.config.gpus import MEMORY_GIB
from app.config.memory_fit import demand, verdict
from app.config.model_entry import ModelEntry
from app.config.model_files import cache_bytes_per_token
from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER

PAGE = PROJECT_FOLDER / "docs" / "machines.md"
SMALL = PROJECT_FOLDER / "serve_configs" / "small.yaml"
GIB = 2**30
BFLOAT16, FLOAT32 = 2, 4  # bytes of a value


class Model(NamedTuple):
    """What a model's card and its config.json say."""

    name: str
    parameters: int
    layers: int
    kv_heads: int
    head_size: int = 128

    def weights_gib(self, value_bytes: int = BFLOAT16) -> float:
        return self.parameters * value_bytes / GIB

    def token_bytes(self, value_bytes: int = BFLOAT16) -> int:
        """Of the KV cache, for one token."""
        config = {
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.kv_heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
        }
        return cache_bytes_per_token(config, value_bytes)


ON_GPUS = (
    Model("Qwen3-4B-Instruct-2507", 4_022_468_096, 36, 8),
    Model("Llama-3.1-8B-Instruct", 8_030_261_248, 32, 8),
    Model("Qwen3-8B", 8_190_735_360, 36, 8),
    Model("Qwen3-Coder-30B-A3B-Instruct", 30_532_122_624, 48, 4),
    Model("Qwen3-32B", 32_762_123_264, 64, 8),
    Model("Llama-3.3-70B-Instruct", 70_553_706_496, 80, 8),
)
ON_CPUS = (
    Model("SmolLM2-135M-Instruct", 134_515_008, 30, 3, 64),
    Model("Qwen2.5-0.5B-Instruct", 494_032_768, 24, 2, 64),
    Model("Llama-3.2-1B-Instruct", 1_235_814_400, 16, 8, 64),
    Model("Llama-3.2-3B-Instruct", 3_212_749_824, 28, 8),
)
# How many, and of which: the column's head is what is on the box.
GPUS = {
    "16 GB (T4)": (1, "T4"),
    "24 GB (L4)": (1, "L4"),
    "48 GB (L40S)": (1, "L40S"),
    "80 GB (H100)": (1, "H100"),
    "2 x 80 GB": (2, "H100"),
    "4 x 80 GB": (4, "H100"),
}


def page() -> str:
    """The whole page, with its tables written anew."""
    text = PAGE.read_text()
    for name, lines in (("gpu", _gpu_table()), ("cpu", _cpu_table()), ("small", _small_table())):
        begin, end = f"<!-- {name}: from app/cli/machines_page.py -->\n", "<!-- end -->\n"
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        text, found = re.subn(f"{begin}.*?{end}", f"{begin}{table}{end}", text, count=1, flags=re.DOTALL)
        if not found:
            raise ValueError(f"{PAGE.name} has no lines {begin!r} and {end!r}")
    return text


def cached_tokens(model: Model, gpus: int, gpu: str) -> int | None:
    """Tokens that the cache has room for on so many GPUs of a type; None where the weights do not fit."""
    entry = entry_of(model, gpus)
    needed = demand(entry)
    has = verdict(entry, needed, MEMORY_GIB[gpu]).has
    left = has - needed.working - (needed.weights or 0.0)
    return int(left * GIB * gpus / model.token_bytes()) if left > 0 else None


def entry_of(model: Model, gpus: int) -> ModelEntry:
    """The model's entry, as `portico check` adds up for it."""
    given: dict[str, Any] = {"id": "model", "task": "chat", "engine": "vllm", "source": f"org/{model.name}"}
    given["resources"] = {"num_gpus": gpus}
    given["memory"] = {"weights_gib": model.weights_gib(), "kv_cache_bytes_per_token": model.token_bytes()}
    given["engine_kwargs"] = {"max_model_len": 1024, "tensor_parallel_size": gpus}
    return ModelEntry.model_validate(given)


def free_memory_gib(model: Model, value_bytes: int) -> float:
    """What must be free on CPUs for the model with one context of `portico serve MODEL`, and for all else there."""
    cache = CONTEXT_ON_CPU * model.token_bytes(value_bytes) / GIB
    return model.weights_gib(value_bytes) + cache + ON_CPU_WORKING_GIB["vllm"] + SPARE_GIB


def _gpu_table() -> Iterator[list[str]]:
    yield ["Model", "Weights, GiB", "1,000 tokens, GiB", *GPUS]
    yield ["---", *("---:" for _ in range(2 + len(GPUS)))]
    for model in ON_GPUS:
        thousand = 1000 * model.token_bytes() / GIB
        room = [cached_tokens(model, *gpus) for gpus in GPUS.values()]
        yield [model.name, f"{model.weights_gib():.1f}", f"{thousand:.2f}", *map(_thousands, room)]


def _small_table() -> Iterator[list[str]]:
    yield ["Model", "Task", "Weights, GiB", "In all, GiB"]
    yield ["---", "---", "---:", "---:"]
    _, config = read_serve_config(SMALL)
    for model in config.models:
        needed = demand(model)
        if model.resources.num_gpus and model.task != "chat" and needed.total is not None:
            yield [model.source.rpartition("/")[2], model.task, f"{needed.weights:.1f}", f"{needed.total:.1f}"]


def _thousands(tokens: int | None) -> str:
    """Rounded down."""
    return "-" if tokens is None or tokens < 1000 else f"{tokens // 1000:,}k"


def _cpu_table() -> Iterator[list[str]]:
    yield ["Model", "in float32, GiB free", "in bfloat16, GiB free"]
    yield ["---", "---:", "---:"]
    for model in ON_CPUS:
        needed = [free_memory_gib(model, value_bytes) for value_bytes in (FLOAT32, BFLOAT16)]
        yield [model.name, *(f"{math.ceil(10 * gib) / 10:.1f}" for gib in needed)]
