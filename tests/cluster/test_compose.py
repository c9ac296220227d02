"""Docker Compose, for one machine with GPUs and one without: no daemon is needed to see whether its files are right."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from app.cli.application import application
from app.commands.findings.whole_file import findings
from app.commands.planned.exposed import exposed
from cluster.check_metrics import DASHBOARD, RULES
from contract.private_folder import write_private
from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.compose_files import FOLDER, STACKS, Stack, content, mounted_files, mounts, stack
from tests.cluster.manifests import SCHEMAS
from tests.pages import blocks, commands

by_stack = pytest.mark.parametrize("name", STACKS)
by_part = pytest.mark.parametrize("part", ["portico", "prometheus", "grafana"])


def options_of(command: str) -> tuple[str, dict[str, Any]]:
    """The command of `portico` that a command line runs, and its parameters. Raises click's errors."""
    program, *words = shlex.split(command)
    assert program == "portico"
    found: Any = get_command(application)
    while hasattr(found, "commands"):
        name, *words = words
        found = found.commands[name]
    return name, found.make_context(name, words).params


class TestFiles:
    @by_stack
    def test_are_what_the_compose_specification_says(self, name: str) -> None:
        schema = json.loads(SCHEMAS["compose"].read_text())
        for one in (*map(content, STACKS[name]), stack(name)):
            jsonschema.validate(one, schema)

    def test_a_field_that_compose_does_not_know_is_found(self) -> None:
        wrong: Stack = {"services": {"portico": {"image": "portico", "shmsize": "1gb"}}}
        with pytest.raises(jsonschema.ValidationError, match="shmsize"):
            jsonschema.validate(wrong, json.loads(SCHEMAS["compose"].read_text()))

    @by_stack
    def test_what_is_mounted_is_there_and_may_not_be_written_to(self, name: str) -> None:
        for service in stack(name)["services"].values():
            assert [str(path) for path in mounted_files(service).values() if not path.exists()] == []
            assert all(mode == "ro" for source, _, mode in mounts(service) if source.startswith("."))

    @by_stack
    def test_volumes_networks_and_secrets_are_declared_and_all_are_used(self, name: str) -> None:
        found = stack(name)
        services = found["services"].values()
        named = {source for service in services for source, *_ in mounts(service) if not source.startswith(".")}
        assert named == set(found["volumes"])
        assert {network for service in services for network in service["networks"]} == set(found["networks"])
        assert {secret for service in services for secret in service.get("secrets", [])} == set(
            found.get("secrets", ())
        )


class TestServices:
    @by_stack
    @by_part
    def test_run_confined_and_come_back(self, name: str, part: str) -> None:
        one = stack(name)["services"][part]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["restart"] == "unless-stopped"
        assert not {"privileged", "cap_add", "user", "network_mode"} & one.keys()
        assert one["healthcheck"]["test"][0] == "CMD"

    @by_stack
    @by_part
    def test_are_published_on_loopback_only(self, name: str, part: str) -> None:
        ports = stack(name)["services"][part]["ports"]
        assert len(ports) == 1
        assert ports[0].startswith("127.0.0.1:")

    @by_part
    def test_have_images_of_an_exact_version(self, part: str) -> None:
        for name in STACKS:
            image = stack(name)["services"][part]["image"]
            if part == "portico":
                assert image == f"portico:{VERSION}-{'gpu' if 'gpu' in name else 'cpu'}"
            else:
                assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", image)


