"""The ring of good keys: what it says of each key at each moment, and how it follows the key file."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.background.supervisor import Loop, Supervisor
from app.config.service import parse_config
from app.keys import LOCAL_KEY, KeyEntry, KeyRing, hash_key, new_key, public_id
from app.keys.file import KeyFile
from app.keys.lifecycle import make, revoke, rotate
from contract.errors import ApiError
from contract.fields import ConfigError
from tests.unit.conftest import assert_error, client_of, config_args
from tests.unit.test_keys import UNKNOWN

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """A present moment that a test moves."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def fixed_entry(key: str) -> KeyEntry:
    return KeyEntry(id=public_id(key), sha256=hash_key(key))


def create(path: Path, **facts: Any) -> str:
    """A new key in the file."""
    with KeyFile(path).changing(new=True) as keys:
        return make(keys, NOON, **facts)[0]


def answer(ring: KeyRing, key: str) -> str:
    """`good`, or why the key is refused."""
    try:
        entry = ring.authenticate(f"Bearer {key}")
    except ApiError as error:
        return error.message
    assert entry.id == public_id(key)
    return "good"


def break_file(path: Path) -> None:
    path.write_text("{")


def replace_file(path: Path) -> str:
    """A new file with a new key."""
    path.unlink()
    return create(path)


class TestLife:
    def test_a_key_is_refused_from_the_moment_it_expires_with_the_reason(self, path: Path, clock: Clock) -> None:
        key = create(path, expires=NOON + HOUR)
        ring = KeyRing([], path, clock)
        assert answer(ring, key) == "good"
        clock.moment += HOUR
        assert answer(ring, key) == "This API key is expired. Ask the operator for a new one."

    def test_a_revoked_key_is_refused_with_the_reason(self, path: Path) -> None:
        key = create(path)
        ring = KeyRing([], path)
        with KeyFile(path).changing() as keys:
            revoke(keys, public_id(key), NOON)
        ring.refresh()
        assert answer(ring, key) == "This API key is revoked. Ask the operator for a new one."

    @pytest.mark.parametrize("facts", [{"revoked": NOON}, {"expires": NOON}], ids=["revoked", "expired"])
    def test_who_has_not_the_whole_secret_does_not_learn_how_a_key_ended(
        self, facts: dict[str, datetime], clock: Clock
    ) -> None:
        key = new_key()
        ring = KeyRing([fixed_entry(key).model_copy(update=facts)], now=clock)
        assert answer(ring, key) != UNKNOWN
        assert answer(ring, f"sk-portico-{public_id(key)}-{'0' * 43}") == UNKNOWN

    def test_a_rotated_key_and_its_successor_are_both_good_during_the_grace_then_only_the_new_one(
        self, path: Path, clock: Clock
    ) -> None:
        old = create(path)
        ring = KeyRing([], path, clock)
        with KeyFile(path).changing() as keys:
            new, _ = rotate(keys, public_id(old), HOUR, None, NOON)
        ring.refresh()
        assert (answer(ring, old), answer(ring, new)) == ("good", "good")
        clock.moment += HOUR
        assert answer(ring, old).startswith("This API key is expired")
        assert answer(ring, new) == "good"

    async def test_an_expired_key_of_the_configuration_is_a_401_on_every_route_that_needs_one(
        self, make_gateway: Callable[..., Any]
    ) -> None:
        ended = {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "expires": "2020-01-01T00:00:00Z"}
        async with client_of(make_gateway(parse_config(config_args(keys=[ended])))) as client:
            assert_error(await client.get("/v1/models"), 401, "authentication_error", "invalid_api_key")
            assert (await client.get("/health")).status_code == 200


class TestSources:
    def test_the_keys_of_the_configuration_and_of_the_file_are_all_good(self, path: Path) -> None:
        fixed, filed = new_key(), create(path)
        ring = KeyRing([fixed_entry(fixed)], path)
        assert (answer(ring, fixed), answer(ring, filed), len(ring)) == ("good", "good", 2)

    def test_an_id_in_both_is_an_error_that_names_it(self, path: Path) -> None:
        key = create(path)
        with pytest.raises(ConfigError, match=f"the id '{public_id(key)}' is in the configuration and in the key"):
            KeyRing([fixed_entry(key)], path)

    def test_a_pipeline_that_no_model_has_matches_nothing_and_stops_nothing(self, path: Path) -> None:
        key = create(path, pipelines=["gone"])
        assert KeyRing([], path).authenticate(f"Bearer {key}").pipelines == ["gone"]

    @pytest.mark.parametrize("content", [None, "{"], ids=["missing", "broken"])
    def test_a_file_that_cannot_be_used_at_the_start_is_an_error(self, path: Path, content: str | None) -> None:
        if content:
            path.write_text(content)
        with pytest.raises(ConfigError):
            KeyRing([], path)


