"""Which models there are, which are up, and which one a request means."""

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice

from app.config.model_entry import ModelEntry
from app.keys import KeyEntry
from app.upstream.start import Stage
from contract.errors import ApiError, adapter_misfit, model_starting, shown
from contract.profile import Profile
from contract.protocol import Adapter

DEFAULT_MODEL = "default"  # what `model` may say under /v1/{pipeline}/
# What a model's `state` is where it is none of a start's stages.
READY, ASLEEP, FAILED = "ready", "asleep", "failed"
MOST_COMPARED = 100  # ids with one that is not there: each may take 30 microseconds of the event loop


class Readiness(StrEnum):
    """How far a model's deployment is. Only a verified model is listed and served."""

    STARTING = "starting"
    VERIFIED = "verified"  # a replica has started and answered a warm-up request
    FAILED = "failed"


@dataclass
class Model:
    """One configured model and how it is now; or one adapter of it, which is as its model is, and may not fit it."""

    entry: ModelEntry  # whose replicas answer
    adapter: Adapter | None = None
    misfit: str | None = None  # why an adapter does not fit; empty where it does, None while nobody has looked
    readiness: Readiness = Readiness.STARTING
    stage: Stage = Stage.QUEUED  # of one that is starting; as far as its start was seen to get
    known: Profile | None = None  # what it can do; known before it is verified
    is_settled: bool = False  # whether `known` is of what the entry says now, not of what an update is replacing
    error: str = ""  # the last line of it, where the model failed, or what keeps it from starting
    running: int = 0  # replicas; a verified model with none sleeps
    found: Profile | None = None  # `known` as the replica reported it
    created: int = field(default_factory=lambda: int(time.time()))  # Unix seconds; when it was first verified

    @property
    def id(self) -> str:
        """What clients call it."""
        return self.entry.id if self.adapter is None else self.adapter.id

    @property
    def state(self) -> str:
        """One word or two for a person: how it is, or how far its start is."""
        if self.readiness is Readiness.STARTING:
            return self.stage
        if self.readiness is Readiness.FAILED:
            return FAILED
        return READY if self.running else ASLEEP

    @property
    def profile(self) -> Profile:
        """What the model can do."""
        if self.known is None:
            raise RuntimeError(f"the profile of {self.id} was read before it was known")
        return self.known

    def card(self) -> dict[str, object]:
        """The model as GET /v1/models shows it."""
        card: dict[str, object] = {"id": self.id, "object": "model", "created": self.created, "owned_by": "portico"}
        return card if self.adapter is None else card | {"parent": self.entry.id}


