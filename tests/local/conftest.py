"""The service that `make serve` starts, with its real models: what a newcomer reads, hears and sees."""

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest
import yaml

from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service, shared

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
TRANSCRIPTION_MODEL = "whisper-base"
SPEECH_MODEL = "espeak-ng"
IMAGE_MODEL = "shapes"


@pytest.fixture(scope="session")
def local_service(tmp_path_factory: pytest.TempPathFactory, until_unused: dict[str, ExitStack]) -> Service:
    """local.yaml as it stands, but for its port."""
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
    folder = tmp_path_factory.mktemp("local-service")
    return shared(content, folder, folder / "keys.json", until_unused["local_service"])


@pytest.fixture(scope="session")
def client(local_service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=local_service.base_url, api_key=LOCAL_KEY, max_retries=0) as client:
        yield client
