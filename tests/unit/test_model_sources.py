"""Models that are fetched: pinned, from at least one source, with a licence that is named."""

import re

import pytest
import yaml

from app.config.service import read_serve_config
from contract.project import PROJECT_FOLDER
from local_models.sources import FETCHED, FetchedModel, InWheels, OnHub
from local_models.voice_sources import VOICES

SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
LOCAL = PROJECT_FOLDER / "serve_configs" / "local.yaml"
TINY = PROJECT_FOLDER / "serve_configs" / "tiny.yaml"
NOTICE = " ".join((PROJECT_FOLDER / "NOTICE").read_text().split())
MODELS_PAGE = (PROJECT_FOLDER / "docs" / "models.md").read_text()
NAMES_OF_LICENCES = {"Apache-2.0": "Apache License 2.0", "CC0-1.0": "CC0", "MIT": "MIT License"}

FETCHABLE = FETCHED | VOICES
each_model = pytest.mark.parametrize("model", FETCHABLE.values(), ids=list(FETCHABLE))


@each_model
def test_every_file_is_pinned_and_so_is_every_source(model: FetchedModel) -> None:
    for file in model.files:
        assert SHA256.fullmatch(file.sha256)
        assert file.size > 0
        assert any(isinstance(source, InWheels) for source in file.sources), "an index is enough"
        for source in file.sources:
            if isinstance(source, OnHub):
                assert COMMIT.fullmatch(source.revision)
                continue
            for part in source.parts:
                assert SHA256.fullmatch(part.wheel.sha256)
                assert part.wheel.size > 0


@each_model
def test_no_files_name_leads_out_of_the_models_folder(model: FetchedModel) -> None:
    names = [file.name for file in model.files]
    assert len(set(names)) == len(names)
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in names)


@each_model
def test_its_licence_and_its_packages_are_named(model: FetchedModel) -> None:
    (paragraph,) = re.findall(rf"{re.escape(model.id)} is .*?(?:Unchanged\.|Changed: [^.]*\.)", NOTICE)
    assert NAMES_OF_LICENCES[model.licence] in paragraph
    sources = [source for file in model.files for source in file.sources]
    packages = {part.wheel.package for source in sources if isinstance(source, InWheels) for part in source.parts}
    assert [package for package in packages if package not in paragraph] == []
    assert [one.repository for one in sources if isinstance(one, OnHub) and one.repository not in paragraph] == []


@pytest.mark.parametrize("model", FETCHED.values(), ids=list(FETCHED))
def test_its_page_names_its_licence(model: FetchedModel) -> None:
    assert re.search(rf"^\| `{re.escape(model.id)}` \|.*\| {re.escape(model.licence)} \|$", MODELS_PAGE, re.MULTILINE)


def test_local_yaml_serves_what_is_fetched_and_what_is_here() -> None:
    _, config = read_serve_config(LOCAL)
    folders = {model.source.removeprefix("./local_models/") for model in config.models if "/" in model.source}
    assert folders == {*FETCHED, "shapes"}
    assert {model.task for model in config.models} == {"chat", "embeddings", "transcriptions", "speech", "images"}


def test_local_yaml_and_tiny_yaml_differ_in_their_models_only() -> None:
    local, tiny = (yaml.safe_load(path.read_text()) for path in (LOCAL, TINY))
    for content in (local, tiny):
        args = content["applications"][0]["args"]
        del args["models"]
        args.pop("start_first", None)
    assert local == tiny, "the same address and the same key"


def test_all_of_local_yaml_fits_a_machine_of_two_cores() -> None:
    _, config = read_serve_config(LOCAL)
    reserved = sum(model.resources.num_cpus * model.scaling.max_replicas for model in config.models)
    assert reserved <= 1.5, "the gateway and Serve's own actors need the rest"
