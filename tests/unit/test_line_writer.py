"""Lines reach a file descriptor whole and in order, and a reader that stalls holds nobody up."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from select import PIPE_BUF
from typing import Any

import pytest

from contract import line_writer
from contract.line_writer import LineWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_lines(descriptor: int, number: int) -> list[bytes]:
    text = b""
    while text.count(b"\n") < number:
        text += os.read(descriptor, 65536)
    return text.splitlines(keepends=True)


def test_lines_come_in_order_in_writes_of_whole_lines(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    def write(_: int, text: bytes) -> int:
        writes.append(bytes(text))
        return len(text)

    monkeypatch.setattr(os, "write", write)
    lines = [f"{number:03} {'x' * (number * 20)}\n".encode() for number in range(250)]
    writer = LineWriter(pipe[1])
    for line in lines:
        writer.write(line)
    assert writes == [], "on a thread only"
    writer.start()
    writer.close()
    assert b"".join(writes) == b"".join(lines)
    assert all(write.endswith(b"\n") for write in writes)
    assert [write for write in writes if len(write) > PIPE_BUF] == [line for line in lines if len(line) > PIPE_BUF]
    assert len(writes[0].splitlines()) > 10


def test_a_line_is_written_without_a_second_one_and_without_an_end(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "WRITE_SECONDS", 0.01)
    writer = LineWriter(pipe[1])
    writer.start()
    for line in (b"one\n", b"two\n"):
        writer.write(line)
        assert read_lines(pipe[0], 1) == [line]
    writer.close()


def test_many_bytes_are_written_at_once(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "WRITE_SECONDS", 3600)
    writer = LineWriter(pipe[1])
    writer.start()
    for number in range(70):
        writer.write(f"{number:1023}\n".encode())
    assert len(read_lines(pipe[0], 64)) >= 64
    writer.close()


def test_a_reader_that_stalls_drops_lines_beyond_a_bound_and_the_log_says_how_many(
    pipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor, max_waiting_bytes=200_000)
    writer.start()
    for number in range(300):  # more than the pipe and the bound hold
        writer.write(f"{number:01023}\n".encode())
    kept = 200_000 // 1024
    reading = threading.Thread(target=lambda: got.extend(read_lines(reader, kept)))
    got: list[bytes] = []
    reading.start()
    writer.close()
    reading.join(5)
    assert [int(line) for line in got][:100] == list(range(100))
    assert len(got) >= kept
    assert f"{300 - len(got)} lines of the log were dropped" in caplog.text


def test_what_nobody_can_read_is_lost_and_the_rest_goes_on(
    pipe: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[OSError] = [BrokenPipeError(32, "Broken pipe")]
    write = os.write

    def fail_once(descriptor: int, text: bytes) -> int:
        if errors:
            raise errors.pop()
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", fail_once)
    monkeypatch.setattr(line_writer, "WRITE_SECONDS", 0.01)
    lost = threading.Event()
    monkeypatch.setattr(line_writer.logger, "warning", lambda *_: lost.set())
    writer = LineWriter(pipe[1])
    writer.start()
    writer.write(b"lost\n")
    assert lost.wait(5)
    writer.write(b"kept\n")
    assert read_lines(pipe[0], 1) == [b"kept\n"]
    writer.close()


def test_a_write_in_parts_is_whole(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, bytes(text[:3])))
    writer = LineWriter(pipe[1])
    writer.write(b"in parts of three\n")
    writer.start()
    writer.close()
    assert read_lines(pipe[0], 1) == [b"in parts of three\n"]


def test_a_close_does_not_wait_for_a_reader_that_stalls(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "CLOSE_SECONDS", 0.01)
    writer = LineWriter(pipe[1])
    writer.start()
    for _ in range(100):
        writer.write(b"x" * 1023 + b"\n")
    writer.close()
    assert writer._thread.is_alive(), "it still waits for the reader"
    read_lines(pipe[0], 100)
    writer._thread.join(5)
    assert not writer._thread.is_alive()


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "raise RuntimeError('a fault')"])
def test_a_process_that_ends_writes_what_waits(end: str) -> None:
    code = f"from contract.line_writer import LineWriter\nw = LineWriter(1)\nw.start()\nw.write(b'last\\n')\n{end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.stdout == b"last\n"
