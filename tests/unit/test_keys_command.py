"""`python -m app keys ...` as an operator types it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.keys import KeyEntry, KeyRing, hash_key, public_id
from app.keys.file import KeyFile
from app.keys.secret import KEY_FORM
from tests.unit.conftest import config_args

DAY = timedelta(days=1)

Run = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on the key file. Returns what it printed."""

    def run(*arguments: str) -> str:
        assert main(["keys", *arguments, "--file", str(path)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that fails with status 2. Returns what it says."""

    def fail(*arguments: str) -> str:
        status = main(["keys", *arguments])
        printed = capsys.readouterr()
        assert (status, printed.out) == (2, "")
        assert "Traceback" not in printed.err
        return printed.err

    return fail


def kept(path: Path, key_id: str) -> KeyEntry:
    return next(key for key in KeyFile(path).read() if key.id == key_id)


def write_config(folder: Path, **changes: Any) -> Path:
    config = folder / "config.yaml"
    args = config_args(**changes)
    for model in args["models"]:
        model |= {"source": "hub/name", "resources": {"num_cpus": 0.1}}
    application = {"import_path": "app.builder:build", "args": args}
    content = {"http_options": {"host": "127.0.0.1"}, "applications": [application]}
    config.write_text(yaml.safe_dump(content))
    return config


class TestCreate:
    def test_it_makes_the_file_and_shows_the_secret_once(self, run: Run, path: Path) -> None:
        key, _, once, reported = run("create", "--name", "web").splitlines()
        assert KEY_FORM.fullmatch(key)
        assert once.startswith("This is the only time it is shown")
        assert public_id(key) in reported
        assert key not in path.read_text()
        assert KeyRing([], path).authenticate(f"Bearer {key}").name == "web"
        assert key not in run("list") + run("show", public_id(key)) + run("list", "--json")

    def test_every_option_is_kept(self, run: Run, path: Path) -> None:
        limits = (
            "--requests-per-minute",
            "60",
            "--tokens-per-minute",
            "9000",
            "--concurrent-requests",
            "4",
            "--weight",
            "7",
            "--team",
            "acme",
        )
        facts = ("--name", "web", "--pipelines", "alpha, beta", "--expires", "2099-01-31T18:00+02:00")
        made = json.loads(run("create", "--json", *facts, *limits))
        entry = kept(path, made["id"])
        assert (entry.name, entry.pipelines) == ("web", ["alpha", "beta"])
        assert entry.budget.model_dump() == {
            "requests_per_minute": 60,
            "tokens_per_minute": 9000,
            "concurrent_requests": 4,
        }
        assert (entry.weight, entry.team) == (7, "acme")
        assert kept(path, json.loads(run("rotate", entry.id, "--json"))["id"]).team == "acme"
        assert entry.expires == datetime(2099, 1, 31, 16, tzinfo=UTC)
        assert entry.sha256 == hash_key(made["key"])

    @pytest.mark.parametrize(
        ("when", "span"), [("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("90d", timedelta(days=90))]
    )
    def test_it_may_expire_after_a_span_of_time(self, run: Run, path: Path, when: str, span: timedelta) -> None:
        made = json.loads(run("create", "--json", "--expires", when))
        entry = kept(path, made["id"])
        assert entry.created is not None
        assert entry.expires == entry.created + span

    @pytest.mark.parametrize("as_json", [False, True])
    def test_without_a_file_it_prints_an_entry_that_the_configuration_takes(
        self, capsys: pytest.CaptureFixture[str], as_json: bool
    ) -> None:
        arguments = ["keys", "create", "--name", "web: 1", "--pipelines", "alpha", "--expires", "90d"]
        assert main(arguments + ["--json"] * as_json) == 0
        printed = capsys.readouterr().out
        if as_json:
            entry = json.loads(printed)
            key = entry.pop("key")
        else:
            key, _, reported, _, block = printed.split("\n", 4)
            assert "`keys:`" in reported
            (entry,) = yaml.safe_load(block)
            assert all(isinstance(entry[name], str) for name in ("created", "expires"))  # JSON has no dates
        ring = KeyRing([KeyEntry.model_validate(entry)])
        assert ring.authenticate(f"Bearer {key}").name == "web: 1"

    @pytest.mark.parametrize(
        ("arguments", "reported"),
        [
            (["--pipelines", "a/b"], "pipelines[0]: String should match"),
            (["--pipelines", ""], "pipelines[0]: String should match"),
            (["--requests-per-minute", "0"], "budget.requests_per_minute: Input should be greater than"),
            (["--requests-per-minute", "many"], "'--requests-per-minute': Input should be a valid integer"),
            (["--name", "two\nlines"], "name: it has a control character"),
            (["--expires", "2020-01-01"], "Its end must lie in the future"),
            (["--expires", "0d"], "Its end must lie in the future"),
            (["--expires", "soon"], "legal are 2027-01-31, 2027-01-31T18:00Z, 30m, 12h, 90d"),
            (["--expires", "9999-12-31T23:00-02:00"], "legal are 2027-01-31"),
        ],
    )
    def test_a_wrong_option_is_reported_and_makes_nothing(
        self, fail: Run, path: Path, arguments: list[str], reported: str
    ) -> None:
        assert reported in fail("create", "--file", str(path), *arguments)
        assert not path.exists()


class TestListAndShow:
    def test_show_prints_a_fact_a_line(self, run: Run) -> None:
        made = json.loads(run("create", "--json", "--name", "web"))
        facts = dict(line.split("  ", 1) for line in run("show", made["id"]).splitlines())
        assert {name: fact.strip() for name, fact in facts.items()}.items() >= {
            "id": made["id"],
            "name": "web",
            "scope": "every model",
            "requests/min": "600",
            "state": "active",
        }.items()

    def test_json_has_every_fact_and_no_hash(self, run: Run, path: Path) -> None:
        made = json.loads(run("create", "--json"))
        (listed,) = json.loads(run("list", "--json"))
        assert listed == json.loads(run("show", made["id"], "--json"))
        assert listed == {name: fact for name, fact in made.items() if name != "key"}
        assert set(listed) == set(KeyEntry.model_fields) - {"sha256"} | {"state"}
        assert hash_key(made["key"]) not in run("list") + run("list", "--json") + run("show", made["id"])


class TestUpdate:
    def test_what_is_named_changes_and_all_else_stays(self, run: Run, path: Path) -> None:
        limits = ("--requests-per-minute", "60", "--tokens-per-minute", "9000")
        made = json.loads(run("create", "--json", "--name", "web", "--pipelines", "alpha", *limits))
        before = kept(path, made["id"])
        run("update", made["id"], "--tokens-per-minute", "500", "--pipelines", "alpha,beta", "--expires", "2099-01-31")
        after = kept(path, made["id"])
        changed = {"pipelines", "budget", "expires"}
        assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)
        assert after.pipelines == ["alpha", "beta"]
        assert after.budget.model_dump(exclude_none=True) == {"requests_per_minute": 60, "tokens_per_minute": 500}
        assert after.expires is not None

    def test_every_model_is_a_scope_too(self, run: Run, path: Path) -> None:
        made = json.loads(run("create", "--json", "--pipelines", "alpha"))
        run("update", made["id"], "--pipelines", "every")
        assert kept(path, made["id"]).pipelines is None

    def test_nothing_to_change_is_a_fault(self, run: Run, fail: Run, path: Path) -> None:
        made = json.loads(run("create", "--json"))
        assert "name at least one" in fail("update", made["id"], "--file", str(path))

    @pytest.mark.parametrize("arguments", [("--weight", "0"), ("--expires", "2020-01-01")], ids=str)
    def test_a_wrong_change_changes_nothing(self, run: Run, fail: Run, path: Path, arguments: tuple[str, ...]) -> None:
        made = json.loads(run("create", "--json"))
        before = kept(path, made["id"])
        fail("update", made["id"], *arguments, "--file", str(path))
        assert kept(path, made["id"]) == before

    def test_a_revoked_key_stays_as_it_is(self, run: Run, fail: Run, path: Path) -> None:
        made = json.loads(run("create", "--json"))
        run("revoke", made["id"])
        assert "is revoked" in fail("update", made["id"], "--weight", "2", "--file", str(path))


class TestRotate:
    def test_the_new_key_has_the_same_name_scope_budget_weight_and_lifetime(self, run: Run, path: Path) -> None:
        options = ("--name", "web", "--pipelines", "alpha", "--tokens-per-minute", "9", "--expires", "90d")
        old = json.loads(run("create", "--json", "--weight", "3", *options))
        made = json.loads(run("rotate", old["id"], "--json"))
        new = kept(path, made["id"])
        assert KEY_FORM.fullmatch(made["key"])
        assert new.created is not None
        assert new.expires == new.created + timedelta(days=90)
        assert new.rotated_from == old["id"]
        assert {name: made[name] for name in ("name", "pipelines", "budget", "weight")} == {
            "name": "web",
            "pipelines": ["alpha"],
            "budget": {"requests_per_minute": 600, "tokens_per_minute": 9, "concurrent_requests": None},
            "weight": 3,
        }

    @pytest.mark.parametrize(
        ("grace", "span"), [([], DAY), (["--grace", "2h"], DAY / 12), (["--grace", "0"], timedelta())]
    )
    def test_the_old_key_expires_after_the_grace(self, run: Run, path: Path, grace: list[str], span: timedelta) -> None:
        old = json.loads(run("create", "--json"))
        made = json.loads(run("rotate", old["id"], "--json", *grace))
        assert datetime.fromisoformat(made["old"]["expires"]) == datetime.fromisoformat(made["created"]) + span
        assert made["old"]["state"] == ("active" if span else "expired")
        assert kept(path, old["id"]).expires == datetime.fromisoformat(made["old"]["expires"])

    def test_it_tells_until_when_the_old_key_is_good(self, run: Run) -> None:
        old = json.loads(run("create", "--json"))["id"]
        key, _, once, reported = run("rotate", old).splitlines()
        assert KEY_FORM.fullmatch(key)
        assert once.startswith("This is the only time it is shown")
        assert f"The old key, {old}, is good until" in reported
        assert f"The old key, {public_id(key)}, is expired." in run("rotate", public_id(key), "--grace", "0")

    def test_a_grace_does_not_make_the_old_key_live_longer(self, run: Run, path: Path) -> None:
        old = json.loads(run("create", "--json", "--expires", "1h"))
        run("rotate", old["id"], "--grace", "30d")
        assert kept(path, old["id"]).expires == datetime.fromisoformat(old["expires"])

    def test_the_new_key_may_expire_at_another_time(self, run: Run) -> None:
        old = json.loads(run("create", "--json", "--expires", "1h"))
        made = json.loads(run("rotate", old["id"], "--json", "--expires", "2099-01-31"))
        assert made["expires"] == "2099-01-31T00:00:00Z"

    def test_an_end_after_the_year_9999_is_left_where_it_was(self, run: Run) -> None:
        old = json.loads(run("create", "--json", "--expires", "9999-12-31T23:59:59"))
        assert json.loads(run("rotate", old["id"], "--json"))["expires"] == "9999-12-31T23:59:59Z"

    def test_a_rotated_key_names_its_successor_and_a_revoked_one_the_way_on(
        self, run: Run, fail: Run, path: Path
    ) -> None:
        old = json.loads(run("create", "--json"))["id"]
        new = json.loads(run("rotate", old, "--json"))["id"]
        assert f"Its successor is {new}" in fail("rotate", old, "--file", str(path))
        run("revoke", new)
        assert "is revoked. Make a new one" in fail("rotate", new, "--file", str(path))

    def test_a_bad_grace_says_what_is_legal(self, fail: Run, path: Path) -> None:
        reported = fail("rotate", "a" * 12, "--file", str(path), "--grace", "3 days")
        assert "legal are 30m, 12h, 90d and 0" in reported


class TestTeams:
    TEAMS: dict[str, Any] = {"teams": [{"id": "acme"}]}  # noqa: RUF012

    def test_a_team_that_the_configuration_lacks_is_refused(self, tmp_path: Path, path: Path, fail: Run) -> None:
        config = str(write_config(tmp_path, key_file=str(path), **self.TEAMS))
        assert "no team `acne`. There are: acme." in fail("create", "--config", config, "--team", "acne")
        assert main(["keys", "create", "--config", config, "--team", "acme"]) == 0

    def test_the_list_shows_the_team(self, run: Run) -> None:
        run("create", "--team", "acme")
        heading, line = run("list").splitlines()
        assert line[heading.index("team") :].startswith("acme ")

    def test_check_finds_a_key_whose_team_is_gone(
        self, run: Run, tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key_id = json.loads(run("create", "--team", "gone", "--json"))["id"]
        assert main(["check", str(write_config(tmp_path, key_file=str(path), **self.TEAMS))]) == 2
        assert f"the key {key_id} names the team 'gone', so it is refused. `teams` has acme" in capsys.readouterr().err


class TestRevoke:
    def test_it_ends_a_key_for_good(self, run: Run, fail: Run, path: Path) -> None:
        made = json.loads(run("create", "--json"))
        assert made["id"] in run("revoke", made["id"])
        assert kept(path, made["id"]).revoked is not None
        assert "revoked" in run("list")
        assert "is already revoked, since" in fail("revoke", made["id"], "--file", str(path))

    def test_as_json_it_shows_the_key_that_it_ended(self, run: Run) -> None:
        made = json.loads(run("create", "--json"))
        assert json.loads(run("revoke", made["id"], "--json"))["state"] == "revoked"


class TestFaults:
    @pytest.mark.parametrize("command", ["show", "rotate", "revoke"])
    def test_an_unknown_id_says_how_to_see_the_ids_and_is_not_repeated(
        self, run: Run, fail: Run, path: Path, command: str
    ) -> None:
        key = json.loads(run("create", "--json"))["key"]
        reported = fail(command, key, "--file", str(path))
        assert "The list of keys has the ids" in reported
        assert key not in reported

    @pytest.mark.parametrize("command", [["list"], ["show", "a"], ["rotate", "a"], ["revoke", "a"]])
    def test_only_create_works_without_the_file(self, fail: Run, path: Path, command: list[str]) -> None:
        assert "one of the arguments --file --config is required" in fail(*command)
        assert "there is no such file" in fail(*command, "--file", str(path))
        assert not path.exists()

    def test_a_broken_file_is_reported(self, fail: Run, path: Path) -> None:
        path.write_text("{")
        assert "Invalid JSON" in fail("list", "--file", str(path))


class TestConfig:
    def test_the_configuration_may_name_the_file(
        self, tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = str(write_config(tmp_path, key_file=str(path)))
        assert main(["keys", "create", "--config", config, "--pipelines", "alpha", "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert kept(path, made["id"]).pipelines == ["alpha"]
        assert main(["check", config]) == 0
        assert "2 models, 3 keys" in capsys.readouterr().out

    def test_it_must_name_one_and_have_the_pipelines(self, fail: Run, tmp_path: Path, path: Path) -> None:
        config = str(write_config(tmp_path))
        assert "names no `key_file`" in fail("create", "--config", config)
        write_config(tmp_path, key_file=str(path))
        assert "no model `gamma`. There are: alpha, beta" in fail("create", "--config", config, "--pipelines", "gamma")
        assert not path.exists()

    def test_check_says_where_the_file_is_not_on_this_machine(
        self, tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = write_config(tmp_path, key_file=str(path))
        assert main(["check", str(config)]) == 0
        assert f"key file {path} is not on this machine, so that was not checked" in capsys.readouterr().out

    def test_check_tells_what_is_wrong_in_the_file(
        self, tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path.write_text("{}")
        assert main(["check", str(write_config(tmp_path, key_file=str(path)))]) == 2
        assert f"{path}: keys: Field required" in capsys.readouterr().err
