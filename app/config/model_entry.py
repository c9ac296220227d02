"""One model of the configuration: what clients call it, which engine runs it, and with what."""

import hashlib
import os
from functools import cached_property
from typing import Annotated, Any, Literal, Self, cast, get_args

import orjson
import pydantic
from pydantic import Field, StringConstraints

from app.config.adapter_entry import AdapterEntry
from app.config.log import Logging
from app.config.memory import Memory
from app.config.prices import Prices
from app.config.resources import Resources
from app.config.routing import Routing
from app.config.scaling import Mode, Scale, Scaling, resolve
from contract.fields import Commit, ModelId, PositiveFloat, Strict
from contract.log_settings import OURS, VLLM, Level, LogSettings
from contract.options.catalog import CATALOG, EngineName, ServedModel, Task, check_options, engines_of
from contract.options.permissions import Permission, check_allowed, needs_of, needs_of_env
from contract.project import in_project, is_hub_name
from contract.protocol import ENDPOINT_ROUTES
from contract.speculation import ENGINE_ARGUMENTS, Drafting, Speculation, to_wire

# Parts of the routes themselves: as the id of a model, each would make a path mean two things.
ROUTE_WORDS = frozenset({path.split("/")[2] for path in ENDPOINT_ROUTES} | {"models", "usage", "v1"})

# Of every process with an engine; an entry's `env` may override it. No engine reports its use to anybody, and vLLM,
# which reads its bound when it is imported, takes as many stop sequences as any route's table does.
ENGINE_ENV = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_MAX_STOP_STRINGS": "16",
}

Capability = Literal[
    Task, "tools", "vision", "audio", "reasoning", "completions", "fill_in_the_middle", "tokenize", "translations",
    "edits", "masks", "variations",
]  # fmt: skip


