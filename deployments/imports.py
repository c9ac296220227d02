"""Imports of large libraries: they make a million objects that stay, and bring other libraries that nobody asks for."""

import gc
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def importing(*, without: Collection[str] = ()) -> Iterator[None]:
    """Garbage is not looked for meanwhile, which takes a fifth of the time, and later not among what was imported.

    `without` are libraries that it would take along where they are installed: meanwhile they are not to be found.
    """
    left_out = [name for name in without if name not in sys.modules]
    for name in left_out:
        sys.modules[name] = None  # type: ignore[assignment] # Python's way to say so
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
        gc.freeze()
        if collects:
            gc.enable()