class TestFollowing:
    def test_a_file_that_did_not_change_is_not_read_again(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        create(path)
        ring = KeyRing([], path)
        monkeypatch.setattr(KeyFile, "read", lambda _: pytest.fail("it was read"))
        ring.refresh()

    @pytest.mark.parametrize("damage", ["broken", "missing", "empty of keys it needs"])
    def test_a_file_that_went_bad_keeps_the_keys_of_before_and_is_logged_once(
        self, path: Path, caplog: pytest.LogCaptureFixture, damage: str
    ) -> None:
        key = create(path)
        ring = KeyRing([], path)
        if damage == "missing":
            path.unlink()
        else:
            path.write_text(f'{{"keys": ["{key}"]}}' if damage == "broken" else "{}")
        for _ in range(3):
            ring.refresh()
        assert answer(ring, key) == "good"
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("portico.keys", logging.WARNING)
        assert "the keys loaded before stay valid" in record.message
        assert key not in record.message

    def test_each_change_for_the_worse_is_reported_and_a_mended_file_is_followed(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = create(path)
        ring = KeyRing([], path)
        for content in ("{", "{{"):
            path.write_text(content)
            ring.refresh()
        assert len(caplog.records) == 2
        new = replace_file(path)
        ring.refresh()
        assert (answer(ring, old), answer(ring, new)) == (UNKNOWN, "good")
        assert len(caplog.records) == 2

    def test_an_id_that_the_configuration_has_too_changes_nothing(self, path: Path) -> None:
        fixed, filed = new_key(), create(path)
        ring = KeyRing([fixed_entry(fixed)], path)
        with KeyFile(path).changing() as keys:
            keys.clear()
            keys[public_id(fixed)] = KeyEntry(id=public_id(fixed), sha256=hash_key(new_key()))
        ring.refresh()
        assert (answer(ring, fixed), answer(ring, filed)) == ("good", "good")

    def test_a_file_that_everybody_may_read_is_reported(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        create(path)
        path.chmod(0o644)
        KeyRing([], path)
        assert "every user of this machine may read the key file" in caplog.text

    async def test_a_running_replica_sees_each_change_and_reads_off_its_loop(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = create(path)
        ring = KeyRing([], path)
        threads = set()
        refresh = KeyRing.refresh

        def watched(ring: KeyRing) -> None:
            threads.add(threading.get_ident())
            refresh(ring)

        monkeypatch.setattr(KeyRing, "refresh", watched)
        async with following(ring, monkeypatch):
            second = create(path)
            await until(lambda: answer(ring, second) == "good")
            assert threading.get_ident() not in threads
            break_file(path)
            await until(lambda: "cannot be used" in caplog.text)
            third = replace_file(path)
            await until(lambda: answer(ring, third) == "good")
        assert answer(ring, first) == answer(ring, second) == UNKNOWN

    async def test_it_goes_on_after_a_fault_that_nobody_foresaw(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        create(path)
        ring = KeyRing([], path)
        with monkeypatch.context() as patch:
            patch.setattr(KeyFile, "version", lambda _: 1 / 0)
            async with following(ring, monkeypatch):
                await until(lambda: "loop key_file failed" in caplog.text)
                patch.undo()
                key = create(path)
                await until(lambda: answer(ring, key) == "good")

    async def test_a_ring_without_a_file_has_nothing_to_follow(self) -> None:
        await KeyRing([fixed_entry(new_key())]).follow()


@asynccontextmanager
async def following(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[None]:
    monkeypatch.setattr("app.keys.ring.POLL_SECONDS", 0.01)
    supervisor = Supervisor(lambda _: None, first_pause_s=0.01)
    supervisor.keep(Loop.KEY_FILE, ring.follow)
    try:
        yield
    finally:
        supervisor.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
