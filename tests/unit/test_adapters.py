"""LoRA adapters as models: their configuration, their places in the gateway, and what a change of them restarts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from app.builder import build
from app.commands.findings.adapters import adapter_findings
from app.config.service import Config, parse_config
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY, hash_key, public_id
from app.telemetry.record import RequestRecord
from app.upstream.readiness import ReadinessWatch
from app.upstream.registry import Readiness, Registry
from contract.errors import adapter_misfit
from contract.fields import ConfigError
from contract.protocol import Adapter, ResponseHead
from local_models.adapter import make_adapter
from tests.unit.conftest import PROFILE, SCOPED_KEY, StandInRelay, assert_error, chat, client_of, config_args

PIRATE, POET = {"id": "pirate", "source": "/adapters/pirate"}, {"id": "poet", "source": "someone/poet"}
MISFIT = "its rank is 64, and max_lora_rank is 16; raise it in engine_kwargs"
THOUSAND = [{"id": f"adapter-{number}", "source": f"/adapters/{number}"} for number in range(1000)]


def base(adapters: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    entry = {"id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha"}
    return entry | {"engine_kwargs": {"enable_lora": True}, "adapters": adapters} | changes


def args(adapters: list[dict[str, Any]], scope: tuple[str, ...] = ("poet",), **changes: Any) -> dict[str, Any]:
    """A configuration with two models; `alpha` has the adapters."""
    beta = {"id": "beta", "task": "chat", "engine": "vllm", "source": "./beta"}
    keys = [
        {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY)},
        {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "pipelines": list(scope)},
    ]
    return config_args(models=[base(adapters, **changes), beta], keys=keys)


def refusal(adapters: list[dict[str, Any]], **changes: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_config(args(adapters, scope=("beta",), **changes))
    return str(refused.value)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("adapters", "changes", "message"),
        [
            ([PIRATE], {"engine_kwargs": {}}, "they need `engine_kwargs.enable_lora: true`"),
            ([PIRATE], {"engine": "sentence-transformers", "task": "embeddings", "engine_kwargs": {}},
             "only chat models of vllm have them"),
            ([PIRATE, PIRATE], {}, "the id 'pirate' stands there twice"),
            ([PIRATE | {"id": "alpha"}], {}, "the id 'alpha' stands there twice"),
            ([PIRATE | {"id": "beta"}], {}, "the id 'beta' stands there twice"),
            ([PIRATE | {"id": "chat"}], {}, "'chat' is a part of the routes"),
            ([PIRATE | {"id": "text"}], {}, "'text' is a type of content parts"),
            ([PIRATE | {"revision": "0" * 40}], {}, "/adapters/pirate is no hub name"),
            ([PIRATE | {"source": "s3://bucket/pirate"}], {}, "is a URL; name a folder or a hub name"),
            ([PIRATE | {"rank": 4}], {}, "there is no such field"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, adapters: list[Any], changes: dict[str, Any], message: str) -> None:
        assert message in refusal(adapters, **changes)

    def test_a_hub_name_without_a_commit_is_reported(self) -> None:
        (alpha, _) = parse_config(args([PIRATE, POET])).models
        assert alpha.unpinned() == ["someone/poet"]

    def test_each_commit_of_one_repository_counts_and_is_reported_where_it_is_none(self) -> None:
        pinned = POET | {"id": "pinned", "revision": "0" * 40}
        (alpha, _) = parse_config(args([POET, POET | {"id": "again"}, pinned])).models
        assert alpha.hub_names() == [("someone/poet", None), ("someone/poet", "0" * 40)]
        assert alpha.unpinned() == ["someone/poet"]

    def test_the_scope_of_a_key_may_name_an_adapter_and_nothing_unknown(self) -> None:
        config = parse_config(args([PIRATE, POET]))
        assert config.fault_of_key({"pipelines": ["pirate", "alpha"]}) is None
        fault = config.fault_of_key({"pipelines": ["parrot"]})
        assert fault == ("pipelines", "There is no model `parrot`. There are: alpha, pirate, poet, beta.")

    def test_a_folder_of_the_project_is_given_as_it_is_there(self) -> None:
        (alpha, _) = parse_config(args([PIRATE | {"source": "./local_models/pirate"}, POET])).models
        pirate, poet = (adapter.served() for adapter in alpha.adapters)
        assert pirate.source.startswith("/")
        assert poet == Adapter("poet", "someone/poet", None)


class TestDeployments:
    """Serve restarts a deployment where its version or its configuration changes."""

    @staticmethod
    def model(adapters: list[dict[str, Any]]) -> Any:
        (handles,) = build(args(adapters, scope=("beta",)))._bound_deployment.init_args
        return handles["alpha"]._bound_deployment

    @pytest.mark.parametrize("after", [[PIRATE, POET], [PIRATE | {"source": "/elsewhere"}], [], THOUSAND])
    def test_a_change_of_adapters_changes_no_deployment_of_a_model(self, after: list[dict[str, Any]]) -> None:
        one, other = self.model([PIRATE]), self.model(after)
        assert one._deployment_config == other._deployment_config
        assert one._replica_config.ray_actor_options == other._replica_config.ray_actor_options
        assert one.init_args == other.init_args

    def test_the_gateway_follows_a_change_without_a_new_version(self) -> None:
        one, other = (build(args(adapters, scope=("beta",))) for adapters in ([PIRATE], [PIRATE, POET]))
        configs = [each._bound_deployment._deployment_config for each in (one, other)]
        assert configs[0].version == configs[1].version
        assert configs[0].user_config != configs[1].user_config


@pytest.fixture
def registry() -> Registry:
    return ready_registry([PIRATE, POET])


def ready_registry(adapters: list[dict[str, Any]], misfits: dict[str, str] | None = None) -> Registry:
    """Every model is up, and every adapter fits, but for `misfits`."""
    registry = Registry(parse_config(args(adapters, scope=("beta",))).models)
    for model_id in ("alpha", "beta"):
        registry.learn(model_id, PROFILE)
    for adapter in registry.unfit_adapters().get("alpha", []):
        registry.judge(adapter, (misfits or {}).get(adapter.id, ""))
    up(registry)
    return registry


def up(registry: Registry, replicas: int = 1) -> None:
    models = ("alpha", "beta")
    registry.update(dict.fromkeys(models, Readiness.VERIFIED), dict.fromkeys(models, replicas))


class Recorded:
    """Metrics."""

    def __init__(self) -> None:
        self.models: list[str | None] = []

    def record(self, request: RequestRecord) -> None:
        self.models.append(request.model_id)


@pytest.fixture
def metrics() -> Recorded:
    return Recorded()


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReadinessWatch]:
    """Gives a watch over replicas that run, and say of adapters what the function given says."""
    running = SimpleNamespace(status="HEALTHY", replica_states={"RUNNING": 1}, message="")
    app = SimpleNamespace(deployments={"alpha": running, "beta": running})
    monkeypatch.setattr("app.upstream.readiness.serve.status", lambda: SimpleNamespace(applications={"p": app}))

    def watch(registry: Registry, answer: Callable[..., Any]) -> ReadinessWatch:
        handle = SimpleNamespace(
            misfits=SimpleNamespace(remote=answer),
            describe=SimpleNamespace(remote=lambda: asyncio.sleep(0, PROFILE.to_wire())),
        )
        store: Any = SimpleNamespace(get=lambda *_: asyncio.sleep(0), put=lambda *_: asyncio.sleep(0))
        registry.learn("alpha", PROFILE)
        return ReadinessWatch(registry, "p", {"alpha": handle, "beta": handle}, store)

    return watch


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], metrics: Recorded) -> Gateway:
    return make_gateway(parse_config(args([PIRATE, POET])), metrics=metrics)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(gateway) as client:
        yield client


async def ids(client: httpx.AsyncClient, path: str = "/v1/models") -> list[str]:
    return [model["id"] for model in (await client.get(path)).json()["data"]]


class TestGateway:
    async def test_get_models_lists_each_adapter_behind_its_model_which_is_its_parent(self, client: Any) -> None:
        cards = (await client.get("/v1/models")).json()["data"]
        assert [(card["id"], card.get("parent")) for card in cards] == [
            ("alpha", None), ("pirate", "alpha"), ("poet", "alpha"), ("beta", None),
        ]  # fmt: skip
        assert "parent" not in cards[0]

    async def test_get_models_id_shows_what_its_model_can_do(self, client: Any) -> None:
        card, of_base = [(await client.get(f"/v1/models/{name}")).json() for name in ("pirate", "alpha")]
        assert (card["id"], card["parent"], card["portico"]) == ("pirate", "alpha", of_base["portico"])

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/pirate/chat/completions"])
    async def test_a_request_goes_to_its_model_s_replicas_with_the_adapter(
        self, client: Any, relay: StandInRelay, metrics: Recorded, path: str
    ) -> None:
        body = chat(model="pirate") if path.startswith("/v1/chat") else chat(model="default")
        assert (await client.post(path, json=body)).status_code == 200
        ((deployment, head, sent),) = relay.sent
        assert (deployment, head.adapter) == ("alpha", Adapter("pirate", "/adapters/pirate"))
        assert orjson.loads(sent)["model"] == "pirate"
        assert metrics.models == ["pirate"]

    async def test_a_request_for_the_model_itself_has_no_adapter(self, client: Any, relay: StandInRelay) -> None:
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 200
        assert relay.sent[0][1].adapter is None

    async def test_a_path_of_an_adapter_serves_that_one_only(self, client: Any) -> None:
        response = await client.post("/v1/pirate/chat/completions", json=chat(model="alpha"))
        assert_error(response, 400, "invalid_request_error", "invalid_value", "model")
        assert await ids(client, "/v1/pirate/models") == ["pirate"]

    async def test_a_client_names_no_source(self, client: Any, relay: StandInRelay) -> None:
        for name in ("/adapters/pirate", "someone/poet", "../pirate"):
            response = await client.post("/v1/chat/completions", json=chat(model=name))
            assert_error(response, 404, "not_found_error", "model_not_found", "model")
        assert relay.sent == []

    async def test_the_scope_of_a_key_is_adapter_by_adapter(self, gateway: Gateway) -> None:
        async with client_of(gateway, SCOPED_KEY) as client:
            assert await ids(client) == ["poet"]
            assert (await client.post("/v1/chat/completions", json=chat(model="poet"))).status_code == 200
            for other in ("pirate", "alpha"):
                response = await client.post("/v1/chat/completions", json=chat(model=other))
                assert_error(response, 403, "permission_error", "model_not_allowed")

    async def test_what_a_replica_says_of_an_adapter_that_does_not_fit_reaches_the_client(
        self, client: Any, relay: StandInRelay
    ) -> None:
        relay.items = [adapter_misfit("pirate", MISFIT)]
        response = await client.post("/v1/chat/completions", json=chat(model="pirate"))
        assert_error(response, 404, "not_found_error", "model_failed", "model")
        relay.items = [ResponseHead(200, body=b"{}", usage={})]
        assert (await client.post("/v1/chat/completions", json=chat(model="alpha"))).status_code == 200

    async def test_a_thousand_are_listed(self, make_gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        gateway = make_gateway(parse_config(args(THOUSAND, scope=("adapter-7",))))
        monkeypatch.setattr(gateway, "_registry", ready_registry(THOUSAND))
        async with client_of(gateway) as client:
            assert len(await ids(client)) == 1002
        async with client_of(gateway, SCOPED_KEY) as client:
            assert await ids(client) == ["adapter-7"]


class TestReadiness:
    async def test_one_that_does_not_fit_is_not_listed_and_refused_by_name(
        self, make_gateway: Any, monkeypatch: pytest.MonkeyPatch, relay: StandInRelay
    ) -> None:
        gateway = make_gateway(parse_config(args([PIRATE, POET])))
        monkeypatch.setattr(gateway, "_registry", ready_registry([PIRATE, POET], {"pirate": MISFIT}))
        async with client_of(gateway) as client:
            assert await ids(client) == ["alpha", "poet", "beta"]
            response = await client.post("/v1/chat/completions", json=chat(model="pirate"))
            assert_error(response, 404, "not_found_error", "model_failed", "model")
            assert response.json()["error"]["message"] == (
                f"The adapter `pirate` cannot be used with its model: {MISFIT}."
            )
            assert relay.sent == []
            assert (await client.get("/ready")).status_code == 200  # its model is up, and so are the others
            response = await client.get("/ready?model=pirate")
            assert (response.status_code, response.json()["models"]) == (
                503, [{"id": "pirate", "state": "failed", "error": MISFIT}],
            )  # fmt: skip

    def test_one_that_nobody_has_looked_at_is_starting_and_so_are_all_of_a_model_that_starts(self) -> None:
        registry = Registry(parse_config(args([PIRATE, POET])).models)
        registry.learn("alpha", PROFILE)
        up(registry)
        pirate, poet = registry.asked_for(["pirate", "poet"])
        assert (pirate.readiness, poet.readiness) == (Readiness.STARTING, Readiness.STARTING)
        registry.judge(Adapter("pirate", "/adapters/pirate"), "")
        registry.judge(Adapter("poet", "of/another-configuration"), "")
        up(registry)
        assert (pirate.readiness, poet.readiness) == (Readiness.VERIFIED, Readiness.STARTING)
        registry.update({})
        assert pirate.readiness is Readiness.STARTING

    def test_those_of_a_model_that_sleeps_are_listed_as_it_is(self) -> None:
        registry = Registry(parse_config(args([PIRATE, POET])).models)
        registry.learn("alpha", PROFILE)
        up(registry, replicas=0)
        (pirate,) = registry.asked_for(["pirate"])
        assert (pirate.readiness, pirate.state) == (Readiness.VERIFIED, "asleep")

    def test_one_that_was_up_stays_so_when_its_model_wakes_until_a_replica_has_looked_at_it(self) -> None:
        registry = Registry(parse_config(args([PIRATE, POET])).models)
        registry.learn("alpha", PROFILE)
        up(registry, replicas=0)
        (pirate,) = registry.asked_for(["pirate"])
        up(registry)
        assert (pirate.readiness, pirate.misfit) == (Readiness.VERIFIED, None)
        registry.judge(Adapter("pirate", "/adapters/pirate"), MISFIT)
        up(registry)
        assert (pirate.readiness, pirate.error) == (Readiness.FAILED, MISFIT)

    def test_a_changed_configuration_keeps_what_is_known_of_those_that_did_not_change(self) -> None:
        before = ready_registry([PIRATE, POET], {"poet": MISFIT})
        added = {"id": "parrot", "source": "/adapters/parrot"}
        models = parse_config(args([PIRATE, POET, added], scope=("beta",))).models
        after = Registry(models, before)
        found = {model.id: model.misfit for model in after.asked_for(["pirate", "poet", "parrot"])}
        assert found == {"pirate": "", "poet": MISFIT, "parrot": None}
        (parrot,) = after.asked_for(["parrot"])
        assert parrot.readiness is Readiness.STARTING
        after.judge(Adapter("parrot", "/adapters/parrot"), "")
        up(after)
        assert (parrot.readiness, parrot.profile) == (Readiness.VERIFIED, PROFILE)

    def test_one_with_another_source_is_looked_at_anew(self) -> None:
        moved = parse_config(args([PIRATE | {"source": "/elsewhere"}], scope=("beta",))).models
        registry = Registry(moved, ready_registry([PIRATE, POET]))
        up(registry)
        (pirate,) = registry.asked_for(["pirate"])
        assert (pirate.misfit, pirate.readiness) == (None, Readiness.STARTING)
        registry.judge(Adapter("pirate", "/elsewhere"), "")
        up(registry)
        assert pirate.readiness is Readiness.VERIFIED

    def test_an_adapter_s_id_may_become_a_model_s(self) -> None:
        args_ = args([POET], scope=("beta",))
        args_["models"].append({"id": "pirate", "task": "chat", "engine": "vllm", "source": "./pirate"})
        (model,) = Registry(parse_config(args_).models, ready_registry([PIRATE, POET])).asked_for(["pirate"])
        assert (model.readiness, model.known, model.card().get("parent")) == (Readiness.STARTING, None, None)

    async def test_a_replica_looks_at_each_once_and_again_at_those_that_did_not_fit(
        self, watching: Callable[..., ReadinessWatch]
    ) -> None:
        registry = Registry(parse_config(args([PIRATE, POET])).models)
        asked: list[list[str]] = []
        misfits = {"poet": MISFIT}

        async def answer(adapters: list[Adapter]) -> list[str]:
            asked.append([adapter.id for adapter in adapters])
            return [misfits.get(adapter.id, "") for adapter in adapters]

        watch = watching(registry, answer)
        await watch.first_look()
        assert [model.readiness for model in registry.asked_for(["pirate", "poet"])] == [
            Readiness.VERIFIED, Readiness.FAILED,
        ]  # fmt: skip
        misfits.clear()  # somebody has mended it
        for _ in range(2):
            await watch.look()
            await watch.learnt()
        assert registry.asked_for(["poet"])[0].readiness is Readiness.VERIFIED
        assert asked == [["pirate", "poet"], ["poet"]]

    async def test_many_are_looked_at_in_parts_and_a_part_that_fails_keeps_no_other_out(
        self, watching: Callable[..., ReadinessWatch]
    ) -> None:
        registry = Registry(parse_config(args(THOUSAND, scope=("beta",))).models)
        asked: list[int] = []

        async def answer(adapters: list[Adapter]) -> list[str]:
            asked.append(len(adapters))
            if "adapter-150" in {adapter.id for adapter in adapters}:
                raise OSError
            return [""] * len(adapters)

        await watching(registry, answer).first_look()
        assert asked == [100] * 10
        waiting = [model.id for model in registry.asked_for([one["id"] for one in THOUSAND])
                   if model.readiness is not Readiness.VERIFIED]  # fmt: skip
        assert waiting == [f"adapter-{number}" for number in range(100, 200)]


class TestCheck:
    """`portico check`, which asks the files."""

    @staticmethod
    def config(sources: dict[str, Any], **engine_kwargs: Any) -> Config:
        adapters = [{"id": name, "source": str(source)} for name, source in sources.items()]
        kwargs = {"enable_lora": True} | engine_kwargs
        return parse_config(args(adapters, scope=("beta",), source="./local_models/pocket-chat", engine_kwargs=kwargs))

    def test_those_that_do_not_fit_are_named_and_no_others(self, tmp_path: Any) -> None:
        folders = {name: tmp_path / name for name in ("fits", "large", "broken", "elsewhere")}
        for name, rank in (("fits", 4), ("large", 64)):
            folders[name].mkdir()
            make_adapter(folders[name], rank=rank)
        folders["broken"].mkdir()
        assert [str(one) for one in adapter_findings(self.config(folders))] == [
            f"large: the adapter does not fit its model: {MISFIT}",
            "broken: the adapter does not fit its model: there is no adapter_model.safetensors; its weights must be "
            "safetensors, as PEFT saves them",
        ]
        assert list(adapter_findings(self.config({"large": folders["large"]}, max_lora_rank=64))) == []
