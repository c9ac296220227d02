"""The pages of docs/ that are written from the code, or whose tables are: `portico docs`."""

from app.cli import commands_page, machines_page
from app.commands import docs_engines, docs_modules, docs_parameters
from contract.project import PROJECT_FOLDER

DOCS = PROJECT_FOLDER / "docs"
PAGES = {
    DOCS / "commands.md": commands_page.page,
    DOCS / "parameters.md": docs_parameters.page,
    DOCS / "engines.md": docs_engines.page,
    DOCS / "machines.md": machines_page.page,
    DOCS / "modules.md": docs_modules.page,
}


def write_pages() -> None:
    for path, page in PAGES.items():
        path.write_text(page())
        print(f"wrote {path.relative_to(PROJECT_FOLDER)}")
