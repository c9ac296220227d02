"""The console's files over HTTP: where they are, what browsers are told to hold to, and that nothing else is there."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from app.console.files import STATIC
from tests.console.stand_in import front
from tests.unit.conftest import assert_error, client_of

PAGES = ("/", "/docs")
MODULES = sorted(path.name for path in STATIC.glob("*.js"))
IMPORT = re.compile(r'from "\./([\w.]+)"')
OUTSIDE = re.compile(r"(https?:)?//[a-z0-9-]+\.[a-z]", re.IGNORECASE)
XML_NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(front(), key=None) as client:
        yield client


class Elements(HTMLParser):
    """The start tags of a page, and the text in its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()

    def references(self) -> set[str]:
        return {value for _, attrs in self.tags for name in ("href", "src") if (value := attrs.get(name))}


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_allows_its_own_files_and_nothing_else(client: Any, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_no_inline_script_style_or_handler(client: Any, path: str) -> None:
    elements = Elements((await client.get(path)).text)
    assert elements.inline == ""
    assert [name for _, attrs in elements.tags for name in attrs if name == "style" or name.startswith("on")] == []


@pytest.mark.parametrize("path", PAGES)
async def test_every_file_that_a_page_refers_to_is_served_as_what_it_is(client: Any, path: str) -> None:
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    files = {one for one in Elements((await client.get(path)).text).references() if "." in one}
    assert files
    for one in files:
        response = await client.get(one)
        assert response.status_code == 200, one
        assert response.headers["content-type"].startswith(kinds[one.rpartition(".")[2]])


@pytest.mark.parametrize("name", MODULES)
async def test_every_module_that_a_module_imports_is_served(client: Any, name: str) -> None:
    for imported in IMPORT.findall((STATIC / name).read_text()):
        assert (await client.get(f"/console/{imported}")).status_code == 200


def test_every_module_is_used() -> None:
    imported = {one for name in MODULES for one in IMPORT.findall((STATIC / name).read_text())}
    assert set(MODULES) - imported == {"main.js", "reference.js"}


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_no_file_names_another_host_or_makes_markup_of_text(path: Any) -> None:
    text = path.read_text().replace(XML_NAMESPACE, "")
    assert not OUTSIDE.search(text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert "localStorage" not in text


async def test_a_file_that_a_browser_has_is_not_sent_again(client: Any) -> None:
    first = await client.get("/console/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/console/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_head_is_answered_as_get(client: Any) -> None:
    assert (await client.head("/")).headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["/console/nothing.js", "/console/", "/console/index.html", "/console/../application.py", "/index.html"]
)
async def test_nothing_else_is_there(client: Any, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_url"


@pytest.mark.parametrize("path", ["/", "/console/main.js", "/console/data/models"])
async def test_another_method_is_refused_in_the_envelope(client: Any, path: str) -> None:
    response = await client.post(path)
    assert_error(response, 405, "invalid_request_error", "method_not_allowed")
    assert response.headers["allow"] == "GET"


async def test_without_the_package_of_swagger_ui_there_is_no_reference_and_the_page_is_there(monkeypatch: Any) -> None:
    monkeypatch.setattr("app.console.files.find_spec", lambda _: None)
    async with client_of(front()) as client:
        assert (await client.get("/docs")).json()["error"]["code"] == "unknown_url"
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/console/main.js", "/console/data/key"])
async def test_where_it_is_off_nothing_of_it_is_there(path: str) -> None:
    async with client_of(front(console={"enabled": False})) as client:
        response = await client.get(path)
    assert response.status_code == 404
    assert "content-security-policy" not in response.headers


async def test_every_response_has_the_contract_s_headers(client: Any) -> None:
    mine = "6f1d5f0e-7a9b-4f2c-9d55-0123456789ab"
    response = await client.get("/", headers={"x-request-id": mine})
    assert response.headers["x-request-id"] == mine
    assert float(response.headers["x-gateway-overhead-ms"]) >= 0
