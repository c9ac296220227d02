"""The documentation's blocks of code: each is run by a test, checked here, or of a kind that is known not to be run."""

import json
import re
import shlex
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import markdown
import pytest
import typer
import yaml
from typer.main import get_command

from app.cli.application import PROGRAM, application
from app.cli.machines_page import ON_CPUS, ON_GPUS, cached_tokens, entry_of, free_memory_gib
from app.commands.banner import banner
from app.commands.findings.whole_file import findings
from app.commands.planned.entries import CONTEXT_ON_CPU, plan
from app.commands.planned.kind import Kind
from app.commands.planned.machine import Machine
from app.commands.planned.source import Source
from app.commands.serve_probe import ModelState
from app.config.gpus import MEMORY_GIB
from app.config.memory_fit import demand, verdict
from app.config.model_entry import ModelEntry
from app.config.service import parse_config, read_serve_config
from app.endpoints.catalog import ENDPOINTS
from contract.project import PROJECT_FOLDER
from tests.cluster.charts import rendered
from tests.pages import (
    CHECKS,
    EXAMPLES,
    IN_A_SHELL,
    NOT_RUN,
    PAGES,
    RECIPES,
    Block,
    blocks,
    commands,
    run_in_a_shell,
    text_of,
    the_block,
)
from tests.unit.conftest import config_args

ALL = blocks(*PAGES)
YAML = [block for block in ALL if block.language == "yaml" and block.page not in RECIPES]
BASH = [block for block in ALL if block.language == "bash"]
COMMANDS = [(block.page, command) for block in BASH for command in commands(block)]
CHAT = {"id": "a", "task": "chat", "engine": "vllm", "source": "org/a"}


def first_line(block: Block) -> str:
    return f"{block.page}: {block.code.partition(chr(10))[0]}"


def is_run(block: Block) -> bool:
    """Whether a test runs the block as it stands."""
    by_shell = [word for page, word in IN_A_SHELL | CHECKS if page == block.page]
    return any(word in block.code for word in [*EXAMPLES.get(block.page, ()), *by_shell])


