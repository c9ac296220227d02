"""The line that a replica logs for each request: what it says, and that it costs little."""

import asyncio
import json
import logging
import os
import sys
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import ApiError
from contract.protocol import ResponseHead, ResponseTail
from deployments.request_log import begin_request_log, logger
from tests.unit.test_replica import HEAD, STREAM, answering, items_of, replica_of

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
RESPONSES_USAGE = {"input_tokens": 7, "output_tokens": 3}
BAD = ApiError("invalid_value", "the prompt is wrong", param="input")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, logger=logger.name)
    return lambda: [json.loads(one.message) for one in caplog.records if one.name == logger.name]


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
    lines: Any, items: list[Any], expected: tuple[Any, ...]
) -> None:
    replica = await replica_of(answering(*items))
    async with aclosing(replica.handle(HEAD._replace(queue_ms=1.234), b'{"prompt": "a secret"}')) as answer:
        _ = [item async for item in answer]
    (line,) = lines()
    names = ("status", "reason", "stream", "prompt_tokens", "completion_tokens")
    assert tuple(line[name] for name in names) == expected
    assert (line["request_id"], line["model"], line["route"]) == (HEAD.request_id, "m", HEAD.route)
    assert line["queue_ms"] == 1.23
    assert 0 <= line["first_byte_ms"] <= line["engine_ms"]
    assert "secret" not in str(line)


async def test_where_the_client_has_left_the_line_says_so(lines: Any) -> None:
    replica = await replica_of(answering(STREAM, b"1", b"2", ResponseTail(USAGE)))
    async with aclosing(replica.handle(HEAD, b"")) as answer:
        await anext(answer)
        await asyncio.sleep(0)
    (line,) = lines()
    assert (line["status"], line["reason"]) == (200, "client_gone")


async def test_without_serve_there_is_no_line_unless_somebody_asks_for_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Such as in a notebook."""
    await items_of(await replica_of(answering(ResponseHead(200, body=b"{}"))))
    assert capfd.readouterr() == ("", "")


async def test_a_replica_of_serve_writes_them_to_its_standard_output_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    context = SimpleNamespace(replica_id="r1")
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(get_replica_context=lambda: context))
    monkeypatch.setattr(sys, "__stdout__", os.fdopen(1, "w", closefd=False))
    try:
        begin_request_log()
        begin_request_log()
        monkeypatch.delitem(sys.modules, "ray.serve")
        await items_of(await replica_of(answering(ResponseHead(200, body=b"{}"))))
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["reason"] == "ok"
