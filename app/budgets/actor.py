"""The budget store as named Ray actors that outlive deployments, and the way to them from an ingress replica."""

import asyncio
import logging
import os
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from app import own_node
from app.budgets import snapshot, use_snapshot
from app.budgets.account import Debt
from app.budgets.batches import Batches
from app.budgets.messages import (
    SECOND,
    AdmissionReply,
    AdmissionRequest,
    Join,
    JoinReply,
    Message,
    Reply,
    Report,
    UseReply,
    UseReport,
)
from app.budgets.monthly_use import MonthlyUse
from app.budgets.shards import ONLY, Shard
from app.budgets.store import MEMORY, BudgetStore
from app.budgets.store_link import StoreUnreachableError
from contract import log_settings
from contract.private_folder import private_folder

logger = logging.getLogger("portico.budgets")

PROTOCOL = 3  # counts up with every change of what an actor is called for: one of an older version may still live
NAME, NAMESPACE = f"portico-budget-store-{PROTOCOL}", "portico"
SNAPSHOT_SECONDS = 1.0
LOOK_SECONDS = 5.0  # at whether the node is to end
UNCALLED_SECONDS = MEMORY / SECOND  # Ray restarts an actor whether or not anybody calls it any more
CALL_SECONDS = 2.0  # a call takes about a millisecond
MAX_CALLS = 10_000  # at once: one of each gateway replica


