"""From nothing to the first answer, as `make serve` does it on a fresh machine: python -m benchmarks.first_start

After the packages are installed: every model of local.yaml that is fetched is fetched into a new folder, checked and
converted; then the service starts on them, and is asked the question that `python -m app serve` prints. Once more for
the second start. Seconds by this process's clock; what the network gives is in them. Writes benchmarks/first_start.csv.
"""

import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from app.commands.banner import FIRST_QUESTION
from benchmarks.service import HEADERS, LOCAL_CONFIG, serving
from contract.project import PROJECT_FOLDER
from local_models.fetch import Fetcher, progress_bars
from local_models.fetched import fetch_missing
from local_models.sources import FETCHED

CSV = Path(__file__).with_suffix(".csv")
HEAD = ["step", "seconds", "megabytes"]
STARTS = ("first start", "second start")

Row = tuple[str, float, str]


def fetches(folder: Path) -> Iterator[Row]:
    with progress_bars() as progress:
        fetcher = Fetcher(folder / "downloads", folder / "offline", progress)
        for model in FETCHED.values():
            began = time.monotonic()
            fetch_missing([model], folder, fetcher)
            sizes = sum(path.stat().st_size for path in (folder / model.id).rglob("*") if path.is_file())
            yield f"fetch {model.id}", time.monotonic() - began, f"{sizes / 1e6:.0f}"


def starts(folder: Path) -> Iterator[Row]:
    models = yaml.safe_load(LOCAL_CONFIG.read_text())["applications"][0]["args"]["models"]
    entries = [{**model, "source": _place(model["source"], folder)} for model in models]
    chat = next(entry["id"] for entry in entries if entry["task"] == "chat")
    body = {"model": chat, "messages": [{"role": "user", "content": FIRST_QUESTION}], "max_tokens": 64, "stream": True}
    for name in STARTS:
        began = time.monotonic()
        with serving(*entries) as url:
            yield f"{name}: all models ready", time.monotonic() - began, ""
            began = time.monotonic()
            with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, headers=HEADERS, timeout=60) as answer:
                lines = (line for line in answer.iter_lines() if '"content":' in line)
                for number, _ in enumerate(lines):
                    if number == 1:  # the first delta has the role
                        yield f"{name}: first token of the first answer", time.monotonic() - began, ""
            yield f"{name}: the first answer", time.monotonic() - began, ""


def _place(source: str, folder: Path) -> str:
    """Where a model of local.yaml is: as fetched here, or in the repository."""
    fetched = folder / Path(source).name
    return str(fetched) if fetched.exists() else source.replace("./", f"{PROJECT_FOLDER}/")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="portico-models-") as folder, CSV.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEAD)
        for steps in (fetches, starts):
            for step, seconds, megabytes in steps(Path(folder)):
                rows.writerow([step, f"{seconds:.1f}", megabytes])
                file.flush()
                print(f"{step}: {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
