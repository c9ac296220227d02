"""The images: their Dockerfile is linted, what it copies exists, and what it runs runs here too."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import pytest
import yaml

from app.serving.serve_settings import VARIABLES
from contract.project import PROJECT_FOLDER, VERSION
from tests.cluster.charts import CHART

CLUSTER = PROJECT_FOLDER / "cluster"
DOCKERFILE = CLUSTER / "Dockerfile"
TARGETS = ("cpu", "gpu")
SCRIPTS = [CLUSTER / "haproxy", CLUSTER / "with-profile"]
BIN = Path(sys.executable).parent
# What the profile may hold beside Serve's variables.
RAY_VARIABLES = {
    "RAY_AUTH_MODE",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD",
    "RAY_worker_niceness",
}


def instructions(name: str) -> list[list[str]]:
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split()[1:] for line in joined.splitlines() if line.startswith(f"{name} ")]


def profile_variables() -> dict[str, str]:
    """What `cluster/with-profile` adds to an empty environment."""
    command: list[Any] = [
        CLUSTER / "with-profile",
        sys.executable,
        "-c",
        "import os, json; print(json.dumps(dict(os.environ)))",
    ]
    reported = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True, text=True).stdout
    return {name: value for name, value in yaml.safe_load(reported).items() if name.startswith("RAY_")}


def test_hadolint_has_nothing_to_say() -> None:
    result = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    command: list[Any] = [BIN / "shellcheck", "-x", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT_FOLDER)
    assert (result.returncode, result.stdout) == (0, "")
    assert os.access(script, os.X_OK)


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    sent = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    for *sources, _ in (words for words in instructions("COPY") if not words[0].startswith("--from")):
        for source in sources:
            assert (PROJECT_FOLDER / source).exists()
            folder = f"!{source.partition('/')[0]}"
            assert folder in sent or any(rule.startswith(f"{folder}/") for rule in sent), source
    assert not [file for file in tracked("local_models") if not _is_sent(file, sent)]


def _is_sent(file: str, rules: list[str]) -> bool:
    """Whether one of the rules that name what is sent has the file, or a folder above it, and none keeps it back."""
    path = Path(file)
    kept_back = any(path.match(rule) for rule in rules if rule[0] != "!" and rule != "*")
    return not kept_back and any(
        one.match(rule[1:]) for rule in rules if rule[0] == "!" for one in (path, *path.parents)
    )


def tracked(folder: str) -> list[str]:
    """The files of the repository in a folder: no model that was fetched or made, and no bytecode."""
    command = ["git", "ls-files", "--", folder]
    return subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("secret", ["cluster/compose/hub-token", "cluster/compose/.env", "keys.json", ".env"])
def test_no_secret_of_who_runs_it_reaches_the_builder(secret: str) -> None:
    rules = [line for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] != "#"]
    assert not _is_sent(secret, rules)


def test_nothing_but_that_reaches_the_builder() -> None:
    first, *rules = [line for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] != "#"]
    assert first == "*"
    copied = {source.partition("/")[0] for words in instructions("COPY") for source in words[:-1] if source[0] != "-"}
    assert {rule[1:].partition("/")[0] for rule in rules if rule[0] == "!"} <= copied


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folders of the image, with what is copied into them."""
    for *sources, target in (words for words in instructions("COPY") if not words[0].startswith("--from")):
        place = tmp_path / target.strip("./")
        for source in (PROJECT_FOLDER / one for one in sources):
            if source.is_dir():
                for file in map(Path, tracked(source.name)):
                    (tmp_path / "opt/portico" / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(PROJECT_FOLDER / file, tmp_path / "opt/portico" / file)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
    return tmp_path


def test_what_is_copied_is_enough_to_build_the_application(image: Path) -> None:
    """In the image's folders, with its Python path and nothing else of this project."""
    folder = image / "opt" / "portico"
    program = (
        "import yaml, app.builder, app.commands.serve; "
        "args = yaml.safe_load(open('serve_configs/prod.yaml'))['applications'][0]['args']; "
        "print(app.builder.__file__, app.builder.build(args)._bound_deployment.name)"
    )
    command: list[Any] = [folder / "cluster" / "with-profile", sys.executable, "-c", program]
    result = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == [str(folder / "app" / "builder.py"), "gateway"], result.stderr


def test_what_is_copied_is_enough_to_install_the_command(image: Path) -> None:
    folder = image / "opt" / "portico"
    commands = [words[words.index("-e") + 1] for words in instructions("RUN") if "-e" in words]
    assert commands == ["/opt/portico"] * len(TARGETS)
    build = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_editable('.'))"
    result = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=True)
    metadata = folder / result.stdout.splitlines()[-1]
    assert "portico = app.cli.application:main" in (metadata / "entry_points.txt").read_text()


