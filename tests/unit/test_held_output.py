"""What a terminal shows of a service that starts."""

import io
import os
from collections.abc import Iterator
from typing import IO, NamedTuple

import pytest

from app.commands.held_output import HeldOutput
from app.commands.serve import FAILED
from app.upstream.registry import Readiness, Registry


class Starting(NamedTuple):
    prints: IO[bytes]
    output: HeldOutput
    terminal: io.BytesIO

    def shown_at_the_end(self) -> bytes:
        self.prints.close()
        self.output.join(10)
        return self.terminal.getvalue()


@pytest.fixture
def starting() -> Iterator[Starting]:
    read, write = os.pipe()
    terminal = io.BytesIO()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb", buffering=0) as prints:
        yield Starting(prints, HeldOutput(source, terminal), terminal)


def test_nothing_is_shown_while_it_starts(starting: Starting) -> None:
    starting.prints.write(b"INFO a replica is added\n")
    assert starting.shown_at_the_end() == b""


def test_where_it_fails_all_is_shown_in_order(starting: Starting) -> None:
    starting.prints.write(b"INFO a replica is added\nERROR it has no weights\n")
    starting.output.release()
    starting.prints.write(b"INFO the end\n")
    assert starting.shown_at_the_end() == b"INFO a replica is added\nERROR it has no weights\nINFO the end\n"


def test_once_it_is_ready_each_line_is_shown_as_it_comes(starting: Starting) -> None:
    starting.output.discard()
    starting.prints.write(b'{"request_id": 1}\n')
    assert starting.shown_at_the_end() == b'{"request_id": 1}\n'


def test_while_it_stops_nothing_more_is_shown(starting: Starting) -> None:
    starting.output.discard()
    starting.output.hold()
    starting.prints.write(b"ERROR an actor was killed\n")
    assert starting.shown_at_the_end() == b""


def test_the_readiness_probe_says_of_a_model_that_it_failed(registry: Registry) -> None:
    registry.update({"alpha": Readiness.FAILED}, errors={"alpha": "no weights"})
    assert FAILED in registry.missing()
    registry.update({})
    assert FAILED not in registry.missing()
