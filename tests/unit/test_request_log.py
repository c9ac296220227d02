"""The line that a replica logs for each request: what it says, and that it costs little."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from contract.errors import ApiError
from contract.line_writer import LineWriter
from contract.protocol import Adapter, ResponseHead, ResponseTail
from deployments.replica import Replica
from deployments.request_log import started_log
from tests.unit.test_replica import HEAD, STREAM, answering, items_of, replica_of

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
RESPONSES_USAGE = {"input_tokens": 7, "output_tokens": 3}
BAD = ApiError("invalid_value", "the prompt is wrong", param="input")


class Kept(list[bytes]):
    """A log that keeps its lines."""

    write = list.append

    def close(self) -> None:
        pass


async def logged_replica(answer: Any) -> tuple[Replica, Callable[[], list[dict[str, Any]]]]:
    """A replica, and what it has logged."""
    replica, log = await replica_of(answer), Kept()
    replica._log = cast("LineWriter", log)
    return replica, lambda: [orjson.loads(line) for line in log]


async def test_the_model_of_a_line_is_the_adapter_that_a_request_is_for() -> None:
    replica, lines = await logged_replica(answering(ResponseHead(200, body=b"{}")))
    for head in (HEAD, HEAD._replace(adapter=Adapter("pirate", "/adapters/pirate"))):
        async with aclosing(replica.handle(head, b"")) as answer:
            _ = [item async for item in answer]
    assert [line["model"] for line in lines()][1:] == ["pirate"]
    assert lines()[0]["model"] != "pirate"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([ResponseHead(200, body=b"{}", usage=USAGE)], (200, "ok", False, 7, 3)),
        ([ResponseHead(200, body=b"{}", usage=RESPONSES_USAGE)], (200, "ok", False, 7, 3)),
        ([STREAM, b"1", b"2", ResponseTail(USAGE)], (200, "ok", True, 7, 3)),
        ([ResponseHead(200, body=b"RIFF")], (200, "ok", False, None, None)),
        ([BAD], (400, "invalid_value", False, None, None)),
        ([STREAM, ResponseTail(error=BAD.to_wire())], (400, "invalid_value", False, None, None)),
        ([STREAM, b"1", ResponseTail(error=BAD.to_wire())], (200, "invalid_value", True, None, None)),
        ([STREAM, b"1", RuntimeError("the GPU is lost")], (200, "upstream_error", True, None, None)),
    ],
    ids=["whole", "responses", "stream", "audio", "refused", "refused stream", "late error", "lost"],
)
async def test_each_request_has_one_line_with_how_it_ended_and_its_tokens(
    items: list[Any], expected: tuple[Any, ...]
) -> None:
    replica, lines = await logged_replica(answering(*items))
    async with aclosing(replica.handle(HEAD._replace(queue_ms=1.234), b'{"prompt": "a secret"}')) as answer:
        _ = [item async for item in answer]
    (line,) = lines()
    names = ("status", "reason", "stream", "prompt_tokens", "completion_tokens")
    assert tuple(line[name] for name in names) == expected
    assert (line["request_id"], line["model"], line["route"]) == (HEAD.request_id, "m", HEAD.route)
    assert line["queue_ms"] == 1.23
    assert 0 <= line["first_byte_ms"] <= line["engine_ms"]
    assert "secret" not in str(line)


async def test_where_the_client_has_left_the_line_says_so() -> None:
    replica, lines = await logged_replica(answering(STREAM, b"1", b"2", ResponseTail(USAGE)))
    async with aclosing(replica.handle(HEAD, b"")) as answer:
        await anext(answer)
        await asyncio.sleep(0)
    (line,) = lines()
    assert (line["status"], line["reason"]) == (200, "client_gone")


async def test_without_serve_there_is_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Such as in a notebook."""
    await items_of(await replica_of(answering(ResponseHead(200, body=b"{}"))))
    assert capfd.readouterr() == ("", "")


async def test_a_replica_of_serve_writes_its_lines_to_its_standard_output_at_its_end_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    context = SimpleNamespace(replica_id="r1")
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(get_replica_context=lambda: context))
    monkeypatch.setattr(sys, "__stdout__", os.fdopen(1, "w", closefd=False))
    log = started_log()
    monkeypatch.delitem(sys.modules, "ray.serve")
    replica = await replica_of(answering(ResponseHead(200, body=b"{}")))
    replica._log = log
    await items_of(replica)
    replica.close()
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["reason"] == "ok"
