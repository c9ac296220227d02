"""How many replicas a model has, when their number changes, and how much each takes: the fields, and their defaults."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import Field

from contract.fields import PositiveFloat, PositiveInt, Strict
from contract.options.catalog import Task

Mode = Literal["active", "flex"]
T = TypeVar("T")


@dataclass(frozen=True)
class ModeDefaults:
    """The defaults of a mode."""

    min_replicas: int
    downscale_delay_s: float  # of less work than a replica less could do, before there is one less
    downscale_to_zero_delay_s: float | None  # without any request, before the last replica goes
    metrics_interval_s: float  # how often a gateway replica reports its requests to the autoscaler


@dataclass(frozen=True)
class TaskDefaults:
    """The defaults of a task. Each number is per replica, the queue's per gateway replica."""

    target_ongoing_requests: float
    max_ongoing_requests: int
    max_queued_requests: int


MODES: dict[Mode, ModeDefaults] = {
    "active": ModeDefaults(1, 600, None, 5),
    "flex": ModeDefaults(0, 120, 300, 1),
}
# Of chat the numbers are per sequence that the engine runs at once, `engine_kwargs.max_num_seqs`.
CHAT_PER_SEQUENCE = TaskDefaults(0.7, 2, 4)
VLLM_MAX_NUM_SEQS = 128  # the default; vLLM's own for an engine inside another program
TASKS: dict[Task, TaskDefaults] = {
    "embeddings": TaskDefaults(256, 512, 1024),
    "rerank": TaskDefaults(32, 64, 256),
    "images": TaskDefaults(4, 8, 32),
    "transcriptions": TaskDefaults(4, 8, 32),
    "speech": TaskDefaults(2, 4, 32),
}
# Percent of the replicas that an update starts before it stops old ones: all where only cores are needed, one replica
# (Serve rounds up) where a GPU is to spare, none where it may have to wait for one for ever.
SURGE_WITHOUT_GPUS, SURGE_BY_ONE, NO_SURGE = 100, 1, 0


class Scaling(Strict):
    """How many replicas a model has and how much each takes. Requests beyond all of it are answered 503.

    What is left out follows from the entry's mode and task.
    """

    min_replicas: int | None = Field(None, ge=0)
    max_replicas: PositiveInt = 1
    initial_replicas: PositiveInt | None = Field(
        None, description="started when the entry is new or changed, so that the model is verified once"
    )
    target_ongoing_requests: PositiveFloat | None = Field(
        None, description="per replica; a replica is added where there are more, running and waiting"
    )
    max_ongoing_requests: PositiveInt | None = Field(None, description="per replica, in the engine and waiting in it")
    max_queued_requests: PositiveInt | None = Field(
        None, description="waiting for a replica, per ingress replica; keys share the queue as they share the model"
    )
    kv_cache_target: float = Field(
        0.9, gt=0, le=1, description="share of vLLM's KV cache in use, over all replicas, beyond which one is added"
    )
    upscale_delay_s: float = Field(5, ge=0)
    downscale_delay_s: float | None = Field(None, ge=0)
    downscale_to_zero_delay_s: float | None = Field(
        None, ge=0, description="idle time after which a model of mode flex loses its last replica"
    )
    look_back_s: PositiveFloat = Field(10, description="span of time over which the autoscaler takes its means")
    wake_timeout_s: PositiveFloat | None = Field(
        None,
        description="how long a request waits for a model that is scaled up from zero, or has lost all replicas; left "
        "out: limits.wake_timeout_s",
    )
    drain_timeout_s: float = Field(
        600, ge=0, description="how long a replica that is to stop may finish its ongoing requests"
    )
    surge: int | None = Field(
        None,
        ge=0,
        le=100,
        description="percent of the replicas that an update starts before it stops old ones; left out: 100 without "
        "GPUs; with them one replica where the inventory has a GPU to spare, else 0",
    )


@dataclass(frozen=True)
class Scale:
    """A `Scaling` with nothing left out."""

    min_replicas: int
    max_replicas: int
    initial_replicas: int | None  # none: as many as there are, or the fewest
    target_ongoing_requests: float
    max_ongoing_requests: int
    max_queued_requests: int
    kv_cache_target: float
    upscale_delay_s: float
    downscale_delay_s: float
    downscale_to_zero_delay_s: float | None
    look_back_s: float
    metrics_interval_s: float
    drain_timeout_s: float
    surge: int | None  # none: it depends on what else runs in the cluster

    @property
    def is_fixed(self) -> bool:
        return self.min_replicas == self.max_replicas

    def surge_percent(self, *, has_room: bool) -> int:
        """`surge`, where it depends on whether one replica more has room beside all others."""
        return _or(self.surge, SURGE_BY_ONE if has_room else NO_SURGE)


