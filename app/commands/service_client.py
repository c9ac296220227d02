"""HTTP requests of the commands to a service: its base URL, the key, and what an answer says beside its body."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from app.commands.services import NoService, running, the_service
from app.keys import LOCAL_KEY
from app.keys.local import is_loopback
from contract.fields import ConfigError

LOCAL_URL = "http://127.0.0.1:8000/v1"
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
SHOWN = 300  # characters of a body that is no error of ours


class Refused(Exception):
    """The service answered with an error. The message is the service's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ServiceClient:
    """Sends requests to one service with one key."""

    def __init__(self, base_url: str, key: str | None) -> None:
        """Raises ConfigError where the URL is none, or a key is missing."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{base_url} is no base URL, such as {LOCAL_URL}")
        if key is None and not is_loopback(parts.hostname):
            raise ConfigError(f"{base_url} needs an API key: give `--api-key`, or set OPENAI_API_KEY")
        self.base_url = base_url.rstrip("/")
        headers = {"authorization": f"Bearer {key or LOCAL_KEY}"}
        self.http = httpx2.Client(headers=headers, timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))

    def url(self, path: str) -> str:
        """Of a route such as /v1/models, or /health beside them."""
        if path.startswith("/v1/"):
            return self.base_url + path.removeprefix("/v1")
        return self.base_url.removesuffix("/v1") + path

    def get(self, path: str) -> Any:
        """The JSON of an answer. Raises Refused, NoService."""
        with self.answering():
            response = self.http.get(self.url(path))
        if response.status_code != 200:
            raise refused(response)
        return response.json()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Raises NoService where the service cannot be reached, or ends in the middle of an answer."""
        try:
            yield
        except httpx2.ConnectError as error:
            raise NoService(
                f"Nothing answers at {self.base_url} ({error}). `portico serve` starts a service."
            ) from None
        except httpx2.TransportError as error:
            raise NoService(f"{self.base_url} broke off: {error or type(error).__name__}.") from None

    def model_ids(self) -> list[str]:
        """The models that the key may use. Raises Refused, NoService."""
        return [str(model["id"]) for model in self.get("/v1/models")["data"]]

    def model(self, model_id: str) -> dict[str, Any]:
        """One model, with what the service says of it beyond OpenAI's fields. Raises Refused, NoService."""
        found: dict[str, Any] = self.get(f"/v1/models/{model_id}")
        return found


def client_of(base_url: str | None, key: str | None) -> ServiceClient:
    """Of a service that is named; else of the one that runs on this machine. Raises NoService, ConfigError."""
    if base_url is None:
        base_url = the_service().base_url if running() else LOCAL_URL
    return ServiceClient(base_url, key)


def refused(response: httpx2.Response) -> Refused:
    """The error in an answer, whose body was read."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = " ".join(response.text.split())[:SHOWN] or "it says nothing"
    return Refused(response.status_code, message)
