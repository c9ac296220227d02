"""The service under test, as whoever runs its machine sees it: processes, what they hold, what the gateway wrote."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from tests.reliability.books import Counted, Line, counted, lines_of
from tests.reliability.kinds import CHAT, IMAGE, KINDS
from tests.scaling.conftest import ScaledService, is_settled

CONTROLLER, STORE, ENGINE = "ray::ServeController", "ray::BudgetStoreActor", "VLLM::EngineCore"
GATEWAY = "gateway"
KNOWN = ("ray::ServeReplica:", "ray::ServeController", "ray::BudgetStoreActor", "ray::ProxyActor", ENGINE, "haproxy")
KILLED_SECONDS, BUSY_SECONDS = 10.0, 0.3


class Vitals(NamedTuple):
    """What may not grow from fault to fault."""

    held: dict[str, int]  # by name: what is held for requests that are under way
    tasks: int  # of asyncio, of the gateway's replica that has most
    descriptors: int  # as well
    megabytes: int  # as well
    processes: dict[str, int]  # by name: how many
    orphans: list[str]  # processes of the service that are nobody's


def replica_of(deployment: str) -> str:
    return f"ray::ServeReplica:portico:{deployment}"


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing where it has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""


class System:
    """One service on a cluster of one machine."""

    def __init__(
        self, scaled: ScaledService, profile: str, images: Path, snapshots: Path, *, has_small_disks: bool
    ) -> None:
        """`images` and `snapshots` are the folders where the gateway and the budget store write."""
        self.scaled, self.profile = scaled, profile
        self.images, self.snapshots = images, snapshots
        self.has_small_disks = has_small_disks  # each of these is a disk of its own that can be filled
        self.gateway_died_at: float | None = None
        self.node_ended = False  # and with it Ray's agent, which had the counters of its gateway replica

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.scaled.service.port}"

    @property
    def port(self) -> int:
        return self.scaled.service.port

    def running(self, name: str) -> list[psutil.Process]:
        """The processes whose command begins so."""
        return [one for one in self.scaled.service.processes() if command_of(one).startswith(name)]

    def busiest(self, name: str) -> psutil.Process:
        """Of the processes of that name the one that works most at this moment: it has requests."""
        found = self.running(name)
        for one in found:
            one.cpu_percent()
        time.sleep(BUSY_SECONDS)
        return max(found, key=lambda one: float(one.cpu_percent()))

    def kill(self, name: str) -> None:
        """SIGKILL for the busiest process of that name; it is gone then, with what it had started."""
        self.kill_all([self.busiest(name)])
        if name == replica_of(GATEWAY):
            self.gateway_died_at = time.monotonic()

    def kill_all(self, processes: list[psutil.Process]) -> None:
        """SIGKILL for these, at once; they are gone then, with what they had started."""
        gone = [*processes, *(child for one in processes for child in one.children(recursive=True))]
        for one in processes:
            one.kill()
        psutil.wait_procs(gone, KILLED_SECONDS)

    async def gone(self, process: psutil.Process, seconds: float = 60) -> None:
        """Wait until it has ended."""
        async with asyncio.timeout(seconds):
            while command_of(process):
                await asyncio.sleep(0.2)

    async def deploy(self) -> None:
        """Hand Serve the changed configuration, as `portico deploy` does."""
        await asyncio.to_thread(self.scaled.deploy)

    async def replace(self, *deployments: str) -> None:
        """Hand Serve the changed configuration, and wait until no replica of before is left of these deployments."""
        status = await asyncio.to_thread(self.scaled.status)
        before = {one: set(status[one]["replicas"]) for one in deployments}
        await self.deploy()
        await self.wait(
            lambda status: (
                is_settled(status) and all(before[one].isdisjoint(status[one]["replicas"]) for one in deployments)
            )
        )

    async def resize(self, deployment: str, replicas: int) -> None:
        """Hand Serve the changed configuration, and wait until that deployment has so many replicas."""
        await self.deploy()
        await self.wait(lambda status: is_settled(status) and len(status[deployment]["replicas"]) == replicas)

    async def wait(self, true: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
        """Wait until `true` of the deployments' status."""
        return await asyncio.to_thread(self.scaled.wait, true, seconds)

    async def wait_whole(self, seconds: float = 180) -> None:
        """Wait until every model has all its replicas, an engine each, and every gateway replica knows it."""
        chats = self.scaled.entry(CHAT)["scaling"]["min_replicas"]
        async with asyncio.timeout(seconds):
            while not (
                await self._is_ready()
                and len(self.running(replica_of(GATEWAY))) == self.gateways()
                and len(self.running(replica_of(CHAT))) == len(self.running(ENGINE)) == chats
                and len(self.running(STORE)) >= self.stores()
            ):
                await asyncio.sleep(0.5)

    async def _is_ready(self) -> bool:
        """Serve's controller answers that all is well, and the gateway that all models are up, several times."""
        try:
            status = await asyncio.to_thread(self.scaled.status)
            if any(one["status"] not in ("HEALTHY", "RUNNING") for one in status.values()):
                return False
            async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:
                return all([(await client.get("/ready")).status_code == 200 for _ in range(4)])
        except (httpx.TransportError, KeyError):
            return False

    def stores(self) -> int:
        """How many budget stores there are to be."""
        return int(self.gateways() > 1)

    def gateways(self) -> int:
        return int(self.args["ingress"]["replicas"])

    @property
    def args(self) -> dict[str, Any]:
        """The configuration; change it and `deploy`."""
        args: dict[str, Any] = self.scaled.content["applications"][0]["args"]
        return args

    def lines(self) -> dict[str, Line]:
        return lines_of(self.scaled.service.ray_folder)

    async def counters(self) -> Counted:
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as client:
            return counted((await client.get("/metrics")).text)

    async def vitals(self) -> Vitals:
        return await asyncio.to_thread(self._vitals)

    def kept_images(self) -> int:
        """Files in the folder of images, without the one of the secret."""
        return sum(one.suffix == ".png" for one in self.images.iterdir())

    def _vitals(self) -> Vitals:
        held = self.scaled.held()
        gateways = held["gateways"]
        total: Counter[str] = Counter()
        for one in gateways:
            total.update({name: number for name, number in one.items() if name not in ("pid", "tasks")})
        total["slots in stores"] = sum(held["stores"])
        for model in {str(kind.body["model"]) for kind in KINDS} | {IMAGE}:
            total[f"ongoing at {model}"] = sum(self.scaled.ongoing(model))
        processes = [psutil.Process(one["pid"]) for one in gateways]
        commands = [command_of(one) for one in self.scaled.service.processes()]
        return Vitals(
            held=dict(total),
            tasks=max(one["tasks"] for one in gateways),
            descriptors=max(one.num_fds() for one in processes),
            megabytes=max(one.memory_info().rss for one in processes) // 2**20,
            processes=dict(Counter(filter(None, map(_known, commands)))),
            orphans=list(self._orphans()),
        )

    def _orphans(self) -> Iterator[str]:
        """Processes that this service has started, and that are no longer below the one that it is."""
        own = {one.pid for one in self.scaled.service.processes()}
        folder = str(self.scaled.service.ray_folder)
        for process in psutil.process_iter():
            try:
                started_here = process.environ().get("RAY_TMPDIR") == folder
            except psutil.Error:
                continue
            if started_here and process.pid not in own | {os.getpid(), self.scaled.service.process.pid}:
                yield f"{process.pid} {command_of(process)[:200]}"


def _known(command: str) -> str:
    """The name of a process that is counted; nothing for one that Ray keeps for later."""
    if "/haproxy" in command and "-f" in command:
        return "haproxy"
    return command.partition(".")[0].strip() if command.startswith(KNOWN) else ""
