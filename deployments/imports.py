"""Imports of large libraries: they make a million objects that stay, and bring other libraries that nobody asks for."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(*, without: str) -> Iterator[None]:
    """Import a large library while another, which it would take along where that is installed, is not to be found.

    Nor is garbage looked for meanwhile, which takes a fifth of the time, and what is there then later.
    """
    absent = without not in sys.modules
    if absent:
        sys.modules[without] = None  # type: ignore[assignment]  # Python's way to say so
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if absent:
            del sys.modules[without]
        gc.freeze()
        if collects:
            gc.enable()
