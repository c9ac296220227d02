"""`make docs`: the site has every page, its links are valid, and its pages load nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from contract.project import PROJECT_FOLDER
from tests.pages import PAGES

LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}


class Loaded(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name == LOADED.get(tag)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(
        command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr  # of links to pages and headings that are not there
    return folder


def test_every_page_is_built_and_listed(site: Path) -> None:
    built = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    expected = {re.sub(r"README\.md$", "index.md", page).removesuffix(".md") + ".html" for page in PAGES}
    assert expected | {"notebooks/index.html"} <= built
    index = (PROJECT_FOLDER / "docs" / "README.md").read_text()
    assert [
        page for page in PAGES if page != "docs/README.md" and f"({os.path.relpath(page, 'docs')})" not in index
    ] == []


def test_a_page_loads_its_own_files_only(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        for address in Loaded(page.read_text()).addresses:
            parts = urlsplit(address)
            assert (parts.scheme, parts.netloc) == ("", ""), f"{page.name} loads {address}"
            place = site / parts.path.lstrip("/") if parts.path.startswith("/") else page.parent / parts.path
            assert place.exists(), f"{page.name} loads {address}, which is not there"
    for style in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')\s]+)", style.read_text())
        assert [one for one in addresses if "//" in one and not one.startswith("data:")] == [], style.name


def test_no_page_has_a_diagram_that_its_theme_would_fetch_a_program_for(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text()] == []


def test_the_output_is_ignored_by_git() -> None:
    folder = yaml.safe_load((PROJECT_FOLDER / "mkdocs.yml").read_text())["site_dir"]
    assert f"/{folder}/" in (PROJECT_FOLDER / ".gitignore").read_text().splitlines()
