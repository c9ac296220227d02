"""GET /metrics: everybody sees the service, a key its own use, and one look at the agents is enough for many calls."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.keys import LOCAL_KEY, public_id
from app.telemetry import metrics_page
from app.telemetry.loads import KeyUsage, ModelLoad
from app.telemetry.metrics_page import MetricsAgents, merge
from tests.unit.conftest import SCOPED_KEY, client_of

NODE = """# HELP ray_portico_requests_total Requests.
# TYPE ray_portico_requests_total counter
ray_portico_requests_total{NodeAddress="10.0.0.7",SessionName="session_1",WorkerId="%s",route="/health"} 3.0
# HELP ray_portico_key_requests_total Requests by the key's public id.
# TYPE ray_portico_key_requests_total counter
ray_portico_key_requests_total{WorkerId="w",NodeAddress="10.0.0.7",key="local0000000"} 5.0
ray_portico_key_requests_total{WorkerId="w",NodeAddress="10.0.0.7",key="scoped000000"} 7.0
# HELP ray_portico_budget_refusals_total Requests refused because a budget was spent, by what of it.
# TYPE ray_portico_budget_refusals_total counter
ray_portico_budget_refusals_total{key="scoped000000",resource="tokens",SessionName="session_1"} 2.0
# HELP ray_serve_proxy_status Proxies.
# TYPE ray_serve_proxy_status gauge
ray_serve_proxy_status{node_id="n",node_ip_address="10.0.0.7"} 2.0
ray_serve_proxy_status{node_ip_address="10.0.0.8"} 1.0
# HELP ray_portico_team_monthly_use What a team has used.
# TYPE ray_portico_team_monthly_use gauge
ray_portico_team_monthly_use{team="acme",resource="tokens"} 1.0
# HELP ray_node_cpu CPU.
# TYPE ray_node_cpu gauge
ray_node_cpu{NodeAddress="10.0.0.7"} 1.0
"""
PUBLIC = """# HELP ray_portico_requests_total Requests.
# TYPE ray_portico_requests_total counter
ray_portico_requests_total{WorkerId="a",route="/health"} 3.0
ray_portico_requests_total{WorkerId="b",route="/health"} 3.0
# HELP ray_serve_proxy_status Proxies.
# TYPE ray_serve_proxy_status gauge
ray_serve_proxy_status{node_id="n"} 2.0
ray_serve_proxy_status 1.0
ray_serve_proxy_status{node_id="n"} 2.0
ray_serve_proxy_status 1.0
"""
OWN = """# HELP ray_portico_key_requests_total Requests by the key's public id.
# TYPE ray_portico_key_requests_total counter
ray_portico_key_requests_total{WorkerId="w",key="scoped000000"} 7.0
ray_portico_key_requests_total{WorkerId="w",key="scoped000000"} 7.0
# HELP ray_portico_budget_refusals_total Requests refused because a budget was spent, by what of it.
# TYPE ray_portico_budget_refusals_total counter
ray_portico_budget_refusals_total{key="scoped000000",resource="tokens"} 2.0
ray_portico_budget_refusals_total{key="scoped000000",resource="tokens"} 2.0
"""
PAGES = [(NODE % "a").encode(), b"", (NODE % "b").encode()]


class TestMerge:
    def test_one_page_of_all_nodes_tells_nothing_of_machines_and_keys(self) -> None:
        assert merge(PAGES).of(None).decode() == PUBLIC

    def test_a_key_sees_its_own_series_beside_and_nobody_else_s(self) -> None:
        assert merge(PAGES).of("scoped000000").decode() == PUBLIC + OWN
        assert merge(PAGES).of("nobody000000").decode() == PUBLIC

    def test_no_node_no_page(self) -> None:
        assert merge([]).of(None) == merge([b""]).of("scoped000000") == b""


LOADS = """# HELP ray_portico_waiting_requests Requests that wait.
# TYPE ray_portico_waiting_requests gauge
ray_portico_waiting_requests{WorkerId="a",model="alpha"} 2.0
# HELP ray_portico_requests_total Requests.
# TYPE ray_portico_requests_total counter
ray_portico_requests_total{WorkerId="a",route="/v1/responses",model="alpha",status="200",reason="ok"} 3.0
ray_portico_requests_total{WorkerId="a",route="/v1/chat/completions",model="alpha",status="429",reason="x"} 4.0
ray_portico_requests_total{WorkerId="a",route="/health",model="",status="200",reason="ok"} 90.0
# HELP ray_portico_tokens_total Tokens by kind.
# TYPE ray_portico_tokens_total counter
ray_portico_tokens_total{WorkerId="a",route="/v1/responses",model="alpha",kind="prompt"} 10.0
ray_portico_tokens_total{WorkerId="a",route="/v1/responses",model="alpha",kind="completion"} 20.0
# HELP ray_portico_key_tokens_total Tokens by the key's public id.
# TYPE ray_portico_key_tokens_total counter
ray_portico_key_tokens_total{WorkerId="a",key="scoped000000",kind="prompt"} 5.0
ray_portico_key_tokens_total{WorkerId="a",key="scoped000000",kind="completion"} 6.0
"""


class TestLoads:
    def test_a_model_s_load_is_that_of_all_gateway_replicas_and_routes(self) -> None:
        twice = merge([LOADS.encode(), LOADS.encode()])
        assert twice.loads == {
            "alpha": ModelLoad(waiting=4, requests=14, prompt_tokens=20, completion_tokens=40),
        }

    def test_a_key_s_usage_is_its_own(self) -> None:
        page = merge([LOADS.encode(), *PAGES])
        assert page.usage("scoped000000") == KeyUsage(requests=14, prompt_tokens=5, completion_tokens=6, refusals=4)
        assert page.usage("local0000000") == KeyUsage(requests=10)
        assert page.usage("nobody000000") == KeyUsage()


class Agent:
    """A metrics agent that counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.looks += 1
        await asyncio.sleep(0.05)
        return web.Response(body=PAGES[0])


