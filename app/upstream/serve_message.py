"""What Serve says of a deployment, as a person is told: short and printable."""

import re
from typing import Any

TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")  # Ray colours its errors
MAX_ERROR_LENGTH = 300
TRIED = re.compile(r"A replica failed to start with exception\. Retrying(?: (\d+) more time)?")
NO_ROOM = re.compile(
    r"to be scheduled\..*required for each replica: (.*?), total resources available: (.*?)\. Use ", re.S
)


def error_of(deployment: Any) -> str:
    """The last line of Serve's message on a deployment that failed: the error of its replica."""
    lines = [line for line in TERMINAL_CODES.sub("", deployment.message).splitlines() if line.strip()]
    return "".join(filter(str.isprintable, lines[-1].strip()))[:MAX_ERROR_LENGTH] if lines else ""


def setback_of(deployment: Any) -> str:
    """What keeps a deployment from starting, while Serve goes on trying; empty where nothing is known."""
    if tried := TRIED.match(deployment.message):
        left = f"; {tried[1]} more to come" if tried[1] else ""
        return f"a try failed{left}: {error_of(deployment)}"
    if no_room := NO_ROOM.search(deployment.message):
        needed, free = (one[:MAX_ERROR_LENGTH] for one in no_room.groups())
        return f"no machine has taken a replica for 30 s: it needs {needed}, and {free} is free"
    return ""
