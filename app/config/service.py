"""The configuration: one typed model of what is under `args` of an application in `serve_configs/*.yaml`.

A wrong file fails at once; the error names the field, what is wrong there and what is legal.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import pydantic
import yaml
from pydantic import Field, StringConstraints

from app.config.audit import Audit, beside
from app.config.inventory import Cluster, Need, check_fit, has_room
from app.config.limits import Fairness, InputAudio, InputImages, KeptImages, Limits
from app.config.log import Logging
from app.config.model_entry import ModelEntry
from app.config.team import Team
from app.config.tracing import Tracing
from app.config.usage import USAGE_PATH, UsageSettings
from app.keys.entry import KeyEntry
from app.keys.local import is_local
from app.tokens.issuer import TokenIssuer
from contract.fields import ConfigError, PositiveInt, Strict, explain, refuse_twice
from contract.project import in_project
from contract.protocol import ENDPOINT_ROUTES

# Of a Serve config file, beside `args`: so that updates leave the autoscaling of other models alone.
APPLICATION_POLICY = "app.autoscaling:ApplicationPolicy"
MAY_BE_DISABLED = (*ENDPOINT_ROUTES, USAGE_PATH)
ORIGIN = r"^(\*|https?://[A-Za-z0-9.\-\[\]:]{1,255})$"


class BudgetSettings(Strict):
    """The shared account of all keys' budgets. A single ingress replica keeps it by itself."""

    snapshot: str | None = Field(
        None,
        description="where the shared account is written each second, as a path or a URL that fsspec knows; left out: "
        "a file in the folder for temporary files",
    )
    shards: int | None = Field(
        None,
        ge=1,
        le=100,
        description="actors over which the accounts are spread; left out: one for every 50 ingress replicas or fewer",
    )


class Ingress(Strict):
    """The gateway's own replicas. Their number is fixed; only models scale."""

    replicas: PositiveInt = 1
    num_cpus: float = Field(0.1, ge=0, description="what Ray reserves for each")
    label_selector: dict[str, str] = Field(
        {}, description="labels of the nodes where they may run; empty: any node that has room"
    )
    carrier: Literal["connections", "handle"] = Field(
        "connections",
        description="what carries requests to the models' replicas and their answers back: connections of its own, for "
        "which each replica opens a port on its node's address, or Serve's handle, at several times the CPU. Where Ray "
        "encrypts its connections (RAY_USE_TLS=1) it is the handle",
    )
    max_ongoing_requests: PositiveInt = Field(
        1000, description="open requests and streams per replica; of these one key gets 80 % at the most"
    )
    max_queued_requests: PositiveInt = Field(1000, description="per proxy, waiting for a replica")
    drain_timeout_s: float = Field(
        600, ge=0, description="how long a replica that is to stop may finish its ongoing requests"
    )


class Console(Strict):
    """The pages for people."""

    enabled: bool = Field(
        True, description="the page at /, what it shows of models and keys, and the reference at /docs"
    )


class Admin(Strict):
    """The routes for operators."""

    enabled: bool = Field(
        False, description="the routes under /admin, for keys with `scopes: [admin]`: they make and revoke keys"
    )


class Routes(Strict):
    """Which routes there are, of those that models answer and that of a key's usage."""

    disabled: list[str] = Field(
        [], description=f"routes that nobody may use, in the documentation neither: any of {', '.join(MAY_BE_DISABLED)}"
    )

    @pydantic.field_validator("disabled")
    @classmethod
    def _are_known(cls, value: list[str]) -> list[str]:
        refuse_twice(value)
        if unknown := [path for path in value if path not in MAY_BE_DISABLED]:
            legal = ", ".join(MAY_BE_DISABLED)
            raise ValueError(f"{unknown[0]!r} is no route that can be disabled. Those are: {legal}")
        return value

    def offered(self) -> list[str]:
        """All others."""
        return [path for path in ENDPOINT_ROUTES if path not in self.disabled]


class Cors(Strict):
    """Pages of other origins that may call this service from a browser."""

    allowed_origins: list[Annotated[str, StringConstraints(pattern=ORIGIN, to_lower=True)]] = Field(
        [],
        description="such as https://app.example.com, without a path; '*': every one; none: browsers let no page of "
        "another origin read an answer",
    )


class KeyFault(NamedTuple):
    """A field of a key that does not fit the configuration."""

    field: str
    message: str


