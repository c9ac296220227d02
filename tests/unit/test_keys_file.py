"""The key file: read whole or not at all, written whole or not at all, by one writer at a time."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.keys import LOCAL_KEY, KeyEntry, hash_key
from app.keys.file import KeyFile
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER

HASH = "0123456789abcdef" * 4
ONE, TWO = "one000000000", "two000000000"


def entry(key_id: str, **facts: Any) -> dict[str, Any]:
    return {"id": key_id, "sha256": HASH} | facts


ADD = """
import os, pathlib, sys
from app.keys.entry import KeyEntry
from app.keys.file import KeyFile

def add(path, key_id):
    with KeyFile(path).changing(new=True) as keys:
        keys[key_id] = KeyEntry(id=key_id, sha256="0" * 64)

path = pathlib.Path(sys.argv[1])
"""


def add(path: Path, key_id: str) -> None:
    with KeyFile(path).changing(new=True) as keys:
        keys[key_id] = KeyEntry(id=key_id, sha256=HASH)


def ids(path: Path) -> list[str]:
    return [key.id for key in KeyFile(path).read()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def another_process(code: str, *arguments: object) -> "subprocess.Popen[bytes]":
    """Runs `code` after ADD, once it is started and gets a line."""
    command = [sys.executable, "-c", f"{ADD}\nprint('started', flush=True)\ninput()\n{code}", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    return process


def finish(*processes: "subprocess.Popen[bytes]") -> list[int]:
    """Let all go on at once. Returns their exit statuses."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
    return [process.returncode for process in processes]


class TestReading:
    def test_what_was_written_is_read_in_the_same_order(self, path: Path) -> None:
        add(path, TWO)
        add(path, ONE)
        assert ids(path) == [TWO, ONE]

    @pytest.mark.parametrize(
        ("content", "reported"),
        [
            (b"", "the whole file: Invalid JSON"),
            (b'{"keys": [', "the whole file: Invalid JSON"),
            (b'{"keys": ["\xff"]}', "the whole file: Invalid JSON"),
            ([], "the whole file: Input should be an object"),
            ({}, "keys: Field required"),
            ({"keys": {"id": HASH}}, "keys: Input should be a valid"),
            ({"keys": [entry(ONE), {"id": TWO}]}, "keys[1].sha256: Field required"),
            ({"keys": [entry(ONE, sha256=HASH * 2)]}, "keys[0].sha256: String should match"),
            ({"keys": [entry(ONE, budget={"requests_per_minute": 0})]}, "keys[0].budget.requests_per_minute: Input"),
            ({"keys": [entry(ONE, expires="2026-01-01")]}, "keys[0].expires: Input should have timezone info"),
            ({"keys": [entry(ONE, modles=[])]}, "keys[0].modles: there is no such field"),
            ({"keys": [entry(ONE) | {HASH: 1}]}, "keys[0].(a long name): there is no such field"),
            ({"keys": [entry(ONE), entry(ONE)]}, f"keys: the id {ONE!r} stands there twice"),
            ({"keys": [entry(ONE, sha256=hash_key(LOCAL_KEY))]}, f"keys: {ONE} is the local key, which is public"),
        ],
    )
    def test_wrong_content_names_entry_and_field_and_no_hash(self, path: Path, content: Any, reported: str) -> None:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        with pytest.raises(ConfigError) as caught:
            KeyFile(path).read()
        assert str(caught.value).startswith(f"{path}: {reported}")
        assert HASH not in str(caught.value)

    def test_a_missing_file_says_how_to_make_it(self, path: Path) -> None:
        with pytest.raises(ConfigError, match=f"no such file; `portico keys create --file {path}` makes it"):
            KeyFile(path).read()
        assert KeyFile(path).version() is None

    def test_a_folder_in_its_place_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="it cannot be read"):
            KeyFile(tmp_path).read()

    def test_the_version_changes_with_every_write(self, path: Path) -> None:
        versions = set()
        for _ in range(5):
            add(path, ONE)
            versions.add(KeyFile(path).version())
        assert len(versions) == 5


