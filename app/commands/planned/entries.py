"""Model entries for named models: where each runs on this machine, and how much it takes there."""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

from app.commands.planned.kind import Kind
from app.commands.planned.machine import GIB, Machine
from app.commands.planned.needs import Needs, needs_of
from app.commands.planned.source import Source
from app.config.memory_fit import VLLM_UTILIZATION
from contract.fields import ConfigError

ON_CPU_ALWAYS = {"espeak-ng", "piper", "kokoro"}
CONTEXT_ON_GPU, CONTEXT_SHARED, CONTEXT_ON_CPU = 32768, 8192, 4096  # tokens at the most
LEAST_CONTEXT = 1024
CONVERSATIONS = 4  # whole contexts that a cache on CPUs or on a shared GPU has room for, where there is memory
SPARE_GIB = 1.0  # of memory, for all else on this machine
SHARED = 0.95  # of a GPU's memory that models share; the rest is what the driver takes for each
VLLM_ON_CPU_ENV = {
    "NUMBA_NUM_THREADS": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
QUIET_ENV = {"PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}


class Place(NamedTuple):
    """Where a model runs, and with how much."""

    gpus: float = 0  # a number of them, or a part of one; 0: on CPUs
    context: int = 0  # tokens
    cache_bytes: int | None = None  # of a fixed size; None: vLLM takes what is left of its GPU


class Planned(NamedTuple):
    """One model, and what is planned for it."""

    source: Source
    kind: Kind
    needs: Needs
    place: Place


def plan(models: list[tuple[Source, Kind]], machine: Machine) -> list[Planned]:
    """Where each of the models runs. Raises ConfigError where they do not fit, with the sum."""
    on_gpu = [(source, kind) for source, kind in models if machine.gpus and kind.engine not in ON_CPU_ALWAYS]
    rest = [(source, kind) for source, kind in models if (source, kind) not in on_gpu]
    found: dict[str, Planned] = {}
    if on_gpu:
        sized = [(source, kind, _needs(source, kind, machine, on_gpu=True)) for source, kind in on_gpu]
        whole = len(sized) <= len(machine.gpus)
        for one in _alone(sized, machine) if whole else _shared(sized, machine):
            found[one.source.id] = one
    sized = [(source, kind, _needs(source, kind, machine, on_gpu=False)) for source, kind in rest]
    found |= {one.source.id: one for one in _on_cpus(sized, machine)}
    return [found[source.id] for source, _ in models]


Sized = list[tuple[Source, Kind, Needs]]


def _needs(source: Source, kind: Kind, machine: Machine, *, on_gpu: bool) -> Needs:
    halves = kind.engine in ("vllm", "diffusers") if on_gpu else kind.engine == "vllm" and machine.fast_bfloat16
    wide = kind.engine == "vllm" and not on_gpu and not machine.fast_bfloat16
    return needs_of(source, kind, float_bytes=2 if halves else 4 if wide else None, on_gpu=on_gpu)


def _alone(models: Sized, machine: Machine) -> list[Planned]:
    """Each has a GPU of its own, or the fewest that it fits on."""
    spare, found = len(machine.gpus) - len(models), []
    for source, kind, needs in models:
        for count in (2**power for power in range((1 + spare).bit_length())):
            cache = count * (VLLM_UTILIZATION * machine.gpu_memory - needs.working_gib) - needs.weights_gib
            parallel = count == 1 or (kind.engine == "vllm" and needs.heads % count == 0)
            context = _context(needs, cache, CONTEXT_ON_GPU) if kind.engine == "vllm" else 0
            if parallel and cache > 0 and (kind.engine != "vllm" or context):
                spare -= count - 1
                found.append(Planned(source, kind, needs, Place(count, context)))
                break
        else:
            raise _too_large([(source, kind, needs)], f"{1 + spare} x {machine.gpu_memory:.1f} GiB of GPU")
    return found


def _context(needs: Needs, cache_gib: float, most: int) -> int:
    """Tokens of the longest context that a cache has room for; 0 where that is too short to be of use."""
    if needs.token_bytes is None:
        return min(needs.context, CONTEXT_SHARED)
    context = min(needs.context, most, int(cache_gib * GIB / needs.token_bytes))
    return context if context >= min(LEAST_CONTEXT, needs.context) else 0


def _shared(models: Sized, machine: Machine) -> list[Planned]:
    """All on one GPU. Caches have fixed sizes: else each model would take what others load for its own."""
    memory = SHARED * machine.gpu_memory
    places = _divided(models, memory, CONTEXT_SHARED, "of the GPU that they would share")
    found = []
    for (source, kind, needs), place in zip(models, places, strict=True):
        total = needs.weights_gib + needs.working_gib + (place.cache_bytes or 0) / GIB
        share = math.ceil(100 * total / machine.gpu_memory) / 100
        found.append(Planned(source, kind, needs, place._replace(gpus=share)))
    return found


def _on_cpus(models: Sized, machine: Machine) -> list[Planned]:
    places = _divided(models, machine.free_memory - SPARE_GIB, CONTEXT_ON_CPU, "of memory that is free for models")
    return [Planned(*model, place) for model, place in zip(models, places, strict=True)]


def _divided(models: Sized, memory: float, most: int, what: str) -> list[Place]:
    """Caches for models that share so much memory, in GiB. Raises ConfigError."""
    left = memory - sum(needs.weights_gib + needs.working_gib for _, _, needs in models)
    caching = [needs for _, kind, needs in models if kind.engine == "vllm"]
    if left < 0 and models:
        raise _too_large(models, f"{memory:.1f} GiB {what}")
    places = []
    for source, kind, needs in models:
        if kind.engine != "vllm":
            places.append(Place())
            continue
        if needs.token_bytes is None:
            raise ConfigError(
                f"{source.name}: what its cache takes is not known, so it can only have a GPU to itself. Serve it "
                "alone on one, or write an entry for it"
            )
        cache = left / len(caching)
        context = _context(needs, cache, most)
        if not context:
            raise _too_large(models, f"{memory:.1f} GiB {what}")
        places.append(Place(0, context, min(int(cache * GIB), CONVERSATIONS * context * needs.token_bytes)))
    return places


def _too_large(models: Sized, has: str) -> ConfigError:
    sums = ", ".join(f"{source.id} {needs.weights_gib + needs.working_gib:.1f} GiB" for source, _, needs in models)
    return ConfigError(
        f"The models do not fit: {sums}, each with what it works in, and a cache; there are {has}. Name smaller or "
        "quantized ones, or fewer"
    )


def entry(planned: Planned, machine: Machine, models: int) -> dict[str, Any]:
    """The model entry of one of so many models."""
    source, kind, needs, place = planned
    made: dict[str, Any] = {"id": source.id, "task": kind.task, "engine": kind.engine, "source": source.name}
    if source.revision:
        made["revision"] = source.revision
    cpus = max(0.1, min(1.0, math.floor(100 * (machine.cores - 0.5) / models) / 100))
    made["resources"] = {"num_cpus": cpus} | ({"num_gpus": place.gpus} if place.gpus else {})
    if place.gpus and kind.engine == "vllm":
        cache = {} if needs.token_bytes is None else {"kv_cache_bytes_per_token": needs.token_bytes}
        made["memory"] = {"weights_gib": round(needs.weights_gib, 2), "working_gib": needs.working_gib} | cache
    made["env"] = _environment(planned, machine)
    made["engine_kwargs"] = _vllm(planned, machine) if kind.engine == "vllm" else _others(planned, machine)
    if kind.engine == "qwen3-tts":
        made["packages"] = [_packages("qwen-tts")]
    return {name: value for name, value in made.items() if value != {}}


def _environment(planned: Planned, machine: Machine) -> dict[str, str]:
    kind, made = planned.kind, {}
    if planned.source.folder is not None and planned.source.revision is None:
        made["HF_HUB_OFFLINE"] = "1"
    if not planned.place.gpus and kind.engine != "espeak-ng":
        made |= {"OMP_NUM_THREADS": str(machine.cores)} | QUIET_ENV
        made |= VLLM_ON_CPU_ENV if kind.engine == "vllm" else {}
    if planned.place.gpus and kind.engine == "faster-whisper":  # it is built for CUDA 12
        folder = Path(sys.prefix) / "cuda12" / "nvidia"
        made["LD_LIBRARY_PATH"] = f"{folder}/cublas/lib:{folder}/cudnn/lib"
    return made


def _vllm(planned: Planned, machine: Machine) -> dict[str, Any]:
    kind, place = planned.kind, planned.place
    made: dict[str, Any] = {"max_model_len": place.context}
    if not place.gpus:
        made |= {"dtype": "bfloat16" if machine.fast_bfloat16 else "float32", "enforce_eager": True, "max_num_seqs": 16}
    elif not machine.gpu_bfloat16:
        made["dtype"] = "half"
    if place.gpus > 1:
        made |= {"tensor_parallel_size": int(place.gpus), "distributed_executor_backend": "mp"}
    if 0 < place.gpus < 1:
        made["gpu_memory_utilization"] = place.gpus
    if place.cache_bytes is not None:
        made["kv_cache_memory_bytes"] = place.cache_bytes
    if kind.task == "chat":
        made["structured_outputs_config"] = {"backend": "xgrammar", "disable_any_whitespace": True}
    if kind.tool_parser:
        made |= {"enable_auto_tool_choice": True, "tool_call_parser": kind.tool_parser}
    if kind.reasoning_parser:
        made["reasoning_parser"] = kind.reasoning_parser
    return made


def _others(planned: Planned, machine: Machine) -> dict[str, Any]:
    on_gpu = bool(planned.place.gpus)
    half = "bfloat16" if machine.gpu_bfloat16 else "float16"
    match planned.kind.engine:
        case "faster-whisper":
            return {"device": "cuda", "compute_type": "float16"} if on_gpu else {
                "device": "cpu", "compute_type": "int8", "cpu_threads": machine.cores,
            }  # fmt: skip
        case "diffusers":
            return {"device": "cuda", "dtype": half} if on_gpu else {"device": "cpu"}
        case "piper" | "kokoro":
            return {"device": "cpu", "threads": min(2, machine.cores)}
        case "espeak-ng":
            return {}
        case _:
            return {"device": "cuda" if on_gpu else "cpu"}


def _packages(name: str) -> str:
    """The folder of an engine's own packages. Raises ConfigError."""
    folder = Path(sys.prefix) / name
    if not folder.is_dir():
        raise ConfigError(f"This engine has packages of its own, which are not installed: `make {name}` installs them")
    return str(folder)
