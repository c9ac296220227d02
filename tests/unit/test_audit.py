"""The audit log: each change of a key or of the configuration is a line, with who, before and after, and no secret."""

import errno
import json
import logging
import multiprocessing
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.audit.change import UNKNOWN, Change, by_command, by_key
from app.audit.difference import REDACTED, difference
from app.audit.keys import changes_of, changing_keys
from app.audit.observer import Observer
from app.audit.trail import Trail
from app.commands import deploy, running_serve
from app.config.service import parse_config
from app.keys import KeyEntry, KeyRing, lifecycle
from app.keys.file import KeyFile
from contract import cluster_store
from contract.fields import ConfigError
from tests.unit.conftest import config_args
from tests.unit.test_keys_command import write_config

ID = "one000000000"
HASH = "0123456789abcdef" * 4
MOMENT = datetime(2027, 1, 31, tzinfo=UTC)


def entry(key_id: str = ID, **facts: Any) -> KeyEntry:
    return KeyEntry(id=key_id, sha256=HASH, **facts)


def change(number: int) -> Change:
    return Change("key.created", {"key": f"k{number}"}, UNKNOWN, {}, {})


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "audit.jsonl")


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


class TestKeys:
    @pytest.mark.parametrize(
        ("changes", "what", "before", "after"),
        [
            ({"revoked": MOMENT}, "key.revoked", {}, {"revoked": "2027-01-31T00:00:00Z"}),
            ({"pipelines": ["a"]}, "key.scope_changed", {}, {"pipelines": ["a"]}),
            (
                {"budget": {"requests_per_minute": 60}},
                "key.budget_changed",
                {"budget.requests_per_minute": 600},
                {"budget.requests_per_minute": 60},
            ),
            ({"weight": 3, "name": "web"}, "key.changed", {"name": "", "weight": 1}, {"name": "web", "weight": 3}),
        ],
        ids=["revoked", "scope", "budget", "other"],
    )
    def test_a_change_of_a_key_has_a_name_and_only_what_differs(
        self, changes: dict[str, Any], what: str, before: dict[str, Any], after: dict[str, Any]
    ) -> None:
        (found,) = changes_of({ID: entry()}, {ID: entry(**changes)}, UNKNOWN)
        assert (found.what, found.subject, found.before, found.after) == (what, {"key": ID}, before, after)

    def test_several_kinds_of_change_are_several_lines(self) -> None:
        found = changes_of({ID: entry()}, {ID: entry(revoked=MOMENT, pipelines=["a"], weight=2)}, UNKNOWN)
        assert {one.what for one in found} == {"key.revoked", "key.scope_changed", "key.changed"}

    def test_a_new_key_and_one_that_is_gone(self) -> None:
        (made,) = changes_of({}, {ID: entry(pipelines=["a"])}, UNKNOWN)
        (gone,) = changes_of({ID: entry(pipelines=["a"])}, {}, UNKNOWN)
        assert (made.what, made.before, made.after["pipelines"]) == ("key.created", {}, ["a"])
        assert (gone.what, gone.before["pipelines"], gone.after) == ("key.removed", ["a"], {})
        assert made.after["budget.requests_per_minute"] == 600

    def test_a_rotation_is_the_end_of_the_old_key_and_a_new_key(self) -> None:
        keys = {ID: entry()}
        before = dict(keys)
        _, made = lifecycle.rotate(keys, ID, MOMENT - MOMENT, None, MOMENT)
        old, new = changes_of(before, keys, UNKNOWN)
        assert (old.what, old.subject["key"]) == ("key.rotated", ID)
        assert old.after == {"expires": "2027-01-31T00:00:00Z", "successor": made.id}
        assert (new.what, new.subject["key"], new.after["rotated_from"]) == ("key.created", made.id, ID)

    def test_another_secret_under_the_same_id_is_seen_and_not_shown(self) -> None:
        other = entry().model_copy(update={"sha256": "f" * 64})
        (found,) = changes_of({ID: entry()}, {ID: other}, UNKNOWN)
        assert (found.before, found.after) == ({"sha256": REDACTED}, {"sha256": REDACTED})

    def test_no_change_is_no_line(self, file: KeyFile, trail: Trail) -> None:
        with changing_keys(file, trail, UNKNOWN, new=True):
            pass
        assert trail.path is not None
        assert not trail.path.exists()


