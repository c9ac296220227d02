"""A model of the hub is loaded at the commit that its entry names, whatever its author has published since."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from contract.project import PROJECT_FOLDER
from deployments.weights import fetched
from tests.engines.replicas import Case, served, started

NAME, COMMIT, NEWEST = "hub/name", "1" * 40, "2" * 40


CASES = [
    Case("sentence-transformers", "embeddings", "pocket-embed", {"device": "cpu"}),
    Case("diffusers", "images", "pocket-image", {"device": "cpu", "steps": 2}),
    Case("vits", "speech", "pocket-vits", {"device": "cpu"}),
    Case("faster-whisper", "transcriptions", "pocket-whisper", {"device": "cpu", "compute_type": "float32"}),
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's folder on this machine, without a network, for a model whose newest commit cannot be loaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--hub--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(NEWEST)
    (folder / "snapshots" / NEWEST).mkdir(parents=True)
    return folder / "snapshots"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine)
async def test_an_engine_loads_the_commit_of_its_entry(case: Case, hub: Path) -> None:
    shutil.copytree(PROJECT_FOLDER / "local_models" / case.model, hub / COMMIT)
    (await started(case.engine, case.task, NAME, case.engine_kwargs, revision=COMMIT)).close()


def test_a_model_that_is_fetched_whole_comes_without_pickles_that_are_not_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **how: Any) -> str:
        asked.update(how, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = served("bark", NAME, revision=COMMIT)
    assert fetched(model, without=["*.md"]) == tmp_path
    assert (asked["name"], asked["revision"]) == (NAME, COMMIT)
    assert {"*.md", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"} <= set(asked["ignore_patterns"])
    fetched(model._replace(allow=("pickle",)), without=["*.md"])
    assert asked["ignore_patterns"] == ["*.md"]
