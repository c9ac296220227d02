"""What is written from the table: the page and the OpenAPI document."""

import re
from typing import Any

import openapi_spec_validator
import pytest

from app.cli.pages import PAGES
from app.config.usage import USAGE_PATH
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint
from app.endpoints.openapi import document
from app.endpoints.routes import Router
from app.parameters.row import Treatment
from contract.project import PROJECT_FOLDER

TEXTS = [*PROJECT_FOLDER.glob("*.md"), *(PROJECT_FOLDER / "docs").glob("*.md")]
# What who follows docs/adding-*.md makes.
FILES_OF_THE_RECIPES = {
    "app/endpoints/classify.py", "deployments/sentence_transformers/classifier.py", "deployments/speech/tone.py",
}  # fmt: skip
NAMED_FILE = re.compile(
    r"`((?:app|benchmarks|cluster|contract|deployments|docs|local_models|locks|serve_configs|tests)/[\w./-]*)`"
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_the_code_says(path: Any) -> None:
    assert path.read_text() == PAGES[path](), "run `portico docs`"


def test_the_openapi_document_is_valid_and_describes_exactly_the_routes() -> None:
    routes = Router().routes
    described = document(routes)
    openapi_spec_validator.validate(described)
    operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert operations == {(route.method, path) for route in routes for path in route.paths}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_file_and_page_that_a_text_names_is_there(path: Any) -> None:
    text = path.read_text()
    files = [name for name in NAMED_FILE.findall(text) if name not in FILES_OF_THE_RECIPES]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [name for name in files if not (PROJECT_FOLDER / name).exists()] == []
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_parameter_that_may_be_sent_is_described(endpoint: Endpoint) -> None:
    operation = document([endpoint])["paths"][endpoint.path]["post"]
    schema = operation["requestBody"]["content"][endpoint.request_types[0]]["schema"]
    sendable = {row.name for row in endpoint.table.rows if row.treatment is not Treatment.REFUSE}
    assert set(schema["properties"]) == sendable | {"strict_params"}


async def test_the_document_needs_no_key(make_gateway: Any) -> None:
    from tests.unit.conftest import client_of

    async with client_of(make_gateway(), key=None) as client:
        assert (await client.get("/openapi.json")).json() == document(Router(disabled=[USAGE_PATH]).routes)


@pytest.mark.parametrize(
    "path", [PROJECT_FOLDER / "SECURITY.md", PROJECT_FOLDER / "docs" / "security.md"], ids=lambda path: path.name
)
def test_every_test_that_a_text_on_security_names_is_there(path: Any) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text())
    assert len(named) == path.read_text().count("::")
    assert [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^ *(?:async )?def {name}\(", (PROJECT_FOLDER / file).read_text(), re.MULTILINE)
    ] == []


def test_every_row_on_security_has_its_test() -> None:
    rows = [
        line for line in (PROJECT_FOLDER / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")
    ]
    headings = {"| Class of attack or fault | How it is bounded | Test |"}
    assert {row for row in rows if "`tests/" not in row} == headings