class TestEveryBlock:
    def test_is_marked_with_its_language_and_none_is_only_indented(self) -> None:
        assert {block.language for block in ALL} == {"bash", "python", "js", "yaml"}
        for page in PAGES:
            outside = re.sub(r"^( *)```.*?^\1```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
            assert "```" not in outside, page
            assert "<pre>" not in markdown.markdown(outside), page

    @pytest.mark.parametrize("block", [one for one in ALL if one.language in ("python", "js")], ids=first_line)
    def test_of_python_and_javascript_is_run(self, block: Block) -> None:
        assert is_run(block) or block.page in RECIPES

    @pytest.mark.parametrize("block", BASH, ids=first_line)
    def test_of_bash_is_run_or_each_of_its_commands_is_of_a_known_kind(self, block: Block) -> None:
        if not is_run(block):
            unknown = [one for one in commands(block) if not one.startswith(f"{PROGRAM} ") and reason(one) is None]
            assert unknown == [], "run it (tests/pages.py: IN_A_SHELL, EXAMPLES), or name its kind in NOT_RUN"

    def test_of_each_kind_that_is_not_run_there_is_one(self) -> None:
        used = {reason(command) for block in BASH if not is_run(block) for command in commands(block)}
        assert set(NOT_RUN.values()) <= used


def reason(command: str) -> str | None:
    """Why no test runs it; None where it must be run."""
    return next((why for kind, why in NOT_RUN.items() if re.fullmatch(kind, command)), None)


class TestCommands:
    @pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if one[1].startswith(f"{PROGRAM} ")])
    def test_portico_takes_its_arguments(self, page: str, command: str) -> None:
        parse(shlex.split(re.sub(r"\s*[>|].*", "", command))[1:])

    @pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/modules.md"])
    def test_portico_has_what_a_sentence_names(self, page: str) -> None:
        for named in re.findall(rf"`{PROGRAM}\s([a-z][^`]*)`", text_of(page)):
            words = named.split()
            parse(words if re.search(r"[A-Z-]", named) else [*words, "--help"])

    @pytest.mark.parametrize("target", sorted({command for _, command in COMMANDS if command.startswith("make ")}))
    def test_make_has_the_target(self, target: str) -> None:
        result = subprocess.run([*target.split(), "--dry-run"], cwd=PROJECT_FOLDER, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr

    def test_modules_that_python_runs_are_there(self) -> None:
        named = {name for page in PAGES for name in re.findall(r"python -m ([\w.]+)", text_of(page))}
        named.discard("pip")  # to look for it has setuptools put the old distutils in place of its own, for good
        assert {name for name in named if find_spec(name) is None} == set()

    def test_files_of_the_project_are_there(self) -> None:
        named = {
            path for _, one in COMMANDS for path in re.findall(r"(?:cluster|locks|serve_configs|tests)/[\w./-]+", one)
        }
        assert {path for path in named if not (PROJECT_FOLDER / path).exists()} == set()

    def test_packages_that_a_reader_installs_are_those_of_the_tests(self) -> None:
        locks = "".join((PROJECT_FOLDER / "locks" / f"{name}.txt").read_text() for name in ("clients", "cpu"))
        manifest = json.loads((PROJECT_FOLDER / "tests/clients/javascript/package.json").read_text())
        for words in [shlex.split(command)[2:] for _, command in COMMANDS if command.startswith("pip install ")]:
            names = [re.split(r"[<>=]", word)[0] for word in words]
            assert [name for name in names if f"\n{name}==" not in locks] == []
        for words in [shlex.split(command)[2:] for _, command in COMMANDS if command.startswith("npm install ")]:
            assert set(words) <= set(manifest["devDependencies"])

    @pytest.mark.parametrize(("page", "word"), sorted(IN_A_SHELL))
    def test_a_block_runs_as_it_stands(self, page: str, word: str, tmp_path: Path) -> None:
        code = the_block(page, word).code
        if "--dry-run" in code:
            code = code.replace("kubectl create", "test -s keys.json; kubectl create")
        if " ID " in code:  # what the reader takes from the list
            code = code.replace(
                " ID ", ' "$(portico keys list --file keys.json --json | grep -m1 -oP \'"id": "\\K[^"]+\')" '
            )
        run_in_a_shell(code, tmp_path)
        if word == "keys rotate":
            keys = json.loads((tmp_path / "keys.json").read_text())["keys"]
            assert len(keys) == 2

    def test_what_the_operator_mounts_is_what_the_configuration_names(self) -> None:
        (served,) = [block for block in YAML if block.page == "docs/operations.md" and "applications" in block.code]
        run = next(command for _, command in COMMANDS if command.startswith("docker run"))
        made = the_block("docs/operations.md", "portico-config/keys.json").code
        args = yaml.safe_load(served.code)["applications"][0]["args"]
        assert '"$PWD/portico-config:/etc/portico:ro"' in run
        assert args["key_file"] == "/etc/portico/keys.json"
        assert "--file portico-config/keys.json" in made
        assert run.endswith("serve run /etc/portico/config.yaml")
        assert "`portico-config/config.yaml`" in text_of("docs/operations.md")


def parse(words: list[str]) -> None:
    """Parse a command line as Typer does, and run nothing. Placeholders such as FILE stand for themselves."""
    group: Any = get_command(application)
    context = group.make_context(PROGRAM, words)
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with suppress(typer.Exit):  # of --help
            context = group.make_context(name, rest, parent=context)


@pytest.mark.parametrize("block", YAML, ids=first_line)
def test_yaml_is_what_the_service_takes(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.code)
    if isinstance(content, list):
        assert [ModelEntry.model_validate(entry).id for entry in content]
    elif "applications" in content:
        file = tmp_path / "config.yaml"
        file.write_text(block.code)
        found, config = findings(file)
        assert [one for one in found if one.is_fault] == []
        assert config is not None
    elif "gpuGroups" in content:
        assert ("RayService", "portico") in rendered(content)
    elif "speculation" in content:
        ModelEntry.model_validate(CHAT | content)
    else:
        parse_config(config_args(**content.get("args", content)))


class TestReadme:
    README = text_of("README.md")

    def test_is_short_and_its_sections_are_in_order(self) -> None:
        assert len(self.README.splitlines()) < 200
        assert re.findall(r"^## (.*)", self.README, re.MULTILINE) == [
            "Why, and why not", "The parts", "Start in five minutes", "A real model on one GPU",
            "Routes and guarantees", "Add a model", "Keys", "Cluster", "Figures", "Limits", "Links",
        ]  # fmt: skip

    def test_what_it_shows_of_the_start_is_what_is_printed(self) -> None:
        path = PROJECT_FOLDER / "serve_configs" / "local.yaml"
        config = read_serve_config(path)[1]
        states = {True: "ready", False: "queued"}
        models = [ModelState(model.id, states[model.id in config.start_first]) for model in config.models]
        printed = banner(config, "127.0.0.1", 8000, path, models)
        shown = re.findall(r"```text\n(Portico is ready\.\n.*?)```", self.README, re.DOTALL)
        assert [text for text in shown if text in printed] == shown != []

    @pytest.mark.parametrize("page", ["README.md", "docs/routes.md"])
    def test_every_route_is_named(self, page: str) -> None:
        assert [endpoint.path for endpoint in ENDPOINTS if f"{endpoint.path}`" not in text_of(page)] == []


class TestMachines:
    @pytest.mark.parametrize("gpu", ["T4", "L4", "L40S", "H100"])
    def test_the_tokens_are_those_that_check_says(self, gpu: str) -> None:
        for model in ON_GPUS:
            entry = entry_of(model, 1)
            said = verdict(entry, demand(entry), MEMORY_GIB[gpu])
            tokens = cached_tokens(model, 1, gpu)
            assert bool(said.fits) == (tokens is not None and tokens >= 1024)
            if said.fits:
                assert tokens == pytest.approx(
                    int(re.findall(r"cache of ([\d,]+)", said.reason)[0].replace(",", "")), abs=2
                )

    def test_the_models_of_prod_yaml_and_of_one_gpu_need_what_those_files_say(self) -> None:
        sizes = {model.name: (round(model.weights_gib(), 2), model.token_bytes()) for model in ON_GPUS}
        said = {}
        for name in ("prod", "one-gpu-chat"):
            for model in read_serve_config(PROJECT_FOLDER / "serve_configs" / f"{name}.yaml")[1].models:
                if model.task == "chat":
                    said[model.source.rpartition("/")[2]] = (
                        model.memory.weights_gib,
                        model.memory.kv_cache_bytes_per_token,
                    )
        assert {name: sizes[name] for name in said} == said

    @pytest.mark.parametrize("fast_bfloat16", [False, True])
    @pytest.mark.parametrize("model", ON_CPUS, ids=lambda model: model.name)
    def test_so_much_free_memory_is_just_enough_for_a_whole_context_on_cpus(
        self, model: Any, fast_bfloat16: bool
    ) -> None:
        class Hub(Source):
            def json(self, path: str) -> dict[str, Any]:
                return {
                    "num_hidden_layers": model.layers, "num_attention_heads": model.kv_heads,
                    "num_key_value_heads": model.kv_heads, "head_dim": model.head_size,
                    "max_position_embeddings": 131_072,
                }  # fmt: skip

        source = Hub("org/a", "a", {"model.safetensors": 1}, None, "a" * 40, {"BF16": model.parameters})
        gib = free_memory_gib(model, 2 if fast_bfloat16 else 4)
        contexts = [
            plan([(source, Kind("chat", "vllm"))], Machine(2, free, (), fast_bfloat16))[0].place.context
            for free in (gib - 0.01, gib + 0.01)
        ]
        assert contexts[0] < contexts[1] == CONTEXT_ON_CPU