class ModelEntry(Strict):
    """One model: what clients call it, which engine runs it, and with what."""

    id: ModelId
    task: Task
    engine: EngineName
    source: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="a hub name, an absolute folder, or a folder of the project that begins with ./"
    )
    revision: Commit | None = Field(None, description="the commit of a hub name, in 40 digits; a branch or a tag moves")
    allow: list[Permission] = Field(
        [],
        description="custom_code: run code of the model's repository, or of modules that `engine_kwargs` name; pickle: "
        "load weights that are not safetensors. Both let the author of the model run code in the replica",
    )
    mode: Mode = Field(
        "active", description="active: at least one replica, always; flex: none after five minutes without a request"
    )
    scaling: Scaling = Scaling()
    engine_stall_timeout_s: PositiveFloat | None = Field(
        None,
        description="an engine that has work and takes no step for so long hangs, and its replica is replaced; keep it "
        "over the longest step, such as a compiler's; left out: the engine's own, in docs/engines.md",
    )
    routing: Routing = Routing()
    resources: Resources = Resources()
    memory: Memory = Field(Memory(), description="for `portico check`; left out: read from files on this machine")
    env: dict[str, str] = Field(
        {}, description="environment variables of the replicas; in LD_LIBRARY_PATH, ./ begins a folder of the project"
    )
    packages: list[Annotated[str, StringConstraints(pattern=r"^\.?/[^:]+$")]] = Field(
        [],
        description="folders of packages, absolute or beginning with ./, that the replicas prefer to the common ones",
    )
    engine_kwargs: dict[str, Any] = Field(
        {}, description="the engine's own options; those of vllm are the arguments of `vllm serve`, with underscores"
    )
    speculation: Speculation = Field(
        "off", description="off, auto, or a method with its options; for vllm's chat models"
    )
    adapters: list[AdapterEntry] = Field(
        [],
        description="LoRA adapters, each a model of its own to clients; for vllm's chat models with "
        "`engine_kwargs.enable_lora: true`. A change of them restarts nothing",
    )
    capabilities: dict[Capability, bool] = Field({}, description="instead of what is found in the model")
    chat_template_kwargs: list[str] = Field([], description="variables of the chat template that clients may set")
    prices: Prices = Prices()
    log_level: Level | None = Field(
        None,
        description="of the replicas and of vLLM in them; left out: `logging.level` of the configuration, and for vLLM "
        "VLLM_LOGGING_LEVEL where `env` has it. A change restarts nothing; vLLM's own processes take it at their next "
        "start. No level writes prompts or answers",
    )

    @pydantic.model_validator(mode="after")
    def _engine_has_the_task(self) -> Self:
        able = engines_of(self.task)
        if self.engine not in able:
            raise ValueError(f"{self.engine} does not do the task {self.task}; {' or '.join(able)} does")
        return self

    @pydantic.model_validator(mode="after")
    def _speculation_has_its_place(self) -> Self:
        if self.speculation == "off":
            return self
        if (self.engine, self.task) != ("vllm", "chat"):
            raise ValueError(
                f"speculation: only chat models of vllm speculate, and {self.id} is for {self.task} on {self.engine}; "
                "remove it"
            )
        if twice := sorted(ENGINE_ARGUMENTS & set(self.engine_kwargs)):
            raise ValueError(
                f"speculation: engine_kwargs.{twice[0]} is set too; keep one of them. `speculation` is checked before "
                "the start, the other is vLLM's own and knows more methods"
            )
        return self

    @pydantic.field_validator("env")
    @classmethod
    def _variables_are_allowed(cls, value: dict[str, str], info: pydantic.ValidationInfo) -> dict[str, str]:
        check_allowed(needs_of_env(value), info.data.get("allow", ()))
        return value

    @pydantic.field_validator("engine_kwargs")
    @classmethod
    def _options_are_legal(cls, value: dict[str, Any], info: pydantic.ValidationInfo) -> dict[str, Any]:
        check_allowed(needs_of(value), info.data.get("allow", ()))
        if "engine" in info.data:  # it is not where the name itself is wrong
            check_options(info.data["engine"], value)
        return value

    @pydantic.field_validator("id")
    @classmethod
    def _not_a_route_word(cls, value: str) -> str:
        _refuse_route_word(value)
        return value

    @pydantic.field_validator("adapters")
    @classmethod
    def _adapters_are_no_route_words(cls, value: list[AdapterEntry]) -> list[AdapterEntry]:
        for adapter in value:
            _refuse_route_word(adapter.id)
        return value

    @pydantic.model_validator(mode="after")
    def _adapters_have_their_place(self) -> Self:
        if not self.adapters:
            return self
        if (self.engine, self.task) != ("vllm", "chat"):
            raise ValueError(
                f"adapters: only chat models of vllm have them, and {self.id} is for {self.task} on {self.engine}; "
                "remove them"
            )
        if not self.takes_adapters:
            raise ValueError(
                "adapters: they need `engine_kwargs.enable_lora: true`, with which the replicas start. max_loras, "
                "max_cpu_loras and max_lora_rank beside it bound how many are resident and how large they are"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _revision_is_of_a_hub_name(self) -> Self:
        if self.revision is not None and not self.is_from_the_hub():
            raise ValueError(f"revision: {self.source} is no hub name, so nothing has that commit; remove it")
        if "revision" in self.engine_kwargs:
            raise ValueError("engine_kwargs.revision: write `revision` in the entry itself, as a commit of 40 digits")
        return self

    @pydantic.model_validator(mode="after")
    def _what_may_run_code_is_allowed(self) -> Self:
        check_allowed([(need, self.engine) for need in CATALOG[self.engine].needs], self.allow)
        if self.allow and self.is_from_the_hub() and self.revision is None:
            raise ValueError(
                f"allow: {self.source} comes from the hub, so pin `revision` to the commit that you trust; "
                "without it the author can change what runs here at any time"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        known = self.memory.weights_gib is not None
        self.resources.check_engine(self.engine, self.engine_kwargs, weights_known=known)
        if self.routing.policy == "prefix" and self.task != "chat":
            raise ValueError(f"routing.policy: prefix is for the task chat, and this is {self.task}")
        _ = self.scale
        return self

    @cached_property
    def scale(self) -> Scale:
        """`scaling`, with the defaults of the mode and the task."""
        return resolve(self.scaling, self.mode, self.task, self.engine_kwargs, self.resources.num_gpus)

    @cached_property
    def identity(self) -> str:
        """A digest of what the replicas run. Where it changes, they are others, and so may be what they can do."""
        parts = (*self.served(), self.environment())
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()

    def served(self) -> ServedModel:
        """The entry as its replicas get it."""
        return ServedModel(
            self.id,
            self.engine,
            self.task,
            self.location(),
            self.engine_kwargs,
            to_wire(self.speculation),
            self.revision,
            tuple(sorted(self.allow)),
            self.stall_timeout_s,
        )

    def log_settings(self, common: Logging) -> LogSettings:
        """Of the replicas; no part of their identity."""
        level = self.log_level or common.level
        levels: dict[str, Level] = {OURS: level}
        if self.engine == "vllm":
            own = self.env.get("VLLM_LOGGING_LEVEL", "").lower()
            levels[VLLM] = cast("Level", own) if self.log_level is None and own in get_args(Level) else level
        return LogSettings(common.format, levels)

    @property
    def stall_timeout_s(self) -> float:
        """`engine_stall_timeout_s`, or the engine's default."""
        return self.engine_stall_timeout_s or CATALOG[self.engine].stall_timeout_s

    @property
    def takes_adapters(self) -> bool:
        """Whether its replicas can load LoRA adapters."""
        return self.engine == "vllm" and self.engine_kwargs.get("enable_lora") is True

    @property
    def routed_by(self) -> tuple[Routing, bool]:
        """What decides how a handle chooses a replica."""
        return self.routing, self.takes_adapters

    def environment(self) -> dict[str, str]:
        """The environment variables of the model's replicas."""
        path = [*map(in_project, self.packages), *filter(None, [self.env.get("PYTHONPATH")])]
        libraries = map(in_project, filter(None, self.env.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
        paths = {"PYTHONPATH": os.pathsep.join(path), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
        return ENGINE_ENV | self.env | {name: value for name, value in paths.items() if value}

    def is_from_the_hub(self) -> bool:
        """Whether `source` is a name on the hub, where its content may change."""
        return CATALOG[self.engine].downloads and is_hub_name(self.source)

    def hub_names(self) -> list[tuple[str, str | None]]:
        """What the entry names on the hub, each with its commit: one repository may be there at several."""
        named = [(self.source, self.revision)] if self.is_from_the_hub() else []
        if isinstance(self.speculation, Drafting) and self.speculation.model is not None:
            named.append((self.speculation.model, self.speculation.revision))
        checker = self.engine_kwargs.get("safety_checker")
        if isinstance(checker, str):
            named.append((checker, self.engine_kwargs.get("safety_checker_revision")))
        named += [(adapter.source, adapter.revision) for adapter in self.adapters]
        return [(name, commit) for name, commit in dict.fromkeys(named) if is_hub_name(name)]

    def unpinned(self) -> list[str]:
        """Hub names of the entry that have no commit: whoever owns them can change what is served."""
        return [name for name, commit in self.hub_names() if commit is None]

    def location(self) -> str:
        """`source` as an engine takes it: a hub name, or an absolute path."""
        return in_project(self.source)


def _refuse_route_word(model_id: str) -> None:
    if model_id in ROUTE_WORDS:
        raise ValueError(f"{model_id!r} is a part of the routes; choose another id")
