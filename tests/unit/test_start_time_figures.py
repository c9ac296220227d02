"""The time that a start takes: what the documentation says is what was measured."""

from benchmarks.start_time import ALL_READY, FIRST_TOKEN, PAGE, parts, read, table
from contract.project import PROJECT_FOLDER


def test_the_page_shows_what_the_csv_has() -> None:
    _, shown, _ = parts(PAGE.read_text())
    assert shown == table(read()), "run python -m benchmarks.start_time now"


def test_the_readme_says_how_long_it_takes() -> None:
    seconds = {row["phase"]: float(row["seconds"]) for row in read() if row["start"] == "now"}
    text = f"answers after {seconds[FIRST_TOKEN]:.0f} seconds, and all models after {seconds[ALL_READY]:.0f}."
    assert text in (PROJECT_FOLDER / "README.md").read_text()
