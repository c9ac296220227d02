"""`start_first`: what `python -m app serve` deploys before the rest, and that the rest is then no change to it."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from app.builder import build, build_first
from app.commands.production_profile import production_variables
from app.commands.serve_probe import Look, ModelState
from app.commands.serve_run import NoGateway, _wait_until_listed, _wait_until_settled, only_first, variables_to_set
from app.upstream.registry import FAILED, READY
from contract.project import PROJECT_FOLDER

CONTENT = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
ARGS = CONTENT["applications"][0]["args"]
FIRST = "smollm2-135m-instruct"


def deployments(application: Any) -> dict[str, Any]:
    """Those of a built application, by name; the gateway is given the models' own."""
    (handles,) = application._bound_deployment.init_args
    models = [bound._bound_deployment for bound in handles.values()]
    return {one.name: one for one in [application._bound_deployment, *models]}


def test_the_first_models_are_deployed_with_the_gateway_and_the_others_are_not() -> None:
    assert set(deployments(build_first(ARGS))) == {"gateway", FIRST}
    assert set(deployments(build(ARGS))) == {"gateway"} | {model["id"] for model in ARGS["models"]}


def test_what_is_deployed_first_is_the_same_later() -> None:
    """An equal version and configuration is no change to Serve: no replica restarts, the gateway reads nothing anew."""
    later = deployments(build(ARGS))
    for name, one in deployments(build_first(ARGS)).items():
        assert one._deployment_config == later[name]._deployment_config
        assert one._replica_config.ray_actor_options == later[name]._replica_config.ray_actor_options


def test_the_gateway_knows_all_models_from_the_start() -> None:
    """So that those which are not deployed yet are starting, and not unknown."""
    config = deployments(build_first(ARGS))["gateway"]._deployment_config.user_config
    assert [model["id"] for model in config["models"]] == [model["id"] for model in ARGS["models"]]


def test_only_the_builder_differs_in_what_serve_gets_first() -> None:
    first = only_first(CONTENT)
    assert first is not None
    assert first["applications"][0].pop("import_path") == "app.builder:build_first"
    expected = yaml.safe_load(yaml.safe_dump(CONTENT))
    assert expected["applications"][0].pop("import_path") == "app.builder:build"
    assert first == expected


def test_without_the_setting_and_with_another_builder_all_is_deployed_at_once() -> None:
    application = CONTENT["applications"][0]
    others = {name: value for name, value in ARGS.items() if name != "start_first"}
    assert only_first({"applications": [application | {"args": others}]}) is None
    assert only_first({"applications": [application | {"import_path": "mine:build"}]}) is None


class TestWait:
    """Until what was deployed is up, or has failed."""

    def wait(self, monkeypatch: pytest.MonkeyPatch, *states: Any) -> None:
        found = iter(states)
        monkeypatch.setattr("app.commands.serve_run.POLL_SECONDS", 0)
        monkeypatch.setattr("ray.serve.status", lambda: SimpleNamespace(applications={"portico": next(found)}))
        _wait_until_settled("portico")
        assert list(found) == []

    def test_a_model_that_failed_keeps_nothing_from_going_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deployments = {"gateway": SimpleNamespace(status="HEALTHY"), "alpha": SimpleNamespace(status="DEPLOY_FAILED")}
        deploying = SimpleNamespace(status="DEPLOYING", deployments={})
        self.wait(monkeypatch, deploying, SimpleNamespace(status="DEPLOY_FAILED", deployments=deployments))

    def test_a_gateway_that_failed_ends_the_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gateway = SimpleNamespace(status="DEPLOY_FAILED", message="ConfigError: the Serve variables do not fit")
        failed = SimpleNamespace(status="DEPLOY_FAILED", deployments={"gateway": gateway}, message="")
        with pytest.raises(NoGateway, match="the Serve variables do not fit"):
            self.wait(monkeypatch, failed)

    def test_an_application_that_cannot_be_built_ends_it_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failed = SimpleNamespace(status="DEPLOY_FAILED", deployments={}, message="ImportError: no module")
        with pytest.raises(NoGateway, match="ImportError: no module"):
            self.wait(monkeypatch, failed)

    def test_the_others_wait_until_the_gateway_has_seen_what_became_of_the_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.commands.serve_run.POLL_SECONDS", 0)
        alpha = partial(ModelState, "alpha")
        looks = iter([Look(), Look((alpha("loading"), ModelState("beta", FAILED))), Look((alpha(READY),)), Look()])
        _wait_until_listed(Mock(look=lambda: next(looks)), ["alpha"])
        assert [*looks] == [Look()]

    def test_they_do_not_wait_for_a_gateway_that_does_not_answer(self) -> None:
        probe = Mock(look=Look)
        _wait_until_listed(probe, ["alpha"], seconds=0.01)


class TestVariablesOfTheController:
    """Those that Ray's processes do not have already."""

    OPTIONS = CONTENT["controller_options"]["runtime_env"]

    def test_none_is_left_where_the_production_profile_has_them_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        variables = production_variables(8000, {})
        assert set(self.OPTIONS["env_vars"]) <= set(variables)
        assert variables_to_set(self.OPTIONS, variables) is None

    def test_those_that_are_missing_or_others_are_set(self) -> None:
        runtime_env = {"env_vars": {"A": "1", "B": "2", "C": "3"}}
        assert variables_to_set(runtime_env, {"A": "1", "B": "0"}) == {"env_vars": {"B": "2", "C": "3"}}

    def test_a_file_needs_to_set_none(self) -> None:
        assert variables_to_set(None, {"A": "1"}) is None