class Registry:
    """The models of the configuration. One task updates their readiness; requests only read it."""

    def __init__(self, entries: list[ModelEntry], before: "Registry | None" = None) -> None:
        """The models of a configuration; `before` is the registry of the one that it replaces."""
        models = (model for entry in entries for model in _models_of(entry))
        self._models = {model.id: model for model in models}
        known = before._models if before else {}
        for model in self._models.values():
            old = known.get(model.id)
            if old is None or (old.entry.id, old.adapter) != (model.entry.id, model.adapter):
                old = known.get(model.entry.id)  # an adapter that is new can do what its model can
            if old is not None and old.entry.id == model.entry.id:
                _take_over(model, old)

    def update(
        self,
        readiness: dict[str, Readiness],
        running: dict[str, int] | None = None,
        errors: dict[str, str] | None = None,
        stages: dict[str, Stage] | None = None,
    ) -> None:
        """Take over what is known now; a model that is not in `readiness` is starting.

        `running` counts replicas; `errors` has the last line of the error of each model that failed, or what
        keeps one that starts, `stages` how far those are that start.
        """
        for model in self._models.values():
            model_id = model.entry.id
            now = readiness.get(model_id, Readiness.STARTING)
            model.running = (running or {}).get(model_id, 0)
            model.error = (errors or {}).get(model_id, "")
            if now is Readiness.VERIFIED and model.known is None:
                now = Readiness.STARTING
            if now is Readiness.VERIFIED and model.adapter is not None:
                now, model.error = _as_adapter(model)
            if now is Readiness.VERIFIED and model.readiness is not Readiness.VERIFIED:
                model.created = int(time.time())
            model.readiness = now
            before = model.stage if now is Readiness.STARTING else Stage.QUEUED
            model.stage = (stages or {}).get(model_id, before)

    def unsettled(self) -> list[Model]:
        """The models whose profile is not known for sure."""
        return [model for model in self._models.values() if model.adapter is None and not model.is_settled]

    def unfit_adapters(self) -> dict[str, list[Adapter]]:
        """The adapters that nobody has looked at, or that did not fit their model, by the id of that."""
        found: dict[str, list[Adapter]] = {}
        for model in self._models.values():
            if model.adapter is not None and model.misfit != "":
                found.setdefault(model.entry.id, []).append(model.adapter)
        return found

    def judge(self, adapter: Adapter, misfit: str) -> None:
        """Take over why an adapter does not fit its model, as a replica reports it; empty where it does."""
        model = self._models[adapter.id]
        if model.adapter == adapter:
            model.misfit = misfit

    def is_up(self, model_id: str) -> bool:
        """Whether a replica of the model runs, as far as is known here."""
        return model_id in self._models and self._models[model_id].running > 0

    def learn(self, model_id: str, profile: Profile, *, settled: bool = True) -> None:
        """Take over what a replica reports its model can do, and what the configuration overrides of it."""
        for model in self._models.values():
            if model.entry.id == model_id:
                _learn(model, profile, settled=settled)

    def all_verified(self) -> bool:
        """Whether every deployment is up."""
        return all(model.readiness is Readiness.VERIFIED for model in self._models.values() if model.adapter is None)

    def asked_for(self, model_ids: Collection[str] = ()) -> list[Model]:
        """These models, or all but adapters. Raises ApiError where there is no such model."""
        if any(model_id not in self._models for model_id in model_ids):
            raise ApiError("model_not_found", "There is no model of this id here. Leave `model` out to ask for all.")
        models = self._models.values()
        return [model for model in models if (model.id in model_ids if model_ids else model.adapter is None)]

    def in_scope_of(self, key: KeyEntry) -> list[Model]:
        """The models that `key` may use, however they are, in the order of the configuration."""
        return [model for model in self._models.values() if may_use(key, model.id)]

    def visible_to(self, key: KeyEntry) -> list[Model]:
        """The verified models that `key` may use, in the order of the configuration."""
        return [model for model in self.in_scope_of(key) if model.readiness is Readiness.VERIFIED]

    def lookup(self, model_id: str, key: KeyEntry) -> Model:
        """The verified model of that id. Raises ApiError: 404 unknown or failed, 403 out of scope, 503 starting."""
        model = self._models.get(model_id)
        if model is None:
            raise _not_found(model_id, (one.id for one in self.visible_to(key)))
        if not may_use(key, model_id):
            raise ApiError(
                "model_not_allowed", "This key may not use this model. GET /v1/models lists what it may use."
            )
        if model.misfit:
            raise adapter_misfit(model_id, model.misfit)
        if model.readiness is Readiness.FAILED:
            raise ApiError(
                "model_failed",
                f"The model `{model_id}` failed to start. Tell the operator, whom GET /ready tells why.",
                param="model",
            )
        if model.readiness is Readiness.STARTING:
            raise model_starting()
        return model

    def named(self, model: object, pipeline: str | None) -> str | None:
        """The id of the configured model that a request names, whether or not it may be used now."""
        model_id = pipeline or model
        return model_id if isinstance(model_id, str) and model_id in self._models else None

    def resolve(self, requested: object, pipeline: str | None, key: KeyEntry) -> Model:
        """The model that a request means: `requested` is its field `model`, `pipeline` the one its path names."""
        if pipeline is not None:
            model = self.lookup(pipeline, key)
            if requested not in (None, DEFAULT_MODEL, pipeline):
                raise ApiError(
                    "invalid_value",
                    f"This path serves the model {pipeline!r} only. Leave `model` out, or name that one.",
                    param="model",
                )
            return model
        if requested is None:
            raise ApiError(
                "missing_required_parameter", "`model` is missing. GET /v1/models lists the ids.", param="model"
            )
        if not isinstance(requested, str):
            raise ApiError("invalid_type", "`model` must be a string.", param="model")
        return self.lookup(requested, key)


def _models_of(entry: ModelEntry) -> Iterator[Model]:
    yield Model(entry)
    yield from (Model(entry, adapter.served()) for adapter in entry.adapters)


def _take_over(model: Model, old: Model) -> None:
    """What was known before the configuration changed of `model`, or of the model whose adapter it is."""
    same = old.entry.identity == model.entry.identity
    model.running = old.running
    if old.found is not None:
        _learn(model, old.found, settled=old.is_settled and same)
    if old.adapter == model.adapter:
        model.readiness, model.error, model.created = old.readiness, old.error, old.created
        model.misfit = old.misfit if same else None


def _learn(model: Model, profile: Profile, *, settled: bool) -> None:
    model.found, model.is_settled = profile, settled
    model.known = profile.overridden(model.entry.capabilities.items(), model.entry.chat_template_kwargs)


def _as_adapter(model: Model) -> tuple[Readiness, str]:
    """How an adapter is whose model is up, and why it failed. One of a model that sleeps is looked at on its use, and
    stays up when that wakes: the replica itself refuses one that does not fit.
    """
    if model.misfit:
        return Readiness.FAILED, model.misfit
    was_up = model.readiness is Readiness.VERIFIED
    return Readiness.VERIFIED if model.misfit == "" or was_up or not model.running else Readiness.STARTING, ""


def _not_found(model_id: str, visible: Iterable[str]) -> ApiError:
    """`visible` are the models that the key may see; the nearest of them is suggested."""
    name = shown(model_id)
    ids = {one.lower(): one for one in islice(visible, MOST_COMPARED)}
    # A hub name may end in what the model is called here.
    near = get_close_matches(name.lower(), ids, n=1) or get_close_matches(name.lower().rpartition("/")[2], ids, n=1)
    hint = f" Did you mean `{ids[near[0]]}`?" if near else ""
    message = f"There is no model `{name}` here.{hint} GET /v1/models lists the ids."
    return ApiError("model_not_found", message, param="model")


def may_use(key: KeyEntry, model_id: str) -> bool:
    return key.pipelines is None or model_id in key.pipelines
