"""The log of a service that runs in the foreground."""

import os
import tempfile
from pathlib import Path

import pytest

from app.commands import serve_log
from app.commands.serve_log import ServeLog


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_for_its_owner_only_and_begins_anew_with_each_start() -> None:
    log = ServeLog(8000)
    os.write(log.descriptor, b"of the first start\n")
    assert ServeLog(8000).path.read_bytes() == b""
    assert (log.path.stat().st_mode & 0o777, log.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_link_in_its_place_is_refused(temporary: Path) -> None:
    path = serve_log.path_of(8000)
    path.symlink_to(temporary / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        ServeLog(8000)
    assert not (temporary / "victim").exists()


def test_its_end_can_be_read() -> None:
    log = ServeLog(8000)
    os.write(log.descriptor, b"".join(b"line %d\n" % number for number in range(100_000)))
    tail = log.tail()
    assert (len(tail), tail[0], tail[-1]) == (30, "line 99970", "line 99999")


def test_a_large_one_begins_anew_and_keeps_what_was_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_log, "MAX_BYTES", 10)
    log = ServeLog(8000)
    for text in (b"short\n", b"long enough\n"):
        os.write(log.descriptor, text)
        log.begin_anew_if_large()
    os.write(log.descriptor, b"new\n")
    assert log.path.read_bytes() == b"new\n"
    kept = log.path.with_suffix(".log.1")
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"short\nlong enough\n", 0o600)


def test_of_many_ports_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_log, "KEPT", 2)
    for port in (8001, 8002, 8003):
        path = ServeLog(port).path
        os.utime(path, (port, port))
    ServeLog(8004)
    assert sorted(file.name for file in path.parent.iterdir()) == ["serve-8003.log", "serve-8004.log"]
