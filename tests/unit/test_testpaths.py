"""`make test` runs every folder of tests: pytest looks only where it is told to."""

import tomllib

from contract.project import PROJECT_FOLDER


def test_every_folder_of_tests_is_run() -> None:
    options = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    folders = {str(path.parent.relative_to(PROJECT_FOLDER)) for path in (PROJECT_FOLDER / "tests").rglob("test_*.py")}
    assert folders == set(options["testpaths"])
