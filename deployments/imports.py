"""Imports of large libraries: they make a million objects that stay, and bring other libraries that nobody asks for."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(*, without: str | None = None) -> Iterator[None]:
    """Garbage is not looked for meanwhile, which takes a fifth of the time, and later not among what was imported.

    `without` is a library that it would take along where that is installed: meanwhile it is not to be found.
    """
    left_out = without is not None and without not in sys.modules
    if without is not None and left_out:
        sys.modules[without] = None  # type: ignore[assignment] # Python's way to say so
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if without is not None and left_out:
            del sys.modules[without]
        gc.freeze()
        if collects:
            gc.enable()
