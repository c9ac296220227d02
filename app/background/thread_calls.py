"""Blocking calls on threads, each under a time limit."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class ThreadCalls:
    """Calls of one kind. A call that is given up still occupies its thread, and with it one of the `at_once` places.

    So calls that hang do not pile up: the next ones wait for a place, under the same limit. The threads are daemons
    and not of the loop's pool: one that hangs keeps neither other kinds of calls nor the end of the process waiting.
    """

    def __init__(self, kind: str, timeout_s: float, at_once: int = 1) -> None:
        """`kind` names the calls in errors and as their threads."""
        self._kind = kind
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(at_once)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """The result of `function`, or what it raises; TimeoutError where it takes longer, or no place is free."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
                return await self._start(function, args)
        except TimeoutError as error:
            if str(error):  # the function's own
                raise
            raise TimeoutError(f"{self._kind}: no answer within {self._timeout_s:g} s") from None

    def _start(self, function: Callable[..., T], args: tuple[Any, ...]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            self._places.release()
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = context.run(function, *args)
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, result, error)

        context = contextvars.copy_context()
        threading.Thread(target=run, name=self._kind, daemon=True).start()
        return future
