"""The service that `make serve` starts, with its real models: what a newcomer reads, hears and sees."""

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest
import yaml

from app.__main__ import main
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
    """local.yaml as it stands, but for its port, and with the key file that it has in a comment."""
    text = (PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text()
    folder = tmp_path_factory.mktemp("local-service")
    key_file = folder / "keys.json"
    assert main(["keys", "create", "--file", str(key_file), "--name", "first"]) == 0
    content = yaml.safe_load(text.replace("# key_file: ./keys.json", f"key_file: {key_file}"))
    assert content["applications"][0]["args"]["key_file"] == str(key_file)
    return shared(content, folder, key_file, until_unused["local_service"])


@pytest.fixture(scope="session")
def client(local_service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=local_service.base_url, api_key=LOCAL_KEY, max_retries=0) as client:
        yield client