def test_the_base_is_named_by_its_digest() -> None:
    """Each stage begins with the same one, or another stage. A tag alone may be another image tomorrow."""
    (python,) = [words[0].removeprefix("PYTHON=") for words in instructions("ARG") if words[0].startswith("PYTHON=")]
    assert re.fullmatch(r"3\.1[12]\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", python)
    stages = [words[2] for words in instructions("FROM")]
    assert {words[0] for words in instructions("FROM")} - set(stages) == {"python:${PYTHON}"}
    assert set(TARGETS) <= set(stages)
    assert stages[-1] == "gpu"  # what is built where no target is named


def test_packages_come_from_the_locks_with_their_hashes() -> None:
    commands = [words for words in instructions("RUN") if "install" in words and "pip" in " ".join(words)]
    installs = [" ".join(words) for words in commands if "-e" not in words]  # that is this project itself
    locks = [re.findall(r"([\w-]+)\.txt", command) for command in installs]
    assert [name for names in locks for name in names] == [
        "uv", "torch-cpu", "cpu", "gpu", "launcher", "cuda12", "qwen-tts", "xtts", "onnxruntime-gpu",
    ]  # fmt: skip
    assert all("--no-deps --require-hashes" in command for command in installs)


def test_the_locks_agree_where_they_share_an_environment() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (PROJECT_FOLDER / "locks" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;]+)(?: \\|$)", text, re.MULTILINE))

    main, launcher = pins("gpu"), pins("launcher")
    assert {name: main[name] for name in launcher if name in main} == {
        name: version for name, version in launcher.items() if name in main
    }


@pytest.mark.parametrize("name", ["prod", "small"])
def test_the_libraries_of_faster_whisper_are_where_its_replicas_look(name: str) -> None:
    """In the image, and in the environment of `make gpu`."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / f"{name}.yaml").read_text())
    models = content["applications"][0]["args"]["models"]
    (path,) = [model["env"]["LD_LIBRARY_PATH"] for model in models if model["engine"] == "faster-whisper"]
    (image,) = [words[words.index("--target") + 1] for words in instructions("RUN") if "cuda12.txt" in words]
    (here,) = re.findall(r"--target \$\(VENV\)/(\S+) -r locks/cuda12.txt", (PROJECT_FOLDER / "Makefile").read_text())
    target = image if name == "prod" else f"./.venv/{here}"
    for folder in path.split(":"):
        assert folder.startswith(f"{target}/nvidia/")
        package = folder.removeprefix(f"{target}/nvidia/").removesuffix("/lib")
        assert f"\nnvidia-{package}-cu12==" in "\n" + (PROJECT_FOLDER / "locks" / "cuda12.txt").read_text()


def test_the_user_is_a_number_and_not_root() -> None:
    assert instructions("USER") == [["1000:1000"]] * len(TARGETS)
    assert len(instructions("HEALTHCHECK")) == 1


def test_bytecode_is_found_by_the_hash_of_its_source() -> None:
    """By its time, none would be: builds give every file the commit's."""
    (mode,) = re.findall(r"PYC_INVALIDATION_MODE=(\w+)", DOCKERFILE.read_text())
    assert PycInvalidationMode[mode] is PycInvalidationMode.UNCHECKED_HASH
    (ours,) = [words for words in instructions("RUN") if "compileall" in words]
    assert ours[ours.index("--invalidation-mode") + 1] == "checked-hash"


def test_labels_say_what_it_is_and_of_what_it_was_made() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', DOCKERFILE.read_text()))
    assert labels["licenses"] == tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["project"]["license"]
    assert labels["base.name"] == "docker.io/library/python:${PYTHON}"
    given = {name: labels[name] for name in ("source", "revision", "version", "created")}
    assert given == {name: f"${{{name.upper()}}}" for name in given}