def resolve(scaling: Scaling, mode: Mode, task: Task, engine_kwargs: dict[str, Any], num_gpus: float) -> Scale:
    """`scaling` with the defaults of its mode and its task. Raises ValueError for a contradiction."""
    usual, work = MODES[mode], _of_task(task, engine_kwargs)
    least = _or(scaling.min_replicas, usual.min_replicas)
    max_ongoing = _or(scaling.max_ongoing_requests, work.max_ongoing_requests)
    scale = Scale(
        min_replicas=least,
        max_replicas=scaling.max_replicas,
        # Serve goes back to this number at every change of the entry's numbers, so only what must have it has it.
        initial_replicas=scaling.initial_replicas if least or scaling.initial_replicas else 1,
        target_ongoing_requests=_or(
            scaling.target_ongoing_requests, min(work.target_ongoing_requests, float(max_ongoing))
        ),
        max_ongoing_requests=max_ongoing,
        max_queued_requests=_or(scaling.max_queued_requests, work.max_queued_requests),
        kv_cache_target=scaling.kv_cache_target,
        upscale_delay_s=scaling.upscale_delay_s,
        downscale_delay_s=_or(scaling.downscale_delay_s, usual.downscale_delay_s),
        downscale_to_zero_delay_s=_or(scaling.downscale_to_zero_delay_s, usual.downscale_to_zero_delay_s),
        look_back_s=scaling.look_back_s,
        metrics_interval_s=min(usual.metrics_interval_s, scaling.look_back_s / 2),
        drain_timeout_s=scaling.drain_timeout_s,
        surge=_or(scaling.surge, None if num_gpus else SURGE_WITHOUT_GPUS),
    )
    for fault in _contradictions(scale, scaling, mode):
        raise ValueError(f"scaling.{fault}")
    return scale


def _contradictions(scale: Scale, scaling: Scaling, mode: Mode) -> list[str]:
    faults = []
    if mode == "active" and scale.min_replicas == 0:
        faults.append("min_replicas: 0 contradicts mode active, which keeps at least 1. For 0, set `mode: flex`")
    if mode == "flex" and scale.min_replicas > 0:
        faults.append(
            f"min_replicas: {scale.min_replicas} contradicts mode flex, which goes to 0. Leave it out, or set "
            "`mode: active`"
        )
    if mode == "active" and scaling.downscale_to_zero_delay_s is not None:
        faults.append("downscale_to_zero_delay_s: mode active never goes to zero. Leave it out, or set `mode: flex`")
    if scale.max_replicas < scale.min_replicas:
        faults.append(f"max_replicas ({scale.max_replicas}) is under min_replicas ({scale.min_replicas})")
    elif not scale.min_replicas <= _or(scale.initial_replicas, scale.min_replicas) <= scale.max_replicas:
        faults.append(
            f"initial_replicas: {scale.initial_replicas} is not between min_replicas ({scale.min_replicas}) and "
            f"max_replicas ({scale.max_replicas})"
        )
    if scale.target_ongoing_requests > scale.max_ongoing_requests:
        faults.append(
            f"target_ongoing_requests: {scale.target_ongoing_requests:g} is over max_ongoing_requests "
            f"({scale.max_ongoing_requests}), so it is never reached. Lower it, or raise the other"
        )
    return faults


def _of_task(task: Task, engine_kwargs: dict[str, Any]) -> TaskDefaults:
    if task != "chat":
        return TASKS[task]
    given = engine_kwargs.get("max_num_seqs")
    sequences = given if isinstance(given, int) and given > 0 else VLLM_MAX_NUM_SEQS  # the engine refuses others
    per = CHAT_PER_SEQUENCE
    return TaskDefaults(
        max(1, math.floor(per.target_ongoing_requests * sequences)),
        per.max_ongoing_requests * sequences,
        per.max_queued_requests * sequences,
    )


def _or(given: T | None, default: T) -> T:
    return default if given is None else given
