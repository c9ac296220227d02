"""A hook of MkDocs: which files of the project are pages and pictures of the site.

The site keeps the folders of the project, so that the links of a page are right on GitHub and on the site.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

PROJECT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "docs/images/*", "benchmarks/*.png", "notebooks/*.ipynb", "LICENSE")
NOTEBOOKS = "notebooks/README.md"  # what a link to the folder opens


def on_files(files: Files, config: Any) -> Files:
    """Takes the place of what MkDocs found in docs/; its theme's files stay."""
    found = [path.relative_to(PROJECT) for pattern in PAGES for path in sorted(PROJECT.glob(pattern))]
    ours = [File(str(path), str(PROJECT), config.site_dir, config.use_directory_urls) for path in found]
    theirs = [file for file in files if not _is_in_docs(file)]
    return Files([*theirs, *ours, _list_of_notebooks(found, config)])


def _is_in_docs(file: File) -> bool:
    return file.abs_src_path is not None and Path(file.abs_src_path).is_relative_to(PROJECT / "docs")


def _list_of_notebooks(found: list[Path], config: Any) -> File:
    items = [f"- [{path.stem}]({path.name})\n" for path in found if path.suffix == ".ipynb"]
    index = File.generated(config, NOTEBOOKS, content="# Notebooks\n\n" + "".join(items))
    index.inclusion = InclusionLevel.NOT_IN_NAV
    return index
