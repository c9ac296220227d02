"""The local key, which everybody knows: good where the service and its client are on one machine only."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.__main__ import main
from app.keys import LOCAL_KEY
from tests.unit.conftest import SCOPED_KEY, assert_error, config_args

HERE, ELSEWHERE = ("127.0.0.1", 50000), ("10.0.0.9", 50000)
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - the very thing that is refused
REFUSED = (401, "authentication_error", "invalid_api_key")


async def get(gateway: Any, client: Any, key: str = LOCAL_KEY, path: str = "/v1/models") -> httpx.Response:
    transport = httpx.ASGITransport(gateway, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.get(path, headers={"authorization": f"Bearer {key}"})


@pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_it_is_good_on_loopback(make_gateway: Any, host: str, client: str) -> None:
    assert (await get(make_gateway(http_host=host), (client, 50000))).status_code == 200


@pytest.mark.parametrize("host", [ALL_INTERFACES, "::", "10.0.0.7", "gateway.example.org", "", None])
async def test_it_is_refused_where_the_service_listens_elsewhere_too(make_gateway: Any, host: str | None) -> None:
    gateway = make_gateway(http_host=host)
    response = await get(gateway, HERE)
    assert_error(response, *REFUSED)
    assert "loopback" in response.json()["error"]["message"]
    assert (await get(gateway, ELSEWHERE, SCOPED_KEY)).status_code == 200, "any other key is good everywhere"


@pytest.mark.parametrize("client", [ELSEWHERE, ("::ffff:10.0.0.9", 1), ("", 0), None], ids=str)
async def test_it_is_refused_to_a_client_that_is_elsewhere(make_gateway: Any, client: Any) -> None:
    gateway = make_gateway(http_host="127.0.0.1")
    assert_error(await get(gateway, client), *REFUSED)
    assert (await get(gateway, client, SCOPED_KEY)).status_code == 200


async def test_there_it_adds_nothing_to_the_metrics_either(make_gateway: Any) -> None:
    async def page(key_id: str | None) -> bytes:
        return str(key_id).encode()

    gateway = make_gateway(http_host="127.0.0.1", metrics_page=page)
    assert (await get(gateway, ELSEWHERE, path="/metrics")).text == "None"
    assert (await get(gateway, HERE, path="/metrics")).text == "local0000000"


@pytest.mark.parametrize("options", [{"host": ALL_INTERFACES}, {"host": "10.0.0.7"}, {"port": 8000}, None], ids=str)
def test_a_file_that_has_it_and_does_not_listen_on_loopback_is_wrong(tmp_path: Path, options: Any, capsys: Any) -> None:
    """Without a host, Serve listens on all interfaces."""
    content: dict[str, Any] = {"applications": [{"args": config_args()}]}
    if options is not None:
        content["http_options"] = options
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    assert main(["check", str(path)]) == 2
    assert "the local key is public" in capsys.readouterr().err