class TestPortico:
    @pytest.mark.parametrize(("name", "target"), [("cpu", "cpu"), ("gpu", "gpu")])
    def test_is_built_from_a_target_of_the_dockerfile(self, name: str, target: str) -> None:
        build = stack(name)["services"]["portico"]["build"]
        assert (FOLDER / build["context"]).resolve() == PROJECT_FOLDER
        dockerfile = (PROJECT_FOLDER / build["dockerfile"]).read_text()
        assert build["target"] == target
        assert re.search(rf"^FROM \S+ AS {target}$", dockerfile, re.MULTILINE)

    @by_stack
    def test_runs_a_command_that_portico_has_on_all_addresses_of_the_container(self, name: str) -> None:
        service = stack(name)["services"]["portico"]
        command, options = options_of(service["command"])
        assert command == "serve"
        assert options["host"] == "0.0.0.0"  # noqa: S104 - of the container
        assert options["key_file"].parent == Path("/etc/portico")
        assert ("keys", "/etc/portico", "") in mounts(service)
        assert service["ports"][0].endswith(":8000")

    def test_serves_small_models_on_cpus_and_a_file_of_the_project_on_gpus(self) -> None:
        _, cpu = options_of(stack("cpu")["services"]["portico"]["command"])
        _, gpu = options_of(stack("gpu")["services"]["portico"]["command"])
        assert not cpu["what"]  # local.yaml, whose models are fetched
        assert [(PROJECT_FOLDER / file).is_file() for file in gpu["what"]] == [True]

    @pytest.mark.parametrize("file", ["local", "one-gpu-chat", "small"])
    def test_the_file_that_it_serves_has_no_fault(
        self, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the address and the keys of the container."""
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        keys = tmp_path / "keys.json"
        write_private(str(keys), b'{"keys": []}')
        path = exposed(PROJECT_FOLDER / "serve_configs" / f"{file}.yaml", "0.0.0.0", keys)  # noqa: S104
        assert [found for found in findings(path, quick=True)[0] if found.is_fault] == []

    @by_stack
    def test_writes_into_volumes_only(self, name: str) -> None:
        """Those that the image has for its user, and the temporary files."""
        service = stack(name)["services"]["portico"]
        dockerfile = (PROJECT_FOLDER / "cluster" / "Dockerfile").read_text()
        (own,) = re.findall(r"install -d -o portico -g portico (.+) &&", dockerfile)
        writable = {target for _, target, mode in mounts(service) if mode != "ro"}
        assert writable == {*own.split(), "/home/portico"}
        assert service["tmpfs"][0].partition(":")[0] == "/tmp"  # noqa: S108 - of the container
        for folder in re.findall(r"(?:HF_HOME|PORTICO_LOCAL_MODELS)=(\S+)", dockerfile):
            assert any(folder.startswith(f"{place}/") for place in writable)

    def test_has_the_gpus_where_there_are_some_and_room_for_ray_s_shared_memory(self) -> None:
        gpu, cpu = (stack(name)["services"]["portico"] for name in ("gpu", "cpu"))
        (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        assert "deploy" not in cpu
        assert gpu["shm_size"] == cpu["shm_size"] == "16gb"

    def test_is_stopped_only_after_the_time_that_requests_have(self) -> None:
        from app.commands.foreground import DRAIN_SECONDS, STOP_SECONDS

        service = stack("cpu")["services"]["portico"]
        assert float(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + STOP_SECONDS
        assert service["init"] is True  # what Ray leaves behind is reaped

    def test_reads_the_hub_s_token_from_a_secret(self) -> None:
        service = stack("gpu, hub token")["services"]["portico"]
        assert service["environment"]["HF_TOKEN_PATH"] == f"/run/secrets/{service['secrets'][0]}"
        assert not any("TOKEN" in name for name in stack("gpu")["services"]["portico"]["environment"])


class TestPage:
    """docs/docker.md"""

    COMMANDS = tuple(one for block in blocks("docs/docker.md") for one in commands(block))

    def test_commands_of_compose_name_services_and_what_portico_has(self) -> None:
        run = [shlex.split(one) for one in self.COMMANDS if re.match("docker compose (run|exec)", one)]
        assert len(run) == 4
        for words in run:
            service = words.index("portico")
            options_of(shlex.join(words[service + 1 :]))
            assert words[2] == "exec" or "--rm" in words[:service]

    def test_the_key_file_that_is_made_is_the_one_that_is_served(self) -> None:
        (create,) = [one for one in self.COMMANDS if "keys create" in one]
        _, options = options_of(stack("cpu")["services"]["portico"]["command"])
        assert f"--file {options['key_file']}" in create

    def test_files_that_are_named_together_are_there(self) -> None:
        text = (PROJECT_FOLDER / "docs" / "docker.md").read_text()
        named = re.findall(r"COMPOSE_FILE=([\w.:-]+\.yaml)", text)
        assert {tuple(one.split(":")) for one in named} == {STACKS["gpu"], STACKS["gpu, hub token"]}
        assert (FOLDER / ".env").name in text
        ignored = (PROJECT_FOLDER / ".gitignore").read_text().split()
        assert {"/cluster/compose/.env", "/cluster/compose/hub-token"} <= set(ignored)

    def test_variables_and_volumes_are_those_of_the_files(self) -> None:
        text = (PROJECT_FOLDER / "docs" / "docker.md").read_text()
        variables = {name for file in STACKS["gpu"] for name in re.findall(r"\$\{(\w+)", (FOLDER / file).read_text())}
        assert {name for name in variables if f"`{name}" not in text} == set()
        assert {volume for volume in stack("cpu")["volumes"] if f"`{volume}`" not in text} == set()

    def test_the_certificate_names_the_workflow_that_releases(self) -> None:
        (verify,) = [one for one in self.COMMANDS if one.startswith("cosign verify")]
        workflow, _ = re.findall(r"OWNER/portico/(\S+)@refs/tags/v(\S+)", verify)[0]
        assert (PROJECT_FOLDER / workflow).is_file()


class TestPrometheus:
    CONFIG = yaml.safe_load((FOLDER / "prometheus.yml").read_text())

    def test_scrapes_the_metrics_agent_of_portico_once(self) -> None:
        """The gateway's own page has the same series again."""
        targets = [target for job in self.CONFIG["scrape_configs"] for one in job["static_configs"]
                   for target in one["targets"]]  # fmt: skip
        found = stack("cpu")["services"]
        _, options = options_of(found["portico"]["command"])
        assert targets == [f"portico:{options['metrics_port']}"]
        assert set(found["portico"]["networks"]) <= set(found["prometheus"]["networks"])
        assert found["portico"]["environment"]["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"  # else it is on loopback

    def test_has_the_chart_s_own_rules(self) -> None:
        files = mounted_files(stack("cpu")["services"]["prometheus"])
        assert [files[name] for name in self.CONFIG["rule_files"]] == [RULES]

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
    def test_promtool_takes_its_configuration(self) -> None:
        command: list[Any] = ["promtool", "check", "config", "--syntax-only", FOLDER / "prometheus.yml"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


class TestGrafana:
    def provisioned(self, kind: str) -> Any:
        files = mounted_files(stack("cpu")["services"]["grafana"])
        return yaml.safe_load(files[f"/etc/grafana/provisioning/{kind}/portico.yaml"].read_text())

    def test_has_the_data_source_that_the_dashboard_asks_for(self) -> None:
        (source,) = self.provisioned("datasources")["datasources"]
        (variable,) = [
            one for one in json.loads(DASHBOARD.read_text())["templating"]["list"] if one["type"] == "datasource"
        ]
        assert source["type"] == variable["query"]
        assert source["isDefault"] is True
        host, _, port = source["url"].removeprefix("http://").partition(":")
        prometheus = stack("cpu")["services"][host]
        assert prometheus["ports"][0].endswith(f":{port}")
        assert set(prometheus["networks"]) & set(stack("cpu")["services"]["grafana"]["networks"])

    def test_every_panel_asks_the_data_source_that_is_chosen(self) -> None:
        panels = json.loads(DASHBOARD.read_text())["panels"]
        used = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
        assert used == {"${datasource}"}

    def test_shows_the_chart_s_own_dashboard_first(self) -> None:
        service = stack("cpu")["services"]["grafana"]
        home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        assert mounted_files(service)[home] == DASHBOARD
        (provider,) = self.provisioned("dashboards")["providers"]
        assert provider["options"]["path"] == str(Path(home).parent)

    def test_nobody_may_change_anything(self) -> None:
        environment = stack("cpu")["services"]["grafana"]["environment"]
        assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
        assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"  # no password of everybody's
