"""A hook of MkDocs: which files of the project are pages and pictures of the site.

The site keeps the folders of the project, so that the links of a page are right on GitHub and on the site.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "docs/images/*", "benchmarks/*.png", "notebooks/*", "LICENSE")


def on_files(files: Files, config: Any) -> Files:
    """Takes the place of what MkDocs found in docs/; its theme's files stay."""
    found = [path.relative_to(PROJECT) for pattern in PAGES for path in sorted(PROJECT.glob(pattern))]
    ours = [File(str(path), str(PROJECT), config.site_dir, config.use_directory_urls) for path in found]
    theirs = [file for file in files if not _is_in_docs(file)]
    return Files([*theirs, *ours])


def _is_in_docs(file: File) -> bool:
    return file.abs_src_path is not None and Path(file.abs_src_path).is_relative_to(PROJECT / "docs")
