"""The service under test on a cluster of three machines, as whoever runs it sees it."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from app.upstream.registry import READY
from tests.cluster.machines import GATEWAY_LABEL, PORTICO, SERVE, Machine, Machines, Redis, started
from tests.conftest import wait_ready
from tests.reliability.conftest import DRAIN_S, configuration
from tests.reliability.system import System
from tests.reliability.table import CLUSTER
from tests.scaling.conftest import Cluster, ScaledService

START_SECONDS = 400
DEPLOY_SECONDS = 180
SAY_SECONDS = 60  # for one answer of a machine that is full
END_SECONDS = DRAIN_S + 180  # what replaces its replicas starts first


class ClusteredSystem(System):
    """Requests come through the HAProxy of the first worker, which no fault takes away."""

    def __init__(self, scaled: ScaledService, machines: Machines, folder: Path) -> None:
        super().__init__(scaled, CLUSTER, folder / "images", folder / "snapshots", has_small_disks=False)
        self.machines = machines
        self._folder = folder

    @property
    def kept(self) -> Machine:
        return self.machines.workers[0]

    @property
    def other(self) -> Machine:
        """A worker that may be taken away."""
        return self.machines.workers[-1]

    async def deploy(self) -> None:
        """Hand Serve the changed configuration, by the command, and wait until every model is up."""
        path = self._folder / "changed.yaml"
        path.write_text(yaml.safe_dump(self.scaled.content))
        await asyncio.to_thread(self.machines.run, PORTICO, "deploy", str(path), "--address", self.machines.gcs)

    def rejoin(self) -> None:
        """Ask a head that was started again, in place of the one before, which took those along who had asked it."""
        self.scaled.close()
        self.scaled = scaled(self.machines, self.scaled.content, self._folder)

    async def wait_here(self, machine: Machine, name: str, seconds: float = DEPLOY_SECONDS) -> None:
        """Wait until a process of that name runs on a machine."""
        async with asyncio.timeout(seconds):
            while not machine.runs(name):
                await asyncio.sleep(0.5)

    async def ended(self, machine: Machine, seconds: float = END_SECONDS) -> None:
        """Wait until nothing of a machine runs any more."""
        async with asyncio.timeout(seconds):
            while machine.ray.is_running() and machine.ray.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.5)
        machine.kill()

    async def not_ready_until(self, over: Coroutine[Any, Any, None]) -> set[str]:
        """Which models the gateway says are not ready, at whatever moment, until `over` is."""
        found: set[str] = set()
        async with httpx.AsyncClient(base_url=self.url, timeout=SAY_SECONDS) as client, asyncio.TaskGroup() as group:
            waiting = group.create_task(over)
            while not waiting.done():
                answer = await client.get("/ready")
                models = answer.json().get("models")  # HAProxy's own answers have none
                found |= {f"{one['id']} is {one['state']}" for one in models or [] if one["state"] != READY}
                if models is None:
                    found.add(answer.text)
                await asyncio.sleep(0.5)
        return found


def clustered(content: dict[str, Any], port: int) -> dict[str, Any]:
    """`content` of a service on one machine for several; the HAProxy of the head has that port."""
    content |= {"proxy_location": "EveryNode"}
    content["http_options"]["port"] = port
    content["applications"][0]["args"]["ingress"] |= {"label_selector": GATEWAY_LABEL}
    return content


def scaled(machines: Machines, content: dict[str, Any], folder: Path) -> ScaledService:
    environment = {name: value for name, value in machines.environment.items() if name != "RAY_TMPDIR"}
    cluster = Cluster(machines.gcs, environment | {"RAY_AUTH_MODE": "token"})  # none of the service's own processes
    return ScaledService(machines, content, folder, cluster)


@contextmanager
def three_machines(redis: bool) -> Iterator[ClusteredSystem]:
    """The service on a head without work, with a Redis behind it or not, and two workers."""
    folder = Path(tempfile.mkdtemp(prefix="portico-"))  # short: Ray puts sockets there
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        behind = stack.enter_context(closing(Redis(folder))) if redis else None
        machines = stack.enter_context(closing(started(folder, behind)))
        for name in ("images", "snapshots"):
            (folder / name).mkdir(mode=0o700)
        content = clustered(configuration(folder), machines.head.port)
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        machines.wait_joined()
        machines.run(SERVE, "deploy", str(file))
        wait_ready(machines.port, machines.head.ray, machines.log, START_SECONDS)
        system = ClusteredSystem(scaled(machines, content, folder), machines, folder)
        stack.callback(lambda: system.scaled.close())  # noqa: PLW0108 - another by then, where the head came back
        yield system