class TestMakeImage:
    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "image", *arguments]
        own = {"MAKEFLAGS", "MAKELEVEL"}  # of the make that runs the tests
        variables = {name: value for name, value in os.environ.items() if name not in own} | environment
        return subprocess.run(command, cwd=PROJECT_FOLDER, env=variables, capture_output=True, text=True, check=False)

    @pytest.mark.parametrize("target", TARGETS)
    def test_builds_a_target_with_the_arguments_that_the_dockerfile_takes(self, target: str) -> None:
        planned = self.make(f"TARGET={target}", "--dry-run").stdout
        given = dict(re.findall(r"--build-arg (\w+)=(\S*)", planned))
        declared = {words[0].partition("=")[0] for words in instructions("ARG")}
        assert given.keys() - {"SOURCE_DATE_EPOCH"} == declared - {"PYTHON"}  # Docker takes that one by itself
        assert f"--target {target} --tag portico:{VERSION}-{target} " in planned
        assert given["VERSION"] == VERSION
        assert f"TORCH_CPU_INDEX={given['TORCH_CPU_INDEX']}\n" in DOCKERFILE.read_text()

    def test_attests_what_is_pushed(self) -> None:
        assert "--sbom=true --provenance=mode=max" in self.make("--dry-run", "OUTPUT=push").stdout
        assert "type=oci,dest=image.tar" in self.make("--dry-run", "OUTPUT=image.tar").stdout
        assert "--sbom" not in self.make("--dry-run").stdout  # Docker's own store has no place for it

    def test_says_what_is_wrong_with_its_target(self) -> None:
        result = self.make("TARGET=tpu")
        assert result.returncode != 0
        assert result.stdout == "TARGET=tpu is neither gpu (the default) nor cpu\n"

    def test_says_what_is_missing_where_there_is_no_docker(self, tmp_path: Path) -> None:
        docker = tmp_path / "docker"
        docker.write_text("#!/bin/sh\nexit 1\n")
        docker.chmod(0o755)
        result = self.make(PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert result.returncode != 0
        assert result.stdout.startswith("make image needs Docker 23 or newer with buildx")


def test_the_profile_sets_what_the_file_says_and_the_path_of_the_wrapper() -> None:
    lines = [line for line in (CLUSTER / "serve.env").read_text().splitlines() if line and line[0] != "#"]
    reported = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    assert profile_variables() == reported | {"RAY_SERVE_HAPROXY_BINARY_PATH": str(CLUSTER / "haproxy")}
    assert all(name.startswith("RAY_SERVE_") or name in RAY_VARIABLES for name in reported)


def test_the_profile_passes_the_start_up_check_of_prod_yaml() -> None:
    check = (
        "from app.serving import serve_settings as s; from app.config.service import read_serve_config as r;"
        "from pathlib import Path;"
        "print(s.faults_of(s.read(), r(Path('serve_configs/prod.yaml'))[1]))"
    )
    command: list[Any] = [CLUSTER / "with-profile", sys.executable, "-c", check]
    result = subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_there_is_no_second_copy_of_a_serve_variable() -> None:
    """Only the files of serve_configs name one: the controller's, where Ray starts without the profile."""
    reported = profile_variables()
    copies = [path for path in CLUSTER.rglob("*") if path.suffix in (".yaml", ".json", "") and path.is_file()]
    for path in set(copies) - {*SCRIPTS}:
        content = path.read_text()
        if path == CHART / "values.yaml":
            content = yaml.safe_dump({**yaml.safe_load(content), "serve": ""})
        assert [name for name in reported if f"{name}:" in content or f"{name}=" in content] == [], path
    for path in (PROJECT_FOLDER / "serve_configs").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        variables = config["controller_options"]["runtime_env"]["env_vars"]
        assert variables.items() <= reported.items()


def test_the_start_up_check_knows_every_variable_that_must_fit() -> None:
    assert set(VARIABLES.values()) - {"RAY_SERVE_USE_GRPC_BY_DEFAULT"} <= set(profile_variables())
