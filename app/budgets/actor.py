"""The budget store as a named Ray actor that outlives deployments, and the way to it from an ingress replica."""

import asyncio
import logging
import os
import time
import warnings
from typing import Any

import fsspec
import orjson
import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError

from app.budgets.leased import StoreUnreachableError
from app.budgets.store import Answer, Ask, BudgetStore, Held, Join, Report
from contract.private_folder import private_folder

logger = logging.getLogger("portico.budgets")

NAME, NAMESPACE = "portico-budgets", "portico"
SNAPSHOT_SECONDS = 1.0
CALL_SECONDS = 2.0  # a call takes about a millisecond
MAX_CALLS = 10_000  # at once; each is a few microseconds of work
# A younger snapshot was written by a store whose grants still count: every bucket is full after a minute.
SNAPSHOT_COUNTS_SECONDS = 60


class BudgetStoreActor:
    """A BudgetStore behind remote calls. It writes a snapshot of it every second, and starts from the last one."""

    def __init__(self, snapshot: str) -> None:
        self._snapshot = snapshot
        written, debts = _read(snapshot)
        recent = abs(time.time() - written) < SNAPSHOT_COUNTS_SECONDS
        fresh = not (recent or _was_restarted())
        self._store = BudgetStore(time.monotonic_ns(), fresh=fresh, debts=debts if recent else None)
        self._keeping: asyncio.Task[None] | None = None

    async def join(self, join: Join) -> None:
        if self._keeping is None:  # a constructor has no loop to start it on
            self._keeping = asyncio.create_task(self._keep())
        self._store.join(join, time.monotonic_ns())

    async def answer(self, ask: Ask) -> Answer:
        return self._store.answer(ask, time.monotonic_ns())

    async def report(self, report: Report) -> None:
        self._store.report(report, time.monotonic_ns())

    async def _keep(self) -> None:
        """Sweep and snapshot for as long as the actor lives."""
        failed = False
        while True:
            now = time.monotonic_ns()
            self._store.sweep(now)
            try:
                await asyncio.to_thread(_write, self._snapshot, self._store.debts(now))
                failed = False
            except Exception:  # whatever the file system raises; the budget store goes on without
                if not failed:
                    logger.warning("the snapshot of the budgets cannot be written", exc_info=True)
                failed = True
            await asyncio.sleep(SNAPSHOT_SECONDS)


class ActorLink:
    """A StoreLink over Ray. It makes the actor where there is none."""

    def __init__(self, snapshot: str | None) -> None:
        self._snapshot = snapshot or default_snapshot()
        self._actor: Any = None

    async def join(self, join: Join) -> None:
        await self._call("join", join)

    async def answer(self, ask: Ask) -> Answer:
        answer: Answer = await self._call("answer", ask)
        return answer

    async def report(self, report: Report) -> None:
        await self._call("report", report)

    async def _call(self, method: str, argument: tuple[Any, ...]) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._actor is None:
                    self._actor = await asyncio.to_thread(_actor, self._snapshot)
                return await getattr(self._actor, method).remote(argument)
        except ActorDiedError:
            self._actor = None  # it will not restart; the next call makes another
            raise StoreUnreachableError from None
        except (RayActorError, RayError, TimeoutError, ValueError):  # ValueError: the name is being given up
            raise StoreUnreachableError from None


def default_snapshot() -> str:
    """A file of this cluster in a folder of this user's among the system's temporary files. Raises PermissionError."""
    cluster = ray.get_runtime_context().gcs_address.replace(":", "-")
    return os.path.join(private_folder(), f"budgets-{cluster}.json")


def _was_restarted() -> bool:
    with warnings.catch_warnings():  # Ray reads a name there that it means to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _actor(snapshot: str) -> Any:
    options = {
        "name": NAME,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,  # a question that is asked twice would be charged twice
        "max_concurrency": MAX_CALLS,
    }
    return ray.remote(BudgetStoreActor).options(**options).remote(snapshot)


def _write(url: str, debts: dict[str, Held]) -> None:
    system, path = fsspec.url_to_fs(url)
    system.makedirs(system._parent(path), exist_ok=True)
    with system.transaction, system.open(path, "wb") as file:
        file.write(orjson.dumps({"time": time.time(), "debts": {key: list(debt) for key, debt in debts.items()}}))


def _read(url: str) -> tuple[float, dict[str, Held]]:
    """When the snapshot was written (Unix seconds; zero where there is none that can be read), and the debts in it."""
    try:
        system, path = fsspec.url_to_fs(url)
        content = orjson.loads(system.cat_file(path))
        return float(content["time"]), {key: Held(*debt) for key, debt in content["debts"].items()}
    except FileNotFoundError:
        return 0.0, {}
    except Exception:
        logger.warning("the snapshot of the budgets cannot be read; nothing is known of debts", exc_info=True)
        return 0.0, {}
