"""The memory of this process: what is free goes back to the system, and what stays is not searched for garbage."""

import asyncio
import ctypes
import gc
from collections.abc import Callable

PERIOD_SECONDS = 10.0
YOUNG_OBJECTS = 30_000  # more than have been freed, since the last search for garbage, at the next one


def settle() -> None:
    """What is here now is to stay: no search for garbage walks through it any more, which would take 25 ms.

    Of what comes later hardly anything is garbage, for a request is freed as soon as it is answered. It is searched
    seldom: Python's own 700 objects are made by each sixth request where clients are many.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


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
