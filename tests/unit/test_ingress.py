"""The gateway's replica follows its configuration, and keeps the one before where it cannot."""

import asyncio
from typing import Any

import pytest

from app.config.service import parse_config
from app.serving.ingress import IngressReplica
from contract.fields import ConfigError
from tests.unit.conftest import config_args


async def sent_by(replica: IngressReplica, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What its application sends for a request, or for a start and a stop."""
    messages = [{"type": f"lifespan.{moment}"} for moment in ("startup", "shutdown")]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await (await replica.__serve_build_asgi_app__())(scope, receive, send)
    return sent


async def test_its_server_starts_and_stops_before_there_is_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.ingress.access_log.configure", lambda: None)  # it is of the whole process
    sent = await sent_by(IngressReplica({}), {"type": "lifespan"})
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_start_with_what_cannot_be_used_fails(tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        await IngressReplica({}).reconfigure(config_args(key_file=str(tmp_path / "none.json"), keys=[]))


async def test_a_change_to_what_cannot_be_used_leaves_the_gateway_as_it_is(tmp_path: Any) -> None:
    replica = IngressReplica({})
    before: Any = object()
    replica._gateway = before
    await replica.reconfigure(config_args(key_file=str(tmp_path / "none.json"), keys=[]))
    assert replica._gateway is before


@pytest.mark.parametrize(("replicas", "gone"), [(2, False), (1, True)], ids=["the same number", "another number"])
async def test_budgets_stay_or_give_everything_back(replicas: int, gone: bool) -> None:
    class Budgets:
        closed = False

        async def close(self) -> None:
            self.closed = True

    replica = IngressReplica({})
    before: Any = Budgets()
    replica._config, replica._budgets = parse_config(config_args(ingress={"replicas": 2})), before
    after = replica._budgets_of(parse_config(config_args(ingress={"replicas": replicas})))
    await asyncio.sleep(0)
    assert (after is not before, before.closed) == (gone, gone)
