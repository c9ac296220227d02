"""What Ray reserves for each replica of a model, and whether its engine fits into that."""

import math
from typing import Any

import pydantic
from pydantic import Field

from contract.fields import Strict

# A label that Ray gives every node with accelerators. Autoscalers know it of nodes that do not run yet, where their
# group or node type declares it; of Ray's resource for an accelerator type KubeRay's know nothing.
ACCELERATOR_LABEL = "ray.io/accelerator-type"
# vLLM's arguments that multiply to the GPUs of one engine.
PARALLEL_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


class Resources(Strict):
    """What Ray reserves for each replica."""

    num_cpus: float = Field(1, ge=0)
    num_gpus: float = Field(0, ge=0, description="a whole number of GPUs, or a fraction of one")
    accelerator_type: str | None = Field(None, min_length=1, description="a Ray accelerator type, such as H100")
    accelerators: list[str] = Field([], description="instead of accelerator_type: several, in order of preference")

    @pydantic.field_validator("num_gpus")
    @classmethod
    def _whole_or_fraction(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"{value} is neither a whole number of GPUs nor a fraction of one")
        return value

    @pydantic.model_validator(mode="after")
    def _accelerators_make_sense(self) -> "Resources":
        if self.accelerators and self.accelerator_type is not None:
            raise ValueError("accelerator_type and accelerators are both given; keep one")
        if self.accelerator_types and not self.num_gpus:
            raise ValueError(f"{self.accelerator_types[0]} is given, and num_gpus is 0; set num_gpus too")
        return self

    @property
    def accelerator_types(self) -> list[str]:
        """Where a replica may run, best first; empty: anywhere."""
        return self.accelerators or ([self.accelerator_type] if self.accelerator_type is not None else [])

    def actor_options(self) -> dict[str, Any]:
        """The part of Serve's `ray_actor_options` that decides where a replica runs.

        The first accelerator is a condition on the node's label, the others are its fallbacks.
        """
        options: dict[str, Any] = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        selectors = [{"label_selector": {ACCELERATOR_LABEL: name}} for name in self.accelerator_types]
        if selectors:
            options |= selectors[0]
        if len(selectors) > 1:
            options["fallback_strategy"] = selectors[1:]
        return options

    def check_engine(self, engine: str, engine_kwargs: dict[str, Any], *, weights_known: bool = False) -> None:
        """Raises ValueError where the engine would take another number of GPUs, or more memory than its share.

        `weights_known` says whether the entry has the size of its weights, so that `portico check` adds up.
        """
        if engine == "vllm":
            self._check_parallel(engine_kwargs)
            if 0 < self.num_gpus < 1:
                self._check_memory(engine_kwargs, weights_known=weights_known)

    def _check_parallel(self, engine_kwargs: dict[str, Any]) -> None:
        sizes = {name: engine_kwargs[name] for name in PARALLEL_SIZES if isinstance(engine_kwargs.get(name), int)}
        needed = math.prod(sizes.values())
        if needed != max(1, math.ceil(self.num_gpus)):
            message = (
                " x ".join(f"{name} ({size})" for name, size in sizes.items()) or "an engine without parallel sizes"
            )
            raise ValueError(
                f"resources.num_gpus: {self.num_gpus:g} is reserved, and {message} takes {needed}. Set num_gpus to "
                f"{needed}" + ("" if needed > 1 else f", or engine_kwargs.tensor_parallel_size to {self.num_gpus:g}")
            )

    def _check_memory(self, engine_kwargs: dict[str, Any], *, weights_known: bool) -> None:
        share = engine_kwargs.get("gpu_memory_utilization")
        if share is None:
            raise ValueError(
                f"engine_kwargs.gpu_memory_utilization is missing: this model shares a GPU (num_gpus "
                f"{self.num_gpus:g}), and vLLM by itself takes nearly all of its memory. Give at most {self.num_gpus:g}"
            )
        if share > self.num_gpus:
            raise ValueError(
                f"engine_kwargs.gpu_memory_utilization: {share:g} of the GPU's memory is more than the share that is "
                f"reserved (num_gpus {self.num_gpus:g}), so the models on one GPU would not fit. Give at most "
                f"{self.num_gpus:g}, or raise num_gpus"
            )
        if engine_kwargs.get("kv_cache_memory_bytes") is not None and not weights_known:
            raise ValueError(
                "engine_kwargs.kv_cache_memory_bytes: with it vLLM no longer keeps to gpu_memory_utilization, and this "
                f"model shares a GPU (num_gpus {self.num_gpus:g}). Give memory.weights_gib too, so that `portico "
                "check` adds up whether it stays within its share; or remove it"
            )
