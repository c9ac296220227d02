"""Where the service is: all that a client knows of it."""

import os

import pytest


@pytest.fixture(scope="session")
def base_url() -> str:
    return os.environ["OPENAI_BASE_URL"]


@pytest.fixture(scope="session")
def api_key() -> str:
    return os.environ["OPENAI_API_KEY"]


@pytest.fixture(scope="session")
def model() -> str:
    return os.environ.get("PORTICO_MODEL", "pocket-chat")
