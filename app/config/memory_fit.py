"""What a model needs of a GPU's memory, and whether its share of the GPU has it.

Only what is declared or read from files counts as known. What an engine works in beside its weights and its cache is an
allowance: only a run can measure it.
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from app.config.model_entry import ModelEntry
from app.config.model_files import Unknown, cache_bytes_per_token, folder_of, model_config, weights_bytes

GIB = 2**30
# vLLM's default, where an entry does not say how much of the GPU it may take.
VLLM_UTILIZATION = 0.92
# GiB for the CUDA context, activations and CUDA graphs, where an entry does not say.
WORKING_GIB = {"vllm": 2.0, "diffusers": 3.0}
USUAL_WORKING_GIB = 1.5
ONE_OF_SEVERAL_FILES = {"kokoro", "piper"}  # each loads one precision, or the voices that an entry names
FLOAT_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
READABLE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)")  # of vLLM: 25.6k is 25,600, 1K is 1,024


class Demand(NamedTuple):
    """What one replica needs of each of its GPUs, in GiB; None where it is not known."""

    weights: float | None
    sequence: float | None  # of the cache: one request as long as the model's context; 0 where there is no cache
    reserved: float | None  # of the cache, where the entry names its size; else vLLM takes what is left of its share
    working: float
    context: int  # tokens
    unknown: str = ""  # what is not known, and what to do

    @property
    def total(self) -> float | None:
        """With a cache for one request of the whole context, or as large as the entry names it."""
        cache = self.sequence if self.reserved is None else self.reserved
        return None if self.weights is None or cache is None else self.weights + cache + self.working


class Verdict(NamedTuple):
    """Whether a replica fits into its share of a GPU."""

    has: float  # GiB
    fits: bool | None  # None: not known
    reason: str


def demand(model: ModelEntry) -> Demand:
    """What a replica needs. Layers and heads are taken to be spread evenly over its GPUs."""
    gpus = max(1, math.ceil(model.resources.num_gpus))
    options, declared = model.engine_kwargs, model.memory
    working = declared.working_gib or WORKING_GIB.get(model.engine, USUAL_WORKING_GIB)
    unknown: dict[str, list[str]] = {}  # reason -> what would tell
    weights = declared.weights_gib
    if weights is None:
        try:
            weights = weights_bytes(_folder(model), _float_bytes(model), options.get("variant")) / GIB
        except Unknown as error:
            unknown.setdefault(str(error), []).append("memory.weights_gib")
    sequence, context = 0.0, 0
    if model.engine == "vllm":
        try:
            each, context = _cache(model)
            sequence = each * context / GIB
        except Unknown as error:
            unknown.setdefault(str(error), []).append("memory.kv_cache_bytes_per_token and engine_kwargs.max_model_len")
    reserved = options.get("kv_cache_memory_bytes") if model.engine == "vllm" else None
    return Demand(
        None if weights is None else weights / gpus,
        sequence / gpus if context or model.engine != "vllm" else None,
        None if reserved is None else _number(reserved) / GIB,
        working,
        context,
        "; ".join(f"{reason}, or give {' and '.join(fields)}" for reason, fields in unknown.items()),
    )


def verdict(model: ModelEntry, needed: Demand, gpu_gib: float) -> Verdict:
    """Whether `needed` fits into the model's share of a GPU with so much memory."""
    takes_the_rest = model.engine == "vllm" and needed.reserved is None
    share = min(1.0, model.resources.num_gpus)
    if takes_the_rest:
        share = float(model.engine_kwargs.get("gpu_memory_utilization", VLLM_UTILIZATION))
    has = share * gpu_gib
    total = needed.total
    if total is None or needed.sequence is None:
        return Verdict(has, None, "")
    if total > has:
        return Verdict(has, False, f"{total - has:.2f} GiB too much")
    cache = needed.sequence + has - total if takes_the_rest else needed.reserved or 0.0
    if not needed.sequence:
        return Verdict(has, True, "")
    tokens = int(cache / needed.sequence * needed.context)
    if cache < needed.sequence:
        return Verdict(has, False, f"its cache has {tokens:,} tokens, and one request may have {needed.context:,}")
    return Verdict(has, True, f"cache of {tokens:,} tokens, {cache / needed.sequence:.1f} x the context")


def _folder(model: ModelEntry) -> Path:
    options = model.engine_kwargs
    if model.engine in ONE_OF_SEVERAL_FILES:
        raise Unknown(f"the folder of a {model.engine} model has more than what is loaded")
    changed = [name for name in ("quantization", "load_format") if options.get(name)]
    changed += ["offload"] if options.get("offload", "none") != "none" else []
    changed += ["compute_type"] if options.get("compute_type", "default") not in ("default", "auto") else []
    if changed:  # the files say nothing of what is on the GPU then
        raise Unknown(f"engine_kwargs.{changed[0]} changes what is loaded")
    return folder_of(model.location(), model.revision)


def _float_bytes(model: ModelEntry) -> int | None:
    """Of a weight once it is loaded; None: as it was saved."""
    given = FLOAT_BYTES.get(str(model.engine_kwargs.get("dtype", "auto")).removeprefix("torch."))
    # On a GPU both load what was saved in four bytes in two.
    return given or (2 if model.engine in ("vllm", "diffusers") else None)


def _cache(model: ModelEntry) -> tuple[int, int]:
    """Bytes of the cache for one token, and the tokens of a context. Raises Unknown."""
    options, each = model.engine_kwargs, model.memory.kv_cache_bytes_per_token
    context = options.get("max_model_len")
    if each is None or context is None:
        config = model_config(folder_of(model.location(), model.revision))
        value = 1 if str(options.get("kv_cache_dtype", "auto")).startswith("fp8") else _float_bytes(model) or 2
        each = each or cache_bytes_per_token(config, value)
        context = context or config.get("max_position_embeddings")
    if not context or str(context) in ("-1", "auto"):
        raise Unknown("the length of its context is not said")
    return each, _number(context)


def _number(given: Any) -> int:
    """A number of vLLM's arguments, which may be written as 16k or 2G. Raises Unknown."""
    match = READABLE.fullmatch(str(given).strip())
    if match is None:
        raise Unknown(f"{given!r} is no number")
    unit = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[2].isupper() else 1000) ** unit)
