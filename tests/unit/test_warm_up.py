"""A replica that starts says where loading ends: to the gateway, through the cluster's store."""

import sys
from types import SimpleNamespace

import pytest

from contract import cluster_store
from contract.warm_up import is_warming_up, say_warming_up


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A store in memory."""
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(cluster_store, "get", kept.get)
    monkeypatch.setattr(cluster_store, "put", kept.__setitem__)
    return kept


def be_a_replica(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    deployment = SimpleNamespace(app_name="portico", name="alpha")
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id=number, deployment_id=deployment))
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(get_replica_context=lambda: context))


def test_the_replica_that_said_so_last_is_warming_up(kept: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_warming_up("portico", "alpha", "r1")
    be_a_replica(monkeypatch, "r1")
    say_warming_up()
    assert is_warming_up("portico", "alpha", "r1")
    be_a_replica(monkeypatch, "r2")
    say_warming_up()
    assert (is_warming_up("portico", "alpha", "r1"), is_warming_up("portico", "alpha", "r2")) == (False, True)
    assert not is_warming_up("portico", "beta", "r2")


def test_without_serve_and_outside_a_replica_nothing_is_said(
    kept: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ray.serve", raising=False)
    say_warming_up()

    def refuse() -> None:
        raise RuntimeError("only inside a replica")

    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(get_replica_context=refuse))
    say_warming_up()
    assert kept == {}


def test_a_store_that_is_gone_keeps_no_replica_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str, __: bytes) -> None:
        raise ConnectionError("the control service is restarting")

    monkeypatch.setattr(cluster_store, "put", refuse)
    be_a_replica(monkeypatch, "r1")
    say_warming_up()
