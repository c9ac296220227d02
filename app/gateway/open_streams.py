"""The streams that one replica of the gateway has under way: they end with its drain time, and say so."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.upstream.answer import Pieces
from contract.errors import ApiError


class OpenStreams:
    """Ends all of them at once. What begins after that ends at once, too."""

    def __init__(self) -> None:
        self._open: set[Pieces] = set()
        self._are_over = False

    @contextmanager
    def one_more(self, pieces: Pieces) -> Iterator[None]:
        """Count a stream while it is written."""
        self._open.add(pieces)
        try:
            yield
        finally:
            self._open.discard(pieces)

    def end(self) -> None:
        self._are_over = True
        for pieces in self._open:
            pieces.wake()

    def require_time(self) -> None:
        """Raises ApiError `upstream_error` once they must end."""
        if self._are_over:
            raise ApiError("upstream_error", "The service restarts, and this answer took too long. Send it again.")
