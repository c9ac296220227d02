"""`portico serve FILE` with `--host` and `--key-file`: the file that is served, where others are to reach it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Never

import pytest
import yaml

from app.__main__ import main
from app.cli.arguments import Status
from app.commands.serve_run import _start_ray
from app.config.service import read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER, in_project

LOCAL = PROJECT_FOLDER / "serve_configs" / "local.yaml"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is started here


@pytest.fixture
def key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    main(["keys", "create", "--file", str(tmp_path / "keys.json"), "--name", "web"])
    capsys.readouterr()
    return tmp_path / "keys.json"


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for what `portico serve` writes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "portico"


def serve(*arguments: object) -> int:
    return main(["serve", str(LOCAL), "--no-start", *map(str, arguments)])


def test_without_them_the_file_itself_is_served(configuration: Path) -> None:
    assert serve() == Status.DONE
    assert not configuration.exists()


def test_they_replace_the_address_and_the_keys_and_nothing_else(configuration: Path, key_file: Path) -> None:
    assert serve("--host", EVERYWHERE, "--key-file", key_file) == Status.DONE
    content, config = read_serve_config(configuration / "local-exposed.yaml")
    expected = yaml.safe_load(LOCAL.read_text())
    expected["http_options"]["host"] = EVERYWHERE
    del expected["applications"][0]["args"]["keys"]
    expected["applications"][0]["args"]["key_file"] = str(key_file)
    assert content == expected
    assert config.key_path() == key_file


def test_each_start_writes_the_file_anew(configuration: Path, key_file: Path) -> None:
    written = configuration / "local-exposed.yaml"
    serve("--host", EVERYWHERE, "--key-file", key_file)
    written.write_text(written.read_text() + "# changed by hand\n")
    assert serve("--host", "127.0.0.2") == Status.DONE
    assert yaml.safe_load(written.read_text())["http_options"]["host"] == "127.0.0.2"


def test_a_file_that_is_no_serve_config_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("applications: [{args: 3}]\n")
    assert main(["serve", str(other), "--host", EVERYWHERE]) == Status.WRONG
    assert f"{other}: `applications[0].args` is no mapping" in capsys.readouterr().err


def test_the_local_key_may_not_listen_for_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(LOCAL), "--host", EVERYWHERE]) == Status.WRONG
    assert "127.0.0.1" in capsys.readouterr().err


def test_the_port_of_the_metrics_reaches_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line to the process that starts Ray, and from there to Ray."""
    started: list[list[str]] = []
    given: list[dict[str, object]] = []

    def start(command: list[str], *_: object, **__: object) -> Never:
        started.append(command)
        raise ConfigError("nothing is started here")

    monkeypatch.setattr("app.commands.serve.start", start)
    monkeypatch.setattr("app.commands.serve._check_port", lambda *_: None)
    monkeypatch.setattr("app.commands.serve._opened_log", lambda _: SimpleNamespace(path="a log", descriptor=None))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("ray.init", lambda *_, **options: given.append(options))
    monkeypatch.setattr("app.commands.own_ray.Node", SimpleNamespace())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["serve", str(LOCAL), "--metrics-port", "8080"]) == Status.WRONG
    _start_ray(int(started[0][-1]))
    assert [options["_metrics_export_port"] for options in given] == [8080]


def test_fetched_models_may_lie_outside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image, whose own folders nobody may write to; the models of the repository stay where they are."""
    monkeypatch.setenv("PORTICO_LOCAL_MODELS", str(tmp_path))
    assert in_project("./local_models/not-here") == str(tmp_path / "not-here")
    assert in_project("./local_models/shapes") == str(PROJECT_FOLDER / "local_models" / "shapes")
    monkeypatch.delenv("PORTICO_LOCAL_MODELS")
    assert in_project("./local_models/not-here") == str(PROJECT_FOLDER / "local_models" / "not-here")
