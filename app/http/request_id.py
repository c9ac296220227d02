"""The ids of a request that a client may give."""

import re
import uuid

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
MAX_CLIENT_ID_LENGTH = 512


def request_id_from(header: str | None) -> str:
    """The client's own id where it is a UUID, else a new one."""
    return header if header is not None and UUID_FORM.fullmatch(header) else str(uuid.uuid4())


def client_request_id_from(header: str | None) -> str | None:
    """The client's X-Client-Request-Id where it may be echoed: printable ASCII, at most 512 characters."""
    if header is None or len(header) > MAX_CLIENT_ID_LENGTH or not (header.isascii() and header.isprintable()):
        return None
    return header
