"""The engines' specs: each names a class that is there, and nobody imports it before a replica does."""

import subprocess
import sys
from importlib import import_module

import pytest

from app.config.service import parse_config
from contract.fields import ConfigError
from contract.options.catalog import CATALOG, SPECS, EngineSpec
from contract.project import PROJECT_FOLDER
from deployments.replica import Engine
from tests.unit.conftest import config_args
from tests.unit.test_config import entry


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_what_a_spec_loads_can_be_started(spec: EngineSpec) -> None:
    for load in spec.load.values():
        module, _, name = load.partition(":")
        assert callable(getattr(import_module(module), name).start)


def test_an_engine_that_counts_its_work_counts_its_steps() -> None:
    """Else a replica at work would look like one that hangs."""
    for module in [
        "deployments.speech.engine",
        *(load.partition(":")[0] for one in SPECS for load in one.load.values()),
    ]:
        import_module(module)
    engines = [one for one in Engine.__subclasses__() if one.__module__.startswith("deployments.")]
    assert len(engines) == 5
    assert all("steps" in vars(engine) for engine in engines if "unfinished" in vars(engine))


def test_names_are_unique() -> None:
    assert len(CATALOG) == len(SPECS)


def test_an_engine_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"there is no engine 'gpt'; there are vllm, .*, qwen3-tts"):
        parse_config(config_args(models=[entry(engine="gpt")]))


def test_the_builder_imports_no_engine() -> None:
    names = subprocess.run(
        [sys.executable, "-c", "import sys, app.builder; print(*sys.modules)"],
        cwd=PROJECT_FOLDER, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    ours = {name for name in names if name.startswith("deployments.")}
    parts = ("health", "kept_log", "replica", "request_log", "slots", "watchdog")
    assert ours == {f"deployments.{part}" for part in parts}
    libraries = {"torch", "vllm", "transformers", "diffusers", "faster_whisper", "sentence_transformers", "av"}
    assert not libraries.intersection(names)
