"""GET /metrics: what the metrics agents of all nodes hold about this service, and what follows from it, on one page."""

import asyncio

import aiohttp
import ray
from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.background.thread_calls import ThreadCalls
from app.telemetry.acceptance import Acceptance, acceptance_by_model, gauges

# Ray prefixes every series with ray_.
KEPT_PREFIXES = ("ray_portico_", "ray_vllm_", "ray_serve_")
PRIVATE_LABELS = frozenset({"NodeAddress", "SessionName", "node_ip_address"})
TIMEOUT_S = 5.0  # for Ray to name the nodes, and for the agent of each to answer


class MetricsAgents:
    """Ray's metrics agents, one on every node. One that does not answer is left out."""

    def __init__(self) -> None:
        self._nodes = ThreadCalls("Ray's list of nodes", TIMEOUT_S)

    async def page(self) -> bytes:
        """The page in Prometheus' text format."""
        return await asyncio.to_thread(merge, await self._texts())

    async def acceptance(self) -> dict[str, Acceptance]:
        """What became of the drafts of each model that speculates, as the page has it."""
        texts = await self._texts()
        return await asyncio.to_thread(lambda: acceptance_by_model(_families(texts).values()))

    async def _texts(self) -> list[str]:
        """The page of each node's agent."""
        addresses = await self._nodes.call(_agent_addresses)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            return await asyncio.gather(*(_fetch(session, address) for address in addresses))


def merge(texts: list[str]) -> bytes:
    """One page of several: this service's series only, without the labels that name machines."""
    families = list(_families(texts).values())
    families += gauges(acceptance_by_model(families))

    class Families:
        def collect(self) -> list[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry)


def _families(texts: list[str]) -> dict[str, Metric]:
    families: dict[str, Metric] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if not family.name.startswith(KEPT_PREFIXES):
                continue
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = {name: value for name, value in sample.labels.items() if name not in PRIVATE_LABELS}
                merged.samples.append(sample._replace(labels=labels))
    return families


def _agent_addresses() -> list[str]:
    return [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]


async def _fetch(session: aiohttp.ClientSession, address: str) -> str:
    try:
        async with session.get(f"{address}/metrics") as response:
            return await response.text() if response.status == 200 else ""
    except (aiohttp.ClientError, TimeoutError):
        return ""
