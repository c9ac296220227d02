"""The ledger as a named Ray actor that outlives deployments, and the way to it from an ingress replica.

It alone imports SQLAlchemy and holds connections: no gateway replica pays for them.
"""

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson
import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from app import own_node
from app.background.thread_calls import ThreadCalls
from app.config.usage import UsageSettings
from app.usage.link import Batch, LedgerBusyError, LedgerUnreachableError
from app.usage.question import Question, Sum

logger = logging.getLogger("portico.usage")
T = TypeVar("T")

PROTOCOL = 2  # counts up with every change of what the actor is called for: one of an older version may still live
NAME, NAMESPACE = f"portico-usage-ledger-{PROTOCOL}", "portico"
WRITE_SECONDS = 15.0  # a write takes milliseconds; connecting to a database that is away takes up to 10 s
ASK_SECONDS = 12.0  # more than the database gets for a question
CALL_SECONDS = 20.0
QUESTIONS_AT_ONCE = 2  # the others wait
QUESTIONS_WAITING = 8  # more are refused
RETENTION_SECONDS = 3600.0
FIRST_RETENTION_SECONDS = 60.0  # after the start, when there is other work
PAUSE_SECONDS = 0.2  # between two deletions
LOOK_SECONDS = 5.0  # at whether the node is to end, and whether anybody still calls
UNCALLED_SECONDS = 600.0  # gateway replicas call every few seconds; then there are none
MAX_CALLS = 10_000  # at once


class UsageLedgerActor:
    """A UsageStore behind remote calls. One that no gateway replica calls any more ends itself."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = UsageSettings.model_validate(settings)
        self._store: Any = None  # a UsageStore, while its database answers
        self._opening = threading.Lock()
        self._called = time.monotonic()
        self._keeping: list[asyncio.Task[None]] = []
        self._writes = ThreadCalls("writing to the usage database", WRITE_SECONDS)
        self._questions = ThreadCalls("asking the usage database", ASK_SECONDS, QUESTIONS_AT_ONCE)
        self._deletions = ThreadCalls("deleting old usage", ASK_SECONDS)
        self._asked = 0
        self._failing: set[ThreadCalls] = set()  # those whose last call failed

    async def write(self, origin: str, first: int, rows: Sequence[tuple[Any, ...]]) -> int:
        """As UsageStore.write; no rows are a sign of life.

        Raises an error without its cause, which Ray may be unable to carry.
        """
        self._called = time.monotonic()
        if not self._keeping:
            self._keeping = [asyncio.create_task(one()) for one in (self._keep_short, self._keep_needed)]
        if not rows:
            return 0
        return await self._in_database(self._writes, lambda store: store.write(origin, first, rows))

    async def ask(self, question: Question) -> list[Sum]:
        if self._asked >= QUESTIONS_AT_ONCE + QUESTIONS_WAITING:
            raise LedgerBusyError
        self._asked += 1
        try:
            return await self._in_database(self._questions, lambda store: store.sums(question))
        finally:
            self._asked -= 1

    async def _in_database(self, calls: ThreadCalls, use: Callable[[Any], T]) -> T:
        """What `use` makes of the store, on a thread."""
        try:
            found: T = await calls.call(self._use, use)
        except Exception as error:
            if calls not in self._failing:  # a driver's message names the host and the user, and no password
                what = getattr(error, "orig", None) or error
                logger.warning("the usage database does not answer: %s: %s", type(what).__name__, what)
            self._failing.add(calls)
            raise LedgerUnreachableError(type(error).__name__) from None
        if calls in self._failing:
            logger.warning("the usage database answers again")
            self._failing.discard(calls)
        return found

    def _use(self, use: Callable[[Any], T]) -> T:
        """Blocks. After a failure of the database the next call connects anew: its URL may be another by then."""
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see above

        from app.usage.store import opened  # noqa: PLC0415 - see above

        with self._opening:
            store = self._store = self._store or opened(self._settings)
        try:
            return use(store)
        except DBAPIError as error:
            if error.connection_invalidated or error.statement is None:  # None: it could not connect
                with self._opening:
                    self._store = None if self._store is store else self._store
                store.close()
            raise

    async def _keep_short(self) -> None:
        """Delete what is older than it is to be, for as long as the actor lives."""
        days = self._settings.retention_days
        pause = FIRST_RETENTION_SECONDS
        while days is not None:
            await asyncio.sleep(pause)
            pause = RETENTION_SECONDS
            try:
                await self._delete_before(datetime.now(UTC) - timedelta(days=days))
            except LedgerUnreachableError:  # it was logged
                pause = FIRST_RETENTION_SECONDS

    async def _delete_before(self, moment: datetime) -> None:
        from app.usage.store import DELETED_AT_ONCE  # noqa: PLC0415 - see above

        deleted = DELETED_AT_ONCE
        while deleted >= DELETED_AT_ONCE:
            deleted = await self._in_database(self._deletions, lambda store: store.delete_before(moment))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _keep_needed(self) -> None:
        """End where nobody calls; fail where the node is to end, so that Ray starts this actor on another."""
        while time.monotonic() - self._called < UNCALLED_SECONDS:
            if await asyncio.to_thread(own_node.is_draining):
                os._exit(1)
            await asyncio.sleep(LOOK_SECONDS)
        ray.kill(ray.get_runtime_context().current_actor)


class ActorLink:
    """A LedgerLink over Ray. It makes the actor where there is none."""

    def __init__(self, settings: UsageSettings) -> None:
        self._settings = settings
        self._actor: Any = None
        self._finding: asyncio.Task[Any] | None = None

    async def write(self, batch: Batch) -> int:
        rows = [tuple(row) for row in batch.rows]  # plain ones are pickled twenty times as fast as named ones
        return await self._call(lambda actor: actor.write.remote(batch.origin, batch.first, rows))

    async def ask(self, question: Question) -> list[Sum]:
        return await self._call(lambda actor: actor.ask.remote(question))

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._actor is None:
                    self._actor = await self._find()
                return await call(self._actor)
        except RayTaskError as error:
            if isinstance(error.cause, LedgerBusyError | LedgerUnreachableError):
                raise type(error.cause)(*error.cause.args) from None
            logger.exception("the usage ledger failed at a call")
            raise LedgerUnreachableError from error
        except ActorDiedError:
            self._actor = None  # it will not restart; the next call makes another
            raise LedgerUnreachableError("the actor has died") from None
        except (RayError, TimeoutError, ValueError) as error:  # ValueError: the name is being given up
            raise LedgerUnreachableError(type(error).__name__) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise LedgerUnreachableError("the call was lost") from None  # Ray raises it then, too

    async def _find(self) -> Any:
        """The actor. Ray's call may hang in its thread: there is one at a time, however many wait for it."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(asyncio.to_thread(_actor, self._settings))
        return await asyncio.shield(self._finding)


def actor_name(settings: UsageSettings) -> str:
    """Other settings are another actor: the one before ends once nobody calls it."""
    content = orjson.dumps(settings.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return f"{NAME}-{hashlib.sha256(content).hexdigest()[:12]}"


def _actor(settings: UsageSettings) -> Any:
    if not ray.is_initialized():  # to ask for an actor would start one
        raise LedgerUnreachableError("Ray does not run")
    options = {
        "name": actor_name(settings),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,  # who sends rows again is who has them
        "max_concurrency": MAX_CALLS,
    }
    return ray.remote(UsageLedgerActor).options(**options).remote(settings.model_dump(mode="json"))
