"""A line of the log: one JSON object of the same fields, whoever writes it."""

import asyncio
import builtins
import json
import logging
import sys
from contextlib import aclosing
from typing import Any

import pytest
from ray.serve._private.logging_utils import redirected_print

from contract.log_lines import JsonFormatter, TextFormatter, current_request, moment
from deployments.batches import Batches, Deliver, Job
from deployments.transcriptions.engine import Workers, in_steps
from tests.unit.test_replica import HEAD, items_of, replica_of


def record(message: str = "it is full", level: int = logging.WARNING, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("portico.slots", level, "slots.py", 1, message, None, None)
    made.__dict__ |= {"created": 1_800_000_000.0019} | more
    return made


def raised(error: Exception) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


def line_of(made: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(made)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


class TestJson:
    def test_it_has_time_level_logger_message_and_node(self) -> None:
        line = line_of(record())
        assert line.pop("node")
        assert line == {
            "time": "2027-01-15T08:00:00.001Z",
            "level": "warning",
            "logger": "portico.slots",
            "message": "it is full",
        }

    def test_a_traceback_is_one_text_in_the_line(self) -> None:
        line = line_of(record(exc_info=raised(ValueError("two\nlines"))))
        assert line["exc_info"].startswith("Traceback")
        assert line["exc_info"].endswith("ValueError: two\nlines")

    def test_a_request_s_id_is_the_one_that_is_worked_for(self) -> None:
        token = current_request.set("r1")
        try:
            assert line_of(record())["request_id"] == "r1"
        finally:
            current_request.reset(token)
        assert "request_id" not in line_of(record())

    def test_serve_s_own_records_have_the_id_that_serve_gives_them(self) -> None:
        line = line_of(record(request_id="r2", component_name="proxy"))
        assert (line["request_id"], line["component"]) == ("r2", "proxy")

    def test_nothing_that_libraries_put_on_records_comes_in_but_fields_do(self) -> None:
        line = line_of(record(vllm_process_name="EngineCore", fields={"what": "key.created"}))
        assert line["what"] == "key.created"
        assert "vllm_process_name" not in line

    @pytest.mark.parametrize("odd", ["a\x00b\r\nc", "\udcff.wav", "\u2028", '"}{'])
    def test_any_text_is_one_object(self, odd: str) -> None:
        assert line_of(record(message=odd))["message"] == odd


def test_a_line_for_people_has_the_request_behind_the_logger_and_the_traceback_below() -> None:
    made = record(request_id="r3", exc_info=raised(ValueError("no room")))
    first, *rest = TextFormatter().format(made).splitlines()
    assert first == "2027-01-15T08:00:00.001Z WARNING portico.slots [r3] it is full"
    assert rest[-1] == "ValueError: no room"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_traceback_can_be_read_where_serve_has_replaced_print(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serve's writes its arguments as a tuple, and `logging` formats tracebacks by it."""
    monkeypatch.setattr(builtins, "print", redirected_print)
    text = formatter.format(record(exc_info=raised(ValueError("no"))))
    assert "Traceback (most recent call last):" in text
    assert "ValueError: no" in text
    assert "('" not in text


def test_a_moment_has_its_milliseconds() -> None:
    assert [moment(seconds) for seconds in (0, 0.9999, 1.5)] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.500Z",
    ]


class TestRequestId:
    """Whatever a replica's code logs for a request has that request's id."""

    async def test_an_engine_s_line_has_it_and_what_comes_later_has_not(self) -> None:
        seen: list[str | None] = []

        async def answer(*_: Any) -> Any:
            seen.append(current_request.get())
            await asyncio.to_thread(lambda: seen.append(current_request.get()))
            raise RuntimeError("the GPU is lost")
            yield

        await items_of(await replica_of(answer))
        assert seen == [HEAD.request_id, HEAD.request_id]
        assert current_request.get() is None

    async def test_requests_at_once_have_each_its_own(self) -> None:
        seen: list[tuple[str, str | None]] = []

        async def answer(request: Any, _: bytes) -> Any:
            await asyncio.sleep(0)
            seen.append((request.request_id, current_request.get()))
            raise RuntimeError
            yield

        replica = await replica_of(answer)

        async def ask(request_id: str) -> None:
            async with aclosing(replica.handle(HEAD._replace(request_id=request_id), b"")) as items:
                _ = [item async for item in items]

        await asyncio.gather(*(ask(f"r{one}") for one in range(3)))
        assert sorted(seen) == [(f"r{one}", f"r{one}") for one in range(3)]

    async def test_a_worker_of_transcriptions_has_it(self) -> None:
        current_request.set("r4")
        workers = Workers(1)
        found = [one async for one in in_steps(workers, (current_request.get() for _ in range(2)))]
        workers.shutdown()
        assert found == ["r4", "r4"]

    async def test_a_batch_has_those_of_all_its_requests_and_the_next_one_its_own(self) -> None:
        class Seeing(Batches[Job[Any]]):
            def select(self, waiting: list[Job[Any]]) -> list[Job[Any]]:
                return waiting[:2]

            def run(self, batch: list[Job[Any]], deliver: Deliver[Job[Any]]) -> None:
                for job in batch:
                    deliver(job, current_request.get())

        batches, jobs = Seeing("seeing"), []
        for request_id in ("r1", "r2", "r3"):
            current_request.set(request_id)
            jobs.append(Job[Any]())
            batches.submit(jobs[-1])
        assert [await job.result() for job in jobs] == ["r1 r2", "r1 r2", "r3"]
        batches.close()
