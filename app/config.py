"""The configuration: one typed model of what stands under `args` of an application in `serve_configs/*.yaml`.

A wrong file fails at once; the error names the field, what is wrong there and what is legal.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PROJECT_FOLDER = Path(__file__).resolve().parent.parent

# A model's id is also a deployment's name and a part of a path. These words are parts of the routes themselves.
MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
ROUTE_WORDS = frozenset({"chat", "responses", "embeddings", "images", "audio", "models", "completions"})

DOMAIN = r"^(\*\.)?[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}(:[0-9]{1,5})?$"

Capability = Literal["chat", "tools", "vision", "audio", "video", "reasoning"]
ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """The configuration is wrong. The message has one line per fault: the field, the fault, what is legal."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scaling(Strict):
    """How many replicas a model has and how much each takes. Requests beyond all of it are answered 503."""

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1
    target_ongoing_requests: PositiveFloat = Field(
        45, description="per replica; a replica is added where there are more. About 0.7 of the engine's max_num_seqs"
    )
    max_ongoing_requests: PositiveInt = Field(64, description="per replica, in the engine and waiting in it")
    max_queued_requests: PositiveInt = Field(128, description="waiting for a replica, per ingress replica")
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(300, ge=0)

    @pydantic.model_validator(mode="after")
    def _replicas_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is under min_replicas ({self.min_replicas})")
        return self


class Resources(Strict):
    """What Ray reserves for each replica."""

    num_cpus: float = Field(1, ge=0)
    num_gpus: float = Field(0, ge=0, description="a whole number of GPUs, or a fraction of one")
    accelerator_type: str | None = Field(None, description="a Ray accelerator type, such as H100")

    @pydantic.field_validator("num_gpus")
    @classmethod
    def _whole_or_fraction(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"{value} is neither a whole number of GPUs nor a fraction of one")
        return value


class ModelEntry(Strict):
    """One model: what clients call it, which engine runs it, and with what."""

    id: ModelId
    task: Literal["chat"]
    engine: Literal["vllm"]
    source: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="a hub name, an absolute folder, or a folder of the project that begins with ./"
    )
    scaling: Scaling = Scaling()
    resources: Resources = Resources()
    env: dict[str, str] = Field({}, description="environment variables of the replicas")
    engine_kwargs: dict[str, Any] = Field({}, description="arguments of `vllm serve`, with underscores")
    capabilities: dict[Capability, bool] = Field({}, description="instead of what is found in the model")
    chat_template_kwargs: list[str] = Field([], description="variables of the chat template that clients may set")

    @pydantic.field_validator("id")
    @classmethod
    def _not_a_route_word(cls, value: str) -> str:
        if value in ROUTE_WORDS:
            raise ValueError(f"{value!r} is a part of the routes; choose another id")
        return value

    def location(self) -> str:
        """`source` as an engine takes it: a hub name, or an absolute path."""
        return str(PROJECT_FOLDER / self.source) if self.source.startswith("./") else self.source


class KeyEntry(Strict):
    """One API key, known by its hash only."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{12}$")] = Field(description="the key's public id")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="of the whole key")
    name: str = ""
    models: list[ModelId] | None = Field(None, description="the models the key may use; left out: every model")


class Limits(Strict):
    """Bounds on one request."""

    max_body_bytes: PositiveInt = 32 * 1024 * 1024
    first_byte_timeout_s: PositiveFloat = 600
    ping_interval_s: PositiveFloat = 15


class InputImages(Strict):
    """Bounds on the images that chat and responses bring, and where from the gateway fetches those named by a URL."""

    allowed_domains: list[Annotated[str, StringConstraints(pattern=DOMAIN, to_lower=True)]] = Field(
        [],
        description="hosts, `*.` before one for all under it, `:port` after one for another port than 80 and 443; "
        "none: only data URLs",
    )
    allowed_networks: list[pydantic.IPvAnyNetwork] = Field(
        [], description="private networks where such hosts may be; every public address is legal anyhow"
    )
    fetch_timeout_s: PositiveFloat = 10
    max_per_request: PositiveInt = 32
    max_bytes: PositiveInt = 20 * 1024 * 1024
    max_pixels: PositiveInt = 50_000_000


class Ingress(Strict):
    """The gateway's own replicas. Their number is fixed; only models scale."""

    replicas: PositiveInt = 1
    num_cpus: float = Field(0.1, ge=0, description="what Ray reserves for each")
    max_ongoing_requests: PositiveInt = Field(1000, description="open requests and streams per replica")
    max_queued_requests: PositiveInt = Field(1000, description="per proxy, waiting for a replica")


class Config(Strict):
    """The whole configuration of an application."""

    models: Annotated[list[ModelEntry], Field(min_length=1)]
    keys: Annotated[list[KeyEntry], Field(min_length=1)]
    limits: Limits = Limits()
    input_images: InputImages = InputImages()
    ingress: Ingress = Ingress()

    @pydantic.model_validator(mode="after")
    def _names_are_unique_and_known(self) -> Self:
        for what, ids in (("models", [m.id for m in self.models]), ("keys", [k.id for k in self.keys])):
            if twice := sorted({one for one in ids if ids.count(one) > 1}):
                raise ValueError(f"{what}: the id {twice[0]!r} stands there twice; ids are unique")
        known = {model.id for model in self.models}
        for key in self.keys:
            if unknown := sorted(set(key.models or []) - known):
                raise ValueError(f"keys: {key.id} names the model {unknown[0]!r}, which is not in `models`")
        return self


def parse_config(args: dict[str, Any]) -> Config:
    """The configuration in `args`, checked. Raises ConfigError."""
    try:
        return Config.model_validate(args)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_fault(one) for one in error.errors())) from None


def read_serve_config(path: Path) -> tuple[dict[str, Any], Config]:
    """A whole Serve config file: its content, and the configuration of its one application. Raises ConfigError."""
    try:
        content = yaml.safe_load(path.read_text())
        applications = content["applications"]
        args = applications[0]["args"]
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except (KeyError, IndexError, TypeError):
        raise ConfigError(f"{path}: there is no `applications[0].args`") from None
    return content, parse_config(args)


def _fault(error: Any) -> str:
    place = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, error["loc"]))) or "args"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such field; check its spelling and its place"
    return f"{place}: {message}"