class BudgetStoreActor:
    """A BudgetStore behind remote calls. It writes a snapshot of it every second, and starts from the last one.

    One that no replica needs any more, since another number of shards is configured, ends itself.
    """

    def __init__(self, url: str, shard: Shard = ONLY) -> None:
        if _is_actor():  # else it is in the process of a test
            log_settings.begin_actor("budgets")
        self._url, self._shard = url, shard
        found = snapshot.read_in_time(url, shard)
        fresh = found is None and not _was_restarted()
        now = time.monotonic_ns()
        use = use_snapshot.read_in_time(url, shard)
        self._use_is_read = use is not None
        self._store = BudgetStore(now, fresh=fresh, debts=found, monthly_use=MonthlyUse(use, now))
        self._keeping: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        uncalled = threading.Timer(UNCALLED_SECONDS, self._end_uncalled)  # a constructor has no loop
        uncalled.daemon = True
        uncalled.start()

    async def deliver(self, messages: Sequence[Message]) -> list[Reply | None]:
        """The replies in the order of the messages; None where the store failed at one."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())
            self._moving = asyncio.create_task(self._move_on())
        if any(isinstance(message, Join) for message in messages):
            async with self._beginning:
                if any(isinstance(one, Join) and self._store.was_left(one, time.monotonic_ns()) for one in messages):
                    await self._begin_again()
        return [self._handle(message) for message in messages]

    async def _begin_again(self) -> None:
        """As after a restart: the replicas were at stores of another number, whose debts are in their snapshots."""
        found = await asyncio.to_thread(snapshot.read_in_time, self._url, self._shard) or {}
        now = time.monotonic_ns()
        for key, debt in self._store.debts(now).items():
            before = found.get(key, Debt())
            found[key] = Debt(max(before.requests, debt.requests), max(before.tokens, debt.tokens))
        self._store = BudgetStore(now, fresh=False, debts=found, monthly_use=self._store.monthly_use)
        self._use_is_read = False  # that of stores of another number

    def _end_uncalled(self) -> None:
        if self._keeping is None:
            _end()

    def _handle(self, message: Message) -> Reply | None:
        try:
            return self._store.handle(message, time.monotonic_ns())
        except Exception:  # the other messages of the call are not to suffer
            logger.exception("the budget store failed at a message of the kind %s", type(message).__name__)
            return None

    async def _keep(self) -> None:
        """Sweep and write snapshots for as long as the actor lives. Whatever fails, the store goes on without."""
        writing, failed = None, False
        while True:
            try:
                now = time.monotonic_ns()
                self._store.sweep(now)
                if self._store.is_forgotten(now):
                    _end()
                if writing is None or writing.done():  # one that hangs holds one thread, and no more
                    writing = asyncio.create_task(self._write(self._store.debts(now)))
                async with asyncio.timeout(snapshot.TIMEOUT_SECONDS):
                    await asyncio.shield(writing)
                failed = False
            except Exception:
                if not failed:
                    logger.warning("the snapshot of the budgets cannot be written", exc_info=True)
                failed = True
            await asyncio.sleep(SNAPSHOT_SECONDS)

    async def _write(self, debts: dict[str, Debt]) -> None:
        """The debts, and the use of each month once what was there before is known, so that this is not lost."""
        await asyncio.to_thread(snapshot.write, self._shard.name(self._url), debts)
        use = self._store.monthly_use
        if not self._use_is_read:
            found = await asyncio.to_thread(use_snapshot.read, self._url, self._shard)
            use.restore(found, time.monotonic_ns())
            self._use_is_read = True
        if use.changed:
            use.changed = False
            try:
                content = use_snapshot.content_of(use.state)
                await asyncio.to_thread(use_snapshot.write, self._shard.name(self._url), content)
            except BaseException:
                use.changed = True
                raise

    async def _move_on(self) -> None:
        """Fail where the node is to end, so that Ray starts this actor on another: the node would wait for it."""
        while not await asyncio.to_thread(own_node.is_draining):  # noqa: ASYNC110 - Ray tells nobody
            await asyncio.sleep(LOOK_SECONDS)
        _fail()


class ActorLink:
    """A StoreLink over Ray. It makes the actor where there is none."""

    def __init__(self, url: str | None, shard: Shard = ONLY) -> None:
        """`url` is where snapshots are written."""
        self._url = url or default_snapshot()
        self._shard = shard
        self._actor: Any = None
        self._finding: asyncio.Task[Any] | None = None
        self._batches = Batches(self._deliver)

    async def join(self, join: Join) -> JoinReply:
        reply: JoinReply = await self._batches.send(join)
        return reply

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        reply: AdmissionReply = await self._batches.send(request)
        return reply

    async def report(self, report: Report) -> bool:
        known: bool = await self._batches.send(report)
        return known

    async def use(self, report: UseReport) -> UseReply:
        reply: UseReply = await self._batches.send(report)
        return reply

    async def _deliver(self, messages: Sequence[Message]) -> Sequence[Reply | None]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._actor is None:
                    self._actor = await self._find()
                replies: list[Reply | None] = await self._actor.deliver.remote(messages)
                return replies
        except ActorDiedError:
            self._actor = None  # it will not restart; the next call makes another
            raise StoreUnreachableError from None
        except RayTaskError as error:
            logger.exception("the budget store failed at a call")
            raise StoreUnreachableError from error
        except (RayError, TimeoutError, ValueError):  # ValueError: the name is being given up
            raise StoreUnreachableError from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise StoreUnreachableError from None  # Ray raises it for a call that it has lost, too
        except Exception as error:  # a request is not to fail because the store does
            logger.exception("the budget store could not be called")
            raise StoreUnreachableError from error

    async def _find(self) -> Any:
        """The actor. Ray's call may hang in its thread: there is one at a time, however many wait for it."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(asyncio.to_thread(_actor, self._url, self._shard))
        return await asyncio.shield(self._finding)


def default_snapshot() -> str:
    """A file of this cluster in a folder of this user's among the system's temporary files. Raises PermissionError."""
    cluster = ray.get_runtime_context().gcs_address.replace(":", "-")
    return os.path.join(private_folder(), f"budgets-{cluster}-{PROTOCOL}.json")


def _end() -> None:
    """End this actor; Ray does not restart it."""
    ray.kill(ray.get_runtime_context().current_actor)


def _fail() -> None:
    """End this process as if it had failed; Ray restarts the actor, which starts from the last snapshot."""
    os._exit(1)


def _is_actor() -> bool:
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _was_restarted() -> bool:
    with warnings.catch_warnings():  # Ray reads a name there that it means to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _actor(url: str, shard: Shard) -> Any:
    options = {
        "name": shard.name(NAME),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,  # a request that is sent twice would be charged twice
        "max_concurrency": MAX_CALLS,
    }
    return ray.remote(BudgetStoreActor).options(**options).remote(url, shard)
