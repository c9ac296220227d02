"""The budget store as a named Ray actor that outlives deployments, and the way to it from an ingress replica."""

import asyncio
import logging
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import orjson
import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from app import owner_only
from app.budgets.account import Debt
from app.budgets.messages import SECOND, AdmissionReply, AdmissionRequest, Join, JoinReply, Report
from app.budgets.store import BudgetStore
from app.budgets.store_link import StoreUnreachableError
from contract.private_folder import private_folder

logger = logging.getLogger("portico.budgets")

NAME, NAMESPACE = "portico-budget-store", "portico"
SNAPSHOT_SECONDS = 1.0
SNAPSHOT_TIMEOUT_SECONDS = 10.0  # for a file system that hangs
CALL_SECONDS = 2.0  # a call takes about a millisecond
MAX_CALLS = 10_000  # at once; each is a few microseconds of work
# A younger snapshot was written by a store whose grants still count: every bucket is full after a minute.
SNAPSHOT_COUNTS_SECONDS = 60


class BudgetStoreActor:
    """A BudgetStore behind remote calls. It writes a snapshot of it every second, and starts from the last one."""

    def __init__(self, snapshot: str) -> None:
        self._snapshot = snapshot
        found = _read_in_time(snapshot)
        fresh = found is None and not _was_restarted()
        self._store = BudgetStore(time.monotonic_ns(), fresh=fresh, debts=found)
        self._keeping: asyncio.Task[None] | None = None

    async def join(self, join: Join) -> JoinReply:
        if self._keeping is None:  # a constructor has no loop to start it on
            self._keeping = asyncio.create_task(self._keep())
        return self._store.join(join, time.monotonic_ns())

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        return self._store.admit(request, time.monotonic_ns())

    async def report(self, report: Report) -> bool:
        return self._store.report(report, time.monotonic_ns())

    async def _keep(self) -> None:
        """Sweep and write snapshots for as long as the actor lives. Whatever fails, the store goes on without."""
        writing, failed = None, False
        while True:
            try:
                now = time.monotonic_ns()
                self._store.sweep(now)
                if writing is None or writing.done():  # one that hangs holds one thread, and no more
                    writing = asyncio.create_task(asyncio.to_thread(_write, self._snapshot, self._store.debts(now)))
                async with asyncio.timeout(SNAPSHOT_TIMEOUT_SECONDS):
                    await asyncio.shield(writing)
                failed = False
            except Exception:
                if not failed:
                    logger.warning("the snapshot of the budgets cannot be written", exc_info=True)
                failed = True
            await asyncio.sleep(SNAPSHOT_SECONDS)


class ActorLink:
    """A StoreLink over Ray. It makes the actor where there is none."""

    def __init__(self, snapshot: str | None) -> None:
        self._snapshot = snapshot or default_snapshot()
        self._actor: Any = None
        self._finding: asyncio.Task[Any] | None = None

    async def join(self, join: Join) -> JoinReply:
        reply: JoinReply = await self._call("join", join)
        return reply

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        reply: AdmissionReply = await self._call("admit", request)
        return reply

    async def report(self, report: Report) -> bool:
        known: bool = await self._call("report", report)
        return known

    async def _call(self, method: str, message: tuple[Any, ...]) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._actor is None:
                    self._actor = await self._find()
                return await getattr(self._actor, method).remote(message)
        except ActorDiedError:
            self._actor = None  # it will not restart; the next call makes another
            raise StoreUnreachableError from None
        except RayTaskError as error:
            logger.exception("the budget store failed at a call of %s", method)
            raise StoreUnreachableError from error
        except (RayError, TimeoutError, ValueError):  # ValueError: the name is being given up
            raise StoreUnreachableError from None

    async def _find(self) -> Any:
        """The actor. Ray's call may hang in its thread: there is one at a time, however many wait for it."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(asyncio.to_thread(_actor, self._snapshot))
        return await asyncio.shield(self._finding)


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
        "max_task_retries": 0,  # a request that is sent twice would be charged twice
        "max_concurrency": MAX_CALLS,
    }
    return ray.remote(BudgetStoreActor).options(**options).remote(snapshot)


def _write(url: str, debts: dict[str, Debt]) -> None:
    system, path = fsspec.url_to_fs(url)
    owner_only.make_folder(system, system._parent(path))
    content = {"time": time.time(), "debts": {key: list(debt) for key, debt in debts.items()}}
    owner_only.write(system, path, orjson.dumps(content))


def _read_in_time(url: str) -> dict[str, Debt] | None:
    """As `_read`; None as well where the file system does not answer in time."""
    reader = ThreadPoolExecutor(1)
    try:
        return reader.submit(_read, url).result(SNAPSHOT_TIMEOUT_SECONDS)
    except TimeoutError:
        logger.warning("the snapshot of the budgets cannot be read in time; nothing is known of debts")
        return None
    finally:
        reader.shutdown(wait=False)


def _read(url: str) -> dict[str, Debt] | None:
    """The debts in a recent snapshot, as they are now; None where there is none that can be read."""
    try:
        system, path = fsspec.url_to_fs(url)
        content = orjson.loads(system.cat_file(path))
        age = abs(time.time() - content["time"])
        if age >= SNAPSHOT_COUNTS_SECONDS:
            return None
        return {key: Debt(*debt).later(int(age * SECOND)).owed() for key, debt in content["debts"].items()}
    except FileNotFoundError:
        return None
    except Exception:
        logger.warning("the snapshot of the budgets cannot be read; nothing is known of debts", exc_info=True)
        return None
