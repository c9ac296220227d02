"""The ids of a request that a client may give."""

import re
import uuid
from collections.abc import Mapping

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
MAX_CLIENT_ID_LENGTH = 512
MAX_FOREIGN_ID_LENGTH = 128  # of an X-Request-Id that is no UUID


def request_id_from(header: str | None) -> str:
    """The client's own id where it is a UUID, else a new one."""
    return header if header is not None and UUID_FORM.fullmatch(header) else str(uuid.uuid4())


def client_request_id_from(headers: Mapping[str, str]) -> str | None:
    """The id by which the client knows its request, where it may be echoed and logged: printable ASCII, not too long.

    Its X-Client-Request-Id; where there is none, an X-Request-Id that is no UUID.
    """
    if (own := headers.get("x-client-request-id")) is not None:
        return own if _is_safe(own, MAX_CLIENT_ID_LENGTH) else None
    foreign = headers.get("x-request-id", "")
    return foreign if _is_safe(foreign, MAX_FOREIGN_ID_LENGTH) and not UUID_FORM.fullmatch(foreign) else None


def _is_safe(value: str, max_length: int) -> bool:
    return 0 < len(value) <= max_length and value.isascii() and value.isprintable()
