"""What a service prints while it starts and stops, held back from a terminal: `serve` says there itself how far it is.

It is shown where the start fails. While the service runs, everything is shown as it comes.
"""

import sys
import threading
from typing import IO, BinaryIO


class HeldOutput:
    """Copies lines of `source` to `target`, or holds them: at first it holds them."""

    def __init__(self, source: IO[bytes], target: BinaryIO | None = None) -> None:
        self._source = source
        self._target = target or sys.stdout.buffer
        self._held: list[bytes] | None = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Show what was held, and from now on each line."""
        with self._lock:
            held, self._held = self._held, None
            self._target.writelines(held or [])
            self._target.flush()

    def discard(self) -> None:
        """Forget what was held, and from now on show each line."""
        with self._lock:
            self._held = None

    def hold(self) -> None:
        """Show nothing from now on."""
        with self._lock:
            self._held = []

    def join(self, timeout_s: float) -> None:
        """Wait until the source has ended and all of it has been copied."""
        self._thread.join(timeout_s)

    def _copy(self) -> None:
        for line in self._source:
            with self._lock:
                if self._held is not None:
                    self._held.append(line)
                else:
                    self._target.write(line)
                    self._target.flush()
