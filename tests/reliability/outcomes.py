"""How a request ended, as its client saw it: every end is one of five, and what the contract does not know is lost."""

from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from app.telemetry.record import OK
from contract.errors import CODES
from contract.sse import DONE, EVENT_END, PING

ENVELOPE = {"message", "type", "code", "param"}


class Verdict(StrEnum):
    """The five ends."""

    OK = "ok"
    REFUSED = "refused"  # 429 or 503, with Retry-After
    FAILED = "failed"  # 502 or 504
    CUT = "cut"  # a stream that had begun ended in the contract's error form
    LOST = "lost"  # anything else


class Outcome(NamedTuple):
    """An end. `reason` is OK, an error's code as the gateway counts it, or what was wrong."""

    verdict: Verdict
    status: int  # 0: none came
    reason: str


class Ended(NamedTuple):
    """A request that has ended. Times in seconds of the machine's monotonic clock."""

    id: str  # a UUID, which the gateway's lines have too
    kind: str
    outcome: Outcome
    sent: float
    ended: float

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict


def lost(status: int, what: str) -> Outcome:
    return Outcome(Verdict.LOST, status, what)


def good(status: int = 200) -> Outcome:
    return Outcome(Verdict.OK, status, OK)


def of_error(status: int, retry_after: str | None, body: bytes) -> Outcome:
    """The outcome of an answer that is no 200."""
    try:
        error = orjson.loads(body)["error"]
        code = str(error["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return lost(status, f"status {status} without the envelope: {body[:200]!r}")
    if set(error) != ENVELOPE or CODES.get(code, (0, ""))[0] != status:
        return lost(status, f"status {status} with the error {error}")
    if (status in (429, 503)) != (retry_after is not None and retry_after.isdigit() and int(retry_after) > 0):
        return lost(status, f"status {status} {code} with Retry-After {retry_after}")
    if status in (429, 503):
        return Outcome(Verdict.REFUSED, status, code)
    return Outcome(Verdict.FAILED, status, code) if status in (502, 504) else lost(status, f"status {status} {code}")


def of_chat_stream(events: list[bytes]) -> Outcome:
    if events[-1:] == [DONE]:
        return good()
    if any(b'"finish_reason":"' in event for event in events):
        return lost(200, "a stream without [DONE] has a finish_reason")
    return _cut(events, lambda data: data["error"]["code"])


def of_response_stream(events: list[bytes]) -> Outcome:
    kinds = [_kind(event) for event in events]
    if events[-1:] == [DONE]:
        ended_well = {"response.completed", "response.incomplete"} & set(kinds)
        return good() if ended_well else lost(200, f"[DONE] after {kinds[-2:]}")
    return _cut(events, lambda data: data["response"]["error"]["code"], "response.failed")


def of_speech_stream(events: list[bytes]) -> Outcome:
    if events and b'"speech.audio.done"' in events[-1]:
        return good()
    return _cut(events, lambda data: data["error"]["code"], "error")


def events_of(received: bytes) -> list[bytes]:
    """The whole events of a stream, without pings and blank lines; what is no whole event is one without its end."""
    *blocks, rest = received.split(EVENT_END)
    events = [block.lstrip(b"\n") + EVENT_END for block in blocks if block.strip(b"\n")]
    return [event for event in events if event != PING] + ([rest] if rest else [])


def _cut(events: list[bytes], code_of: Any, kind: str = "") -> Outcome:
    """The outcome of a stream that did not end well: its last event must say why."""
    last = events[-1] if events else b""
    try:
        code = str(code_of(orjson.loads(last.partition(b"data: ")[2])))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return lost(200, f"a stream ended with {last[-200:]!r}")
    if _kind(last) != kind or code not in CODES or not last.endswith(EVENT_END):
        return lost(200, f"a stream ended with {last[-200:]!r}")
    return Outcome(Verdict.CUT, 200, code)


def _kind(event: bytes) -> str:
    """What its `event:` line says."""
    first, _, _ = event.partition(b"\n")
    return first.removeprefix(b"event: ").decode() if first.startswith(b"event: ") else ""
