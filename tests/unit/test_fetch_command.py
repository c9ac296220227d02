"""`portico fetch FILE`: which files of its models come from the hub. The hub is a stand-in on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from app.cli.arguments import Status
from contract.project import PROJECT_FOLDER
from tests.unit.model_hub import Hub, serving

CHAT = {"id": "tiny", "task": "chat", "engine": "vllm", "source": "org/tiny", "revision": Hub.COMMIT}
IMAGES = CHAT | {"task": "images", "engine": "diffusers"}


class AllKindsHub(Hub):
    FILES: ClassVar[dict[str, str]] = {
        name: name
        for name in (
            "config.json", "model_index.json", "model.safetensors", "pytorch_model.bin", "model.gguf",
            "original/weights.safetensors", "unet/model.safetensors", "unet/model.bin",
        )
    }  # fmt: skip


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(AllKindsHub) as endpoint:
        yield endpoint


def fetched(endpoint: str, folder: Path, *models: dict[str, Any]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run it, in a process of its own: the hub's library reads its environment once. Also the files that came."""
    args = {"models": list(models), "key_file": "/etc/portico/keys.json"}
    config = {"applications": [{"name": "portico", "import_path": "app.builder:build", "args": args}]}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    result = subprocess.run(
        [sys.executable, "-m", "app", "fetch", file],
        cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    came = [path for path in folder.glob("hf/hub/models--org--tiny/snapshots/*/**/*") if path.is_file()]
    return result, {"/".join(path.parts[path.parts.index("snapshots") + 2 :]) for path in came}


@pytest.mark.parametrize(
    ("entry", "files"),
    [
        (CHAT, {"config.json", "model_index.json", "model.safetensors", "unet/model.safetensors"}),
        (IMAGES, {"model_index.json", "unet/model.safetensors"}),
        (IMAGES | {"allow": ["pickle"]}, {"model_index.json", "unet/model.safetensors", "unet/model.bin"}),
    ],
    ids=["vllm", "diffusers", "diffusers, pickles allowed"],
)
def test_what_the_engine_loads_comes_and_nothing_else(
    hub: str, tmp_path: Path, entry: dict[str, Any], files: set[str]
) -> None:
    result, came = fetched(hub, tmp_path, entry)
    assert result.returncode == Status.DONE, result.stdout + result.stderr
    assert "tiny: org/tiny ...\n  is here.\n" in result.stdout
    assert came == files


def test_a_model_whose_engine_chooses_its_files_is_left_to_the_replica(hub: str, tmp_path: Path) -> None:
    entry = CHAT | {"task": "speech", "engine": "bark", "allow": ["pickle"]}
    result, came = fetched(hub, tmp_path, entry)
    assert result.returncode == Status.DONE, result.stdout + result.stderr
    assert "left to the replica: bark chooses files when it loads" in result.stdout
    assert came == set()


def test_a_folder_is_not_looked_for_on_the_hub(hub: str, tmp_path: Path) -> None:
    AllKindsHub.asked.clear()
    result, _ = fetched(hub, tmp_path, {"id": "a", "task": "chat", "engine": "vllm", "source": "/mnt/models/a"})
    assert (result.returncode, AllKindsHub.asked) == (Status.DONE, [])


def test_one_failed_download_is_told_and_the_others_come(hub: str, tmp_path: Path) -> None:
    unknown = CHAT | {"id": "unknown", "source": "org/unknown"}
    result, came = fetched(hub, tmp_path, unknown, CHAT)
    assert result.returncode == Status.NOT_RIGHT
    assert "org/unknown could not be downloaded" in result.stdout
    assert "try again" in result.stdout
    assert "model.safetensors" in came
