"""The trace of one request, as the W3C's Trace Context names it: ids and a decision, made when the request comes.

Nothing here needs OpenTelemetry. The spans are made of it and of the request's record, once that has ended.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
# By the grammar of Trace Context, level 1.
TRACESTATE_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
INVALID_VERSION = "ff"
SAMPLED = 1
MAX_TRACEPARENT_LENGTH = 256  # of a version to come; ours has 55
MAX_TRACESTATE_LENGTH = 512
MAX_TRACESTATE_MEMBERS = 32


class Parent(NamedTuple):
    """The span of somebody else that a request comes from."""

    trace_id: int
    span_id: int
    sampled: bool
    tracestate: str = ""


def parent_from(headers: Mapping[str, str]) -> Parent | None:
    """What a client's `traceparent` and `tracestate` say. One that is malformed counts as none."""
    header = headers.get("traceparent")
    if header is None or len(header) > MAX_TRACEPARENT_LENGTH:
        return None
    found = TRACEPARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == INVALID_VERSION or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    sampled = bool(int(flags, 16) & SAMPLED)
    return Parent(int(trace_id, 16), int(span_id, 16), sampled, _tracestate(headers.get("tracestate", "")))


def _tracestate(header: str) -> str:
    """The header, or nothing where it is too large, or malformed: OpenTelemetry logs the text of such a one."""
    if len(header) > MAX_TRACESTATE_LENGTH or header.count(",") >= MAX_TRACESTATE_MEMBERS:
        return ""
    members = [member.strip(" \t") for member in header.split(",")]
    return header if all(TRACESTATE_MEMBER.fullmatch(member) for member in members if member) else ""


@dataclass(slots=True)
class Trace:
    """The ids of one request's spans, and what only its spans say of it."""

    trace_id: int
    span_id: int  # of the request in the gateway
    call_id: int  # of the call to the model, which is the parent of the engine's
    sampled: bool
    began_ns: int  # since the epoch
    method: str = ""
    parent_id: int | None = None
    tracestate: str = ""
    # the call to the model
    engine: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)  # as the engine gets them, the prompt among them

    @property
    def hex_id(self) -> str:
        """The trace's id as people and headers have it."""
        return f"{self.trace_id:032x}"

    def traceparent(self) -> str:
        """For the engine."""
        return f"00-{self.trace_id:032x}-{self.call_id:016x}-{int(self.sampled):02x}"
