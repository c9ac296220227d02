"""The readiness probe of a service that this machine starts: how far it is, and each of its models."""

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass

import orjson

from app.upstream.registry import ASLEEP, FAILED, READY

TIMEOUT_SECONDS = 5.0
UP = frozenset({READY, ASLEEP})
STARTING_RAY, STARTING_GATEWAY = "Starting Ray", "Starting the gateway"


@dataclass(frozen=True)
class ModelState:
    """One model."""

    id: str
    state: str  # ready, asleep, failed, or how far its start is
    error: str | None = None  # its last line, where it failed

    @property
    def is_up(self) -> bool:
        return self.state in UP

    @property
    def is_settled(self) -> bool:
        return self.is_up or self.state == FAILED


@dataclass(frozen=True)
class Look:
    """What one question was answered with."""

    models: tuple[ModelState, ...] = ()  # none: the gateway does not answer yet
    stage: str = STARTING_RAY  # what happens, as long as there are none


class Probe:
    """Asks GET /ready, and remembers the last answer: HAProxy takes no connection while it reloads."""

    def __init__(self, host: str, port: int) -> None:
        self._url = f"http://{host}:{port}/ready"
        self._last = Look()

    def look(self) -> Look:
        """How it is now; where nobody answers, how it was."""
        body = self._ask()
        if body is not None:
            models = _models(body)
            self._last = Look(models or self._last.models, STARTING_GATEWAY)
        return self._last

    def _ask(self) -> bytes | None:
        """What GET /ready is answered, whatever its status."""
        try:
            with urllib.request.urlopen(self._url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http, to this machine
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            return error.read()
        except (OSError, http.client.HTTPException):  # nobody there yet, or another program that is on its way out
            return None


def _models(body: bytes) -> tuple[ModelState, ...]:
    """None in the answer of what stands before the gateway."""
    try:
        return tuple(ModelState(one["id"], one["state"], one["error"]) for one in orjson.loads(body)["models"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ()