class TestCommands:
    def test_each_is_a_line_beside_the_key_file_with_its_user_and_no_secret(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = str(tmp_path / "keys.json")
        assert main(["keys", "create", "--file", keys, "--name", "web", "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert main(["keys", "rotate", made["id"], "--file", keys]) == 0
        assert main(["keys", "revoke", made["id"], "--file", keys]) == 0
        path = tmp_path / "keys.audit.jsonl"
        lines = Trail(path).read()
        assert [line["what"] for line in lines] == ["key.created", "key.rotated", "key.created", "key.revoked"]
        assert [line["who"]["command"].split()[-1] for line in lines] == ["create", "rotate", "rotate", "revoke"]
        assert all(line["who"]["kind"] == "command" and line["who"]["user"] and line["who"]["host"] for line in lines)
        assert {"time", "level", "logger", "message", "node"} <= lines[0].keys()
        text, hashes = path.read_text(), [key.sha256 for key in KeyFile(Path(keys)).read()]
        assert not [secret for secret in (made["key"], made["key"][-43:], *hashes) if secret in text]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_the_place_that_the_configuration_names_is_taken(self, tmp_path: Path) -> None:
        named = tmp_path / "audit.jsonl"
        config = write_config(tmp_path, key_file=str(tmp_path / "keys.json"), audit={"file": str(named)})
        assert main(["keys", "create", "--config", str(config)]) == 0
        assert len(Trail(named).read()) == 1

    def test_an_entry_that_is_only_printed_is_no_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["keys", "create"]) == 0
        assert list(tmp_path.iterdir()) == []

    def test_audit_shows_the_changes_of_a_key(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        log = tmp_path / "audit.jsonl"
        Trail(log).write([change(1), change(2)._replace(who=by_key("k1")), change(3)])

        def shown(*arguments: str) -> list[str]:
            assert main(["audit", "--file", str(log), "--json", *arguments]) == 0
            return [line["key"] for line in json.loads(capsys.readouterr().out)]

        assert shown() == ["k1", "k2", "k3"]
        assert shown("--key", "k1") == ["k1", "k2"]
        assert shown("--since", "1h") == ["k1", "k2", "k3"]
        assert shown("--since", "2999-01-01") == []
        assert main(["audit", "--file", str(log), "--key", "k3"]) == 0
        assert "key.created" in capsys.readouterr().out


class TestDisk:
    """A line is on the disk before its change is made: a change that is not in the log has not happened."""

    @staticmethod
    def fill(monkeypatch: pytest.MonkeyPatch, path: Path | None, room: int) -> None:
        """Let `room` bytes more be written to that file."""
        write, left = os.write, [room]

        def full(descriptor: int, text: Any) -> int:
            if not path or not path.exists() or not os.path.sameopenfile(descriptor, os.open(path, os.O_RDONLY)):
                return write(descriptor, text)
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = write(descriptor, bytes(text)[: left[0]])
            left[0] -= written
            return written

        monkeypatch.setattr("contract.line_writer.os.write", full)

    def test_where_the_log_is_full_the_key_stays_as_it_is_and_the_command_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = tmp_path / "keys.json"
        assert main(["keys", "create", "--file", str(keys)]) == 0
        log = tmp_path / "keys.audit.jsonl"
        content, lines = keys.read_bytes(), log.read_bytes()
        (key,) = KeyFile(keys).read()
        self.fill(monkeypatch, log, room=20)
        capsys.readouterr()
        assert main(["keys", "revoke", key.id, "--file", str(keys)]) == 2
        assert "the audit log cannot be written (No space left on device)" in (capsys.readouterr().err)
        assert keys.read_bytes() == content
        assert log.read_bytes() == lines  # no half of a line

    def test_where_the_key_file_then_cannot_be_written_a_second_line_says_so(
        self, file: KeyFile, trail: Trail, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise ConfigError("no space")

        monkeypatch.setattr(KeyFile, "_write", full)
        with pytest.raises(ConfigError, match="no space"), changing_keys(file, trail, UNKNOWN, new=True) as keys:
            keys[ID] = entry()
        assert [(line["what"], line.get("failed")) for line in trail.read()] == [
            ("key.created", None),
            ("key.created", True),
        ]

    def test_what_refuses_a_change_leaves_no_line(self, file: KeyFile, trail: Trail) -> None:
        with (
            pytest.raises(lifecycle.KeyRefusal),
            changing_keys(file, trail, UNKNOWN, new=True) as keys,
        ):
            lifecycle.revoke(keys, ID, MOMENT)
        assert trail.path is not None
        assert not trail.path.exists()

    def test_after_a_torn_line_the_next_is_whole(self, trail: Trail) -> None:
        assert trail.path is not None
        trail.path.write_bytes(b'{"what": "key.cre')
        trail.write([change(1)])
        assert [line["key"] for line in trail.read()] == ["k1"]

    def test_a_link_is_not_followed(self, tmp_path: Path, trail: Trail) -> None:
        assert trail.path is not None
        trail.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="cannot be written"):
            trail.write([change(1)])

    def test_writers_at_once_lose_and_mix_nothing(self, trail: Trail) -> None:
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write, args=(trail, first)) for first in (0, 100, 200)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert trail.path is not None
        assert len(trail.path.read_text().splitlines()) == 90
        assert {line["key"] for line in trail.read()} == {
            f"k{one + first}" for first in (0, 100, 200) for one in range(30)
        }


def _write(trail: Trail, first: int) -> None:
    for one in range(30):
        trail.write([change(first + one)])


class TestDifference:
    def test_entries_are_told_apart_by_their_id_and_only_what_differs_is_there(self) -> None:
        one = {"models": [{"id": "a", "task": "chat", "scaling": {"max_replicas": 1}}, {"id": "b", "task": "speech"}]}
        other = {"models": [{"id": "b", "task": "speech"}, {"id": "a", "task": "chat", "scaling": {"max_replicas": 4}}]}
        assert difference(one, other) == ({"models.a.scaling.max_replicas": 1}, {"models.a.scaling.max_replicas": 4})

    @pytest.mark.parametrize(
        "args",
        [
            {"models": [{"id": "a", "env": {"HF_TOKEN": "SECRET"}}]},
            {"models": [{"id": "a", "env": {"name": "SECRET"}}]},
            {"models": [{"id": "a", "engine_kwargs": {"hf_token": "SECRET", "nested": {"name": "SECRET"}}}]},
            {"models": [{"id": "a", "engine_kwargs": {"list": ["SECRET"], "objects": [{"a": "SECRET"}]}}]},
            {"models": [{"id": "a", "source": "s3://user:SECRET@bucket/weights"}]},
            {"kept_images": {"location": "s3://key:SECRET@bucket", "public_url": "https://u:SECRET@host"}},
            {"usage": {"database": "postgresql://portico:SECRET@db/usage"}},
            {"keys": [{"id": "a", "sha256": "SECRET"}]},
            {"a_field_of_tomorrow": "SECRET"},
        ],
    )
    def test_what_may_be_a_secret_is_not_shown_and_that_it_changed_is(self, args: dict[str, Any]) -> None:
        for one, other in (({}, args), (args, {}), (args, json.loads(json.dumps(args).replace("SECRET", "OTHER")))):
            before, after = difference(one, other)
            assert before or after
            assert "SECRET" not in json.dumps([before, after])
            assert REDACTED in json.dumps([before, after])

    def test_what_is_harmless_is_shown(self) -> None:
        one = {"key_file": "/etc/keys.json", "models": [{"id": "a", "source": "Qwen/Qwen3-8B", "allow": ["pickle"]}]}
        assert difference({}, one)[1] == {
            "key_file": "/etc/keys.json",
            "models.a.allow": ["pickle"],
            "models.a.id": "a",
            "models.a.source": "Qwen/Qwen3-8B",
        }


class TestDeploy:
    @pytest.fixture
    def applied(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        given: list[Any] = []
        monkeypatch.setattr(deploy, "refuse_faults", lambda _: None)
        monkeypatch.setattr(running_serve, "http_port", lambda: 8000)
        monkeypatch.setattr(running_serve, "args_of", lambda _: config_args())
        monkeypatch.setattr(running_serve, "apply", given.append)
        return given

    @staticmethod
    def config(folder: Path, audit: Path) -> Path:
        args = config_args(audit={"file": str(audit)}, fairness={"share": 0.4})
        args["models"][0]["env"] = {"HF_TOKEN": "hf_secret"}
        path = folder / "config.yaml"
        application = {"name": "portico", "import_path": "app.builder:build", "args": args}
        path.write_text(yaml.safe_dump({"applications": [application]}))
        return path

    def test_what_it_changes_is_a_line_of_the_command(self, tmp_path: Path, applied: list[Any]) -> None:
        log = tmp_path / "audit.jsonl"
        deploy.deploy(self.config(tmp_path, log))
        (line,) = Trail(log).read()
        assert (line["what"], line["application"], line["who"]["command"]) == (
            "config.deployed",
            "portico",
            "portico deploy",
        )
        assert line["after"]["fairness.share"] == 0.4
        assert line["after"]["models.alpha.env.HF_TOKEN"] == REDACTED
        assert "hf_secret" not in log.read_text()
        assert len(applied) == 1

    def test_where_the_line_cannot_be_written_nothing_is_deployed(self, tmp_path: Path, applied: list[Any]) -> None:
        with pytest.raises(ConfigError, match="cannot be written"):
            deploy.deploy(self.config(tmp_path, tmp_path / "missing" / "audit.jsonl"))
        assert applied == []


class TestGateway:
    """A replica of the gateway is told of no change; what it sees is in its log, and in the file if there is one."""

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
        kept: dict[str, bytes] = {}
        monkeypatch.setattr(cluster_store, "get", kept.get)
        monkeypatch.setattr(cluster_store, "put", kept.__setitem__)
        return kept

    @pytest.fixture
    def logged(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
        caplog.set_level(logging.INFO, "portico.audit")
        return lambda: [record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__]

    @pytest.mark.usefixtures("store")
    def test_a_configuration_is_compared_with_the_one_before_in_the_cluster(
        self, trail: Trail, logged: Callable[[], list[dict[str, Any]]]
    ) -> None:
        def dumped(**changes: Any) -> dict[str, Any]:
            return parse_config(config_args(**changes)).model_dump(mode="json", exclude_defaults=True)

        Observer(trail).see_config("portico", dumped())
        Observer(trail).see_config("portico", dumped())  # a replica that starts anew: nothing has changed
        Observer(trail).see_config("portico", dumped(fairness={"share": 0.4}))
        first, second = logged()
        assert (first["what"], first["before"], first["who"]) == ("config.changed", {}, {"kind": "unknown"})
        assert first["after"]["models.alpha.task"] == "chat"
        assert (second["before"], second["after"]) == ({}, {"fairness.share": 0.4})
        assert [line["what"] for line in trail.read()] == ["config.changed"] * 2

    def test_an_edit_of_the_key_file_is_seen_and_no_hash_is_shown(
        self, file: KeyFile, trail: Trail, logged: Callable[[], list[dict[str, Any]]]
    ) -> None:
        with file.changing(new=True) as keys:
            keys[ID] = entry()
        ring = KeyRing([], file.path, when_changed=Observer(trail).see_keys)
        ring.refresh()
        assert logged() == []
        with file.changing() as keys:
            keys[ID] = entry(revoked=MOMENT)
            keys["two000000000"] = entry("two000000000")
        ring.refresh()
        (line,) = logged()
        assert (line["what"], line["file"], line["who"]) == ("key_file.changed", str(file.path), {"kind": "unknown"})
        assert line["after"][f"{ID}.revoked"] == "2027-01-31T00:00:00Z"
        assert line["after"]["two000000000.sha256"] == REDACTED
        assert HASH not in json.dumps([line, trail.read()])

    def test_where_its_file_cannot_be_written_the_service_goes_on_and_the_log_has_it(
        self,
        tmp_path: Path,
        file: KeyFile,
        logged: Callable[[], list[dict[str, Any]]],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        Observer(Trail(tmp_path / "missing" / "audit.jsonl")).see_keys(file.path, {}, {ID: entry()})
        assert len(logged()) == 1
        assert "the audit log cannot be written" in caplog.text


def test_who_is_a_command_of_a_user_or_a_key() -> None:
    assert by_command("portico deploy") | {"user": "", "host": ""} == {
        "kind": "command",
        "command": "portico deploy",
        "user": "",
        "host": "",
    }
    assert by_key(ID) == {"kind": "key", "key": ID}
