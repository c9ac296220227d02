"""GET /metrics: what the metrics agents of all nodes hold about this service, and what follows from it, on one page.

Everybody may read it, so a series of a key is shown to that key only. The text of the agents is cut and joined, not
parsed: it has megabytes.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
import ray
from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.background.recent import Recent
from app.background.thread_calls import ThreadCalls
from app.telemetry.acceptance import COUNTERS, Acceptance, acceptance_by_model, gauges
from app.telemetry.loads import SERIES, KeyUsage, ModelLoad, load_by_model, usage

# Ray prefixes every series with ray_.
KEPT_PREFIXES = (b"ray_portico_", b"ray_vllm_", b"ray_serve_")
PRIVATE_PREFIX = b"ray_portico_team_"
PRIVATE_LABELS = re.compile(rb'([{,])(?:(?:NodeAddress|SessionName|node_ip_address)="[^"\n]*",?)+')
KEY_LABEL = re.compile(rb'[{,]key="([^"\n]*)"')
TIMEOUT_S = 5.0  # for Ray to name the nodes, and for the agent of each to answer
FRESH_S = 5.0  # of a page


class MetricsPage(NamedTuple):
    """The page of one moment, in Prometheus' text format."""

    public: bytes
    by_key: dict[str, bytes]  # a key's public id -> its own series
    acceptance: dict[str, Acceptance]  # of each model that speculates
    loads: dict[str, ModelLoad]  # of each model that had a request

    def of(self, key_id: str | None) -> bytes:
        """As the owner of a key sees it, or anybody."""
        return self.public if key_id is None else self.public + self.by_key.get(key_id, b"")

    def usage(self, key_id: str) -> KeyUsage:
        """What a key has used."""
        return usage(text_string_to_metric_families(self.by_key.get(key_id, b"").decode()))


class MetricsAgents:
    """Ray's metrics agents, one on every node. One that does not answer is left out."""

    def __init__(self) -> None:
        self._nodes = ThreadCalls("Ray's list of nodes", TIMEOUT_S)
        self._recent = Recent(self._collect, FRESH_S)

    async def page(self, key_id: str | None) -> bytes:
        """The page of a few seconds ago at most, with the series of that key."""
        return (await self._recent.get()).of(key_id)

    async def acceptance(self) -> dict[str, Acceptance]:
        """What became of the drafts of each model that speculates, as the page has it."""
        return (await self._recent.get()).acceptance

    async def loads(self) -> dict[str, ModelLoad]:
        """What each model had to do, as the page has it."""
        return (await self._recent.get()).loads

    async def usage(self, key_id: str) -> KeyUsage:
        """What a key has used, as the page has it."""
        return (await self._recent.get()).usage(key_id)

    async def _collect(self) -> MetricsPage:
        addresses = await self._nodes.call(_agent_addresses)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            pages = await asyncio.gather(*(_fetch(session, address) for address in addresses))
        return await asyncio.to_thread(merge, pages)


@dataclass
class _Family:
    """One metric: its HELP and TYPE, and its lines."""

    head: bytes
    lines: list[bytes] = field(default_factory=list)  # or many lines in one
    by_key: dict[bytes, list[bytes]] = field(default_factory=dict)

    def take(self, lines: bytes) -> None:
        lines = PRIVATE_LABELS.sub(rb"\1", lines).replace(b",} ", b"} ").replace(b"{} ", b" ")
        if not KEY_LABEL.search(lines):
            self.lines.append(lines)
            return
        for line in lines.split(b"\n"):
            key = KEY_LABEL.search(line)
            (self.by_key.setdefault(key[1], []) if key else self.lines).append(line)


def merge(pages: list[bytes]) -> MetricsPage:
    """One page of several: this service's series only, without the labels that name machines."""
    families = _families(pages)
    by_key: dict[str, list[bytes]] = {}
    for family in families.values():
        for key, lines in family.by_key.items():
            by_key.setdefault(key.decode(), []).append(_text(family.head, lines))
    acceptance = acceptance_by_model(_parsed(families, COUNTERS))
    public = [_text(family.head, family.lines) for family in families.values() if family.lines]
    return MetricsPage(
        b"".join([*public, _exposition(gauges(acceptance))]),
        {key: b"".join(texts) for key, texts in by_key.items()},
        acceptance,
        load_by_model(_parsed(families, SERIES)),
    )


def _parsed(families: dict[bytes, _Family], names: Iterable[str]) -> Iterable[Metric]:
    """The public series of a few metrics."""
    lines = b"\n".join(line for name in names if (one := families.get(name.encode())) for line in one.lines)
    return text_string_to_metric_families(lines.decode())


def _families(pages: list[bytes]) -> dict[bytes, _Family]:
    """This service's metrics by name, in their order. Every metric of an agent begins with its HELP."""
    families: dict[bytes, _Family] = {}
    for page in pages:
        for metric in (b"\n" + page).split(b"\n# HELP "):
            if metric.startswith(KEPT_PREFIXES) and not metric.startswith(PRIVATE_PREFIX):
                help_line, _, rest = metric.rstrip(b"\n").partition(b"\n")
                type_line, _, lines = rest.partition(b"\n")
                if lines:
                    head = b"# HELP " + help_line + b"\n" + type_line
                    families.setdefault(help_line.partition(b" ")[0], _Family(head)).take(lines)
    return families


def _text(head: bytes, lines: list[bytes]) -> bytes:
    return b"\n".join([head, *lines, b""])


def _exposition(metrics: list[Metric]) -> bytes:
    class Families:
        def collect(self) -> list[Metric]:
            return metrics

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry)


def _agent_addresses() -> list[str]:
    return [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]


async def _fetch(session: aiohttp.ClientSession, address: str) -> bytes:
    try:
        async with session.get(f"{address}/metrics") as response:
            return await response.read() if response.status == 200 else b""
    except (aiohttp.ClientError, TimeoutError):
        return b""
