"""The memory that this process has freed and its C library keeps."""

import asyncio
import ctypes
from collections.abc import Callable

PERIOD_SECONDS = 10.0


async def keep_trimmed() -> None:
    """Give the system back what is free, now and then, for as long as this process lives.

    By itself glibc gives back what is free at the end of its main heap, and nothing that is between what is in use or
    that another thread has freed: such as most of what it takes to read a tokenizer's file. This takes one to six
    milliseconds, on a thread. Returns at once where the C library has no such call.
    """
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.to_thread(trim, 0)
        await asyncio.sleep(PERIOD_SECONDS)