@pytest.fixture
async def agent(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Agent]:
    agent = Agent()
    application = web.Application()
    application.router.add_get("/metrics", agent.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (address,) = runner.addresses
    monkeypatch.setattr(metrics_page, "_agent_addresses", lambda: [f"http://127.0.0.1:{address[1]}"])
    yield agent
    await runner.cleanup()


class TestAgents:
    async def test_many_calls_cause_one_collection(self, agent: Agent) -> None:
        agents = MetricsAgents()
        pages = await asyncio.gather(*(agents.page(None) for _ in range(20)), agents.page("scoped000000"))
        assert await agents.acceptance() == {}
        assert agent.looks == 1
        assert len(set(pages)) == 2

    async def test_after_five_seconds_the_next_call_collects_anew(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert metrics_page.FRESH_S == 5
        monkeypatch.setattr(metrics_page, "FRESH_S", 0.0)
        agents = MetricsAgents()
        await agents.page(None)
        await agents.page(None)
        assert agent.looks == 2

    async def test_pages_are_merged_on_a_thread(self, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
        threads: list[threading.Thread] = []

        def merge_and_note(pages: list[bytes]) -> Any:
            threads.append(threading.current_thread())
            return merge(pages)

        monkeypatch.setattr(metrics_page, "merge", merge_and_note)
        await MetricsAgents().page(None)
        assert threads[0] is not threading.main_thread()


class TestRoute:
    @pytest.fixture
    def gateway(self, make_gateway: Any) -> Any:
        async def page(key_id: str | None) -> bytes:
            return merge(PAGES).of(key_id)

        return make_gateway(metrics_page=page)

    async def get(self, gateway: Any, authorization: str | None) -> httpx.Response:
        async with client_of(gateway, key=None) as client:
            return await client.get("/metrics", headers={"authorization": authorization} if authorization else {})

    async def test_without_a_key_there_is_no_series_of_one(self, gateway: Any) -> None:
        response = await self.get(gateway, None)
        assert (response.status_code, response.text) == (200, PUBLIC)
        assert "000000" not in response.text

    async def test_a_valid_key_adds_its_own(self, gateway: Any) -> None:
        assert (await self.get(gateway, f"Bearer {SCOPED_KEY}")).text == PUBLIC + OWN
        mine = (await self.get(gateway, f"Bearer {LOCAL_KEY}")).text
        assert f'key="{public_id(LOCAL_KEY)}"' in mine
        assert "scoped" not in mine

    @pytest.mark.parametrize("authorization", ["Bearer sk-portico-scoped000000-" + "x" * 43, "Basic eDp5", "Bearer"])
    async def test_a_header_that_is_no_valid_key_adds_nothing(self, gateway: Any, authorization: str) -> None:
        response = await self.get(gateway, authorization)
        assert (response.status_code, response.text) == (200, PUBLIC)