class TestWriting:
    def test_the_file_is_for_its_owner_only(self, path: Path) -> None:
        add(path, ONE)
        assert mode(path) == 0o600

    @pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o644, 0o640), (0o666, 0o640), (0o600, 0o600)])
    def test_a_group_that_reads_the_file_goes_on_reading_it_and_others_do_not(
        self, path: Path, before: int, after: int
    ) -> None:
        add(path, ONE)
        path.chmod(before)
        add(path, TWO)
        assert mode(path) == after

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_the_owner_stays(self, path: Path) -> None:
        add(path, ONE)
        os.chown(path, 12345, 23456)
        add(path, TWO)
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)

    def test_a_change_that_fails_leaves_the_file_as_it_was(self, path: Path) -> None:
        add(path, ONE)
        before = path.read_bytes()

        def fail() -> None:
            with KeyFile(path).changing() as keys:
                keys.pop(TWO)

        with pytest.raises(KeyError):
            fail()
        assert path.read_bytes() == before

    @pytest.mark.parametrize("step", ["os.fsync", "os.fchmod", "pathlib.Path.replace"])
    def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        add(path, ONE)
        monkeypatch.setattr(step, full)
        with pytest.raises(ConfigError, match=r"cannot be written \(No space left"):
            add(path, TWO)
        assert ids(path) == [ONE]
        assert {one.name for one in path.parent.iterdir()} == {"keys.json", "keys.json.lock"}

    def test_a_crash_just_before_the_new_file_takes_its_place_leaves_the_old_one_and_no_lock(self, path: Path) -> None:
        add(path, ONE)
        crash = "pathlib.Path.replace = lambda *_: os._exit(9); add(path, 'crash0000000')"
        assert finish(another_process(crash, path)) == [9]
        assert ids(path) == [ONE]
        add(path, TWO)
        assert ids(path) == [ONE, TWO]

    def test_writers_at_the_same_time_lose_nothing(self, path: Path) -> None:
        write = "for number in range(10): add(path, f'{sys.argv[2]}{number:011}')"
        assert finish(*(another_process(write, path, name) for name in "abc")) == [0, 0, 0]
        assert sorted(ids(path)) == [f"{name}{number:011}" for name in "abc" for number in range(10)]

    def test_only_a_first_key_may_make_the_file(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no such file"), KeyFile(path).changing():
            pass
        assert not path.exists()

    def test_a_broken_file_is_not_written_over(self, path: Path) -> None:
        path.write_text("{")
        with pytest.raises(ConfigError, match="Invalid JSON"):
            add(path, ONE)
        assert path.read_text() == "{"

    def test_a_folder_that_is_missing_is_reported(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="its folder does not exist; make it first"):
            add(path.parent / "missing" / "keys.json", ONE)

    def test_a_path_that_cannot_be_looked_at_is_reported(self, path: Path) -> None:
        hopeless = path.with_name("n" * 300)
        assert KeyFile(hopeless).version() is None
        with pytest.raises(ConfigError, match=r"cannot be written \(File name too long\)"):
            add(hopeless, ONE)

    def test_a_read_only_mount_is_reported(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_only(*_: Any) -> int:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr("app.keys.file.os.open", read_only)
        with pytest.raises(ConfigError, match=r"cannot be written \(Read-only file system\).* change its source"):
            add(path, ONE)


class TestMountedSecret:
    """A Secret as Kubernetes mounts it: the file is a link through a link, and the second is swapped at once."""

    @pytest.fixture
    def publish(self, tmp_path: Path) -> Callable[[str, str], Path]:
        """Put a key into a new version of the mounted folder, and swap that in. Returns the file as it is mounted."""

        def publish(version: str, key_id: str) -> Path:
            (tmp_path / version).mkdir()
            (tmp_path / version / "keys.json").write_text(json.dumps({"keys": [entry(key_id)]}))
            (tmp_path / "..data_tmp").symlink_to(version)
            (tmp_path / "..data_tmp").replace(tmp_path / "..data")
            mounted = tmp_path / "keys.json"
            if not mounted.is_symlink():
                mounted.symlink_to("..data/keys.json")
            return mounted

        return publish

    def test_reading_follows_the_swap(self, publish: Callable[[str, str], Path]) -> None:
        mounted = KeyFile(publish("..1", ONE))
        before = mounted.version()
        assert ids(mounted.path) == [ONE]
        publish("..2", TWO)
        assert mounted.version() != before
        assert ids(mounted.path) == [TWO]

    def test_writing_is_refused_and_says_where_to_write_instead(self, publish: Callable[[str, str], Path]) -> None:
        mounted = publish("..1", ONE)
        with pytest.raises(ConfigError, match=r"a link to another file.* Change the Secret"):
            add(mounted, TWO)
        assert mounted.is_symlink()
        assert ids(mounted) == [ONE]