class Config(Strict):
    """The whole configuration of an application."""

    models: Annotated[list[ModelEntry], Field(min_length=1)]
    start_first: list[str] = Field(
        [],
        description="ids of models that `portico serve` starts before all others; it is ready when they are. "
        "Empty: all at once, as `serve run` and `serve deploy` start them anyhow",
    )
    keys: list[KeyEntry] = Field([], description="keys that change with the configuration only")
    key_file: str | None = Field(
        None, description="an absolute path, or one in the project that begins with ./; followed while the service runs"
    )
    token_issuers: list[TokenIssuer] = Field(
        [], description="whose bearer tokens (JWT) are good beside keys, as those of an OpenID provider"
    )
    teams: list[Team] = Field([], description="keys name theirs; what a team may use, its keys share")
    limits: Limits = Limits()
    fairness: Fairness = Fairness()
    input_images: InputImages = InputImages()
    input_audio: InputAudio = InputAudio()
    kept_images: KeptImages = KeptImages()
    budgets: BudgetSettings = BudgetSettings()
    usage: UsageSettings = UsageSettings()
    ingress: Ingress = Ingress()
    routes: Routes = Routes()
    console: Console = Console()
    admin: Admin = Admin()
    cors: Cors = Cors()
    logging: Logging = Logging()
    audit: Audit = Audit()
    tracing: Tracing = Tracing()
    cluster: Cluster = Cluster()

    @pydantic.field_validator("key_file")
    @classmethod
    def _same_for_every_process(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("/", "./")):
            raise ValueError(f"{value!r} is neither an absolute path nor one in the project that begins with ./")
        return value

    @pydantic.field_validator("models")
    @classmethod
    def _model_ids_are_unique(cls, entries: list[ModelEntry]) -> list[ModelEntry]:
        refuse_twice(_ids(entries))
        return entries

    @pydantic.field_validator("keys")
    @classmethod
    def _key_ids_are_unique(cls, entries: list[KeyEntry]) -> list[KeyEntry]:
        refuse_twice(entry.id for entry in entries)
        if any(is_local(entry) and entry.scopes for entry in entries):
            raise ValueError(
                "the local key is public, so it can have no `scopes`; make a key with `portico keys create`"
            )
        return entries

    @pydantic.field_validator("token_issuers")
    @classmethod
    def _token_issuers_are_unique(cls, entries: list[TokenIssuer]) -> list[TokenIssuer]:
        refuse_twice(entry.issuer for entry in entries)
        return entries

    @pydantic.field_validator("teams")
    @classmethod
    def _team_ids_are_unique(cls, teams: list[Team]) -> list[Team]:
        refuse_twice(team.id for team in teams)
        return teams

    @pydantic.model_validator(mode="after")
    def _pipelines_are_known(self) -> Self:
        known = set(self.model_ids())
        for issuer in self.token_issuers:
            for number, rule in enumerate(issuer.rules):
                if unknown := sorted(set(rule.pipelines or []) - known):
                    raise ValueError(
                        f"token_issuers: rules[{number}] of {issuer.issuer} names the model {unknown[0]!r}, which is "
                        "not in `models`"
                    )
        for key in self.keys:
            if unknown := sorted(set(key.pipelines or []) - known):
                raise ValueError(f"keys: {key.id} names the model {unknown[0]!r}, which is not in `models`")
        for team in self.teams:
            if unknown := sorted(set(team.pipelines or []) - known):
                raise ValueError(f"teams: {team.id} names the model {unknown[0]!r}, which is not in `models`")
        return self

    @pydantic.model_validator(mode="after")
    def _teams_are_known(self) -> Self:
        known = {team.id for team in self.teams}
        named = [(f"keys: {key.id}", key.team) for key in self.keys]
        named += [
            (f"token_issuers: a rule of {one.issuer}", rule.team) for one in self.token_issuers for rule in one.rules
        ]
        for who, team in named:
            if team is not None and team not in known:
                raise ValueError(f"{who} names the team {team!r}, which is not in `teams`")
        return self

    @pydantic.model_validator(mode="after")
    def _months_are_kept(self) -> Self:
        if self.budgets.snapshot is None and any(team.monthly.is_limited() for team in self.teams):
            raise ValueError(
                "budgets.snapshot: teams have monthly quotas, so it must name a place that outlives the cluster, such "
                "as s3://bucket/budgets.json or /var/lib/portico/budgets.json; what a month has used is kept beside it"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _those_first_are_known(self) -> Self:
        known = [model.id for model in self.models]
        if unknown := [one for one in self.start_first if one not in known]:
            raise ValueError(f"start_first: {unknown[0]!r} is not in `models`. Those are: {', '.join(known)}")
        return self

    @pydantic.model_validator(mode="after")
    def _there_are_keys(self) -> Self:
        if not self.keys and self.key_file is None and not self.token_issuers:
            raise ValueError(
                "keys: there are none, and neither `key_file` nor `token_issuers` is there; one of them must be"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _replicas_share_images(self) -> Self:
        kept = self.kept_images
        alone = self.ingress.replicas == 1 or all(model.task != "images" for model in self.models)
        if not alone and (kept.location is None or kept.secret_file is None):
            raise ValueError(
                "kept_images: several ingress replicas serve images by URL, so `location` and `secret_file` must name "
                "what all of them can read, such as s3://bucket/images and a secret that every node has"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _models_fit_the_cluster(self) -> Self:
        check_fit(self.cluster, [_need(model, model.scale.min_replicas) for model in self.models])
        return self

    def model_ids(self) -> list[str]:
        """What clients may call: each model, and behind it its adapters."""
        return list(_ids(self.models))

    @property
    def keeps_usage(self) -> bool:
        """Whether there is a usage ledger. Several replicas may run on several nodes, which share no SQLite file."""
        return self.usage.enabled and (self.usage.names_a_place or self.ingress.replicas == 1)

    def disabled_routes(self) -> list[str]:
        """Paths of routes that nobody may use."""
        return [*self.routes.disabled, *([] if self.keeps_usage else [USAGE_PATH])]

    def has_room_for_one_more(self, model: ModelEntry) -> bool:
        """Whether one replica of `model` more fits into the cluster when all models have as many as they may."""
        return has_room(self.cluster, [_need(one, one.scale.max_replicas) for one in self.models], model.id)

    def wake_timeouts_s(self) -> dict[str, float]:
        """How long a request waits for each model that may sleep."""
        return {model.id: self._wake_timeout_s(model) for model in self.models if model.scale.min_replicas == 0}

    def absence_timeouts_s(self) -> dict[str, float]:
        """How long requests wait for a replica of each model that never sleeps, where it has lost all it had."""
        return {model.id: self._wake_timeout_s(model) for model in self.models if model.scale.min_replicas > 0}

    def _wake_timeout_s(self, model: ModelEntry) -> float:
        return model.scaling.wake_timeout_s or self.limits.wake_timeout_s

    def audit_path(self) -> Path | None:
        """Where commands write down what they change; None: neither the place nor a key file is named."""
        key_file = self.key_path()
        return self.audit.path() or (beside(key_file) if key_file else None)

    def fault_of_key(self, facts: dict[str, Any]) -> KeyFault | None:
        """The first of the fields of a key, in `facts`, that names what is not here."""
        models, teams = self.model_ids(), [team.id for team in self.teams]
        if unknown := [one for one in facts.get("pipelines") or () if one not in models]:
            return KeyFault("pipelines", f"There is no model `{unknown[0]}`. There are: {', '.join(models)}.")
        if (team := facts.get("team")) is not None and team not in teams:
            return KeyFault("team", f"There is no team `{team}`. There are: {', '.join(teams) or 'none'}.")
        return None

    def key_path(self) -> Path | None:
        """Where the key file is."""
        return None if self.key_file is None else Path(in_project(self.key_file))


def _ids(models: Iterable[ModelEntry]) -> Iterator[str]:
    for model in models:
        yield model.id
        yield from (adapter.id for adapter in model.adapters)


def _need(model: ModelEntry, replicas: int) -> Need:
    return Need(model.id, replicas, model.resources.num_gpus, model.resources.accelerator_types)


def parse_config(args: dict[str, Any]) -> Config:
    """The configuration in `args`, checked. Raises ConfigError."""
    try:
        return Config.model_validate(args)
    except pydantic.ValidationError as error:
        raise explain(error, "args", Config) from None


def read_serve_config(path: Path) -> tuple[dict[str, Any], Config]:
    """A whole Serve config file: its content, and the configuration of its one application. Raises ConfigError."""
    content = read_yaml(path)
    config = parse_config(args_of(content, path))
    check_policy(content, config)
    return content, config


def read_yaml(path: Path) -> Any:
    """The content of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:  # from a file, YAML's errors name the line without repeating it
            return yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from None


def args_of(content: Any, path: Path) -> Any:
    """What is to be a configuration in the content of the file `path`. Raises ConfigError."""
    try:
        return content["applications"][0]["args"]
    except (KeyError, IndexError, TypeError):
        raise ConfigError(f"{path}: there is no `applications[0].args`") from None


def check_policy(content: dict[str, Any], config: Config) -> None:
    """Raises ConfigError where models scale and Serve's updates would stop that."""
    application = content["applications"][0]
    policy = (application.get("autoscaling_policy") or {}).get("policy_function")
    if policy != APPLICATION_POLICY and any(not model.scale.is_fixed for model in config.models):
        raise ConfigError(
            f"applications[0].autoscaling_policy: models of this file scale, so it must be {{policy_function: "
            f"{APPLICATION_POLICY!r}}}. Without it Serve would no longer scale those that an update leaves alone"
        )
