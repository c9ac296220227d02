"""Models' files fetched from a package index and from the Hugging Face hub: checked, resumed, from the next source."""

import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.progress import Progress

from local_models import fetched
from local_models.download import Download, Unavailable, part_of
from local_models.fetch import Fetcher, FetchError
from local_models.package_index import PackageIndex, pip_settings
from local_models.sources import FetchedModel, InWheels, Member, ModelFile, OnHub
from tests.package_server import PackageServer, a_wheel, package_server, sha256, zipped

WEIGHTS = random.Random(7).randbytes(3_000_000)  # noqa: S311 - more than the network's buffers hold
CONFIG = b'{"layers": 2}'
REPOSITORY, REVISION = "some/model", "0123456789abcdef0123456789abcdef01234567"
ON_HUB = f"/{REPOSITORY}/resolve/{REVISION}/weights.bin"


class World(NamedTuple):
    server: PackageServer
    folder: Path
    said: io.StringIO

    @property
    def downloads(self) -> Path:
        return self.folder / "downloads"

    def fetcher(self, **settings: str) -> Fetcher:
        progress = Progress(console=Console(file=self.said, width=400))
        offline = self.folder / "offline"
        return Fetcher(self.downloads, offline, progress, lambda: {**self.server.settings, **settings})

    def fetch(self, model: FetchedModel, **settings: str) -> Path:
        """Fetch the model into its folder, as `make serve` does."""
        target = self.folder / model.id
        fetched.fetch_model(model, target, self.fetcher(**settings))
        return target


def hub_is_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT, which is read once."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with package_server() as server:
        (tmp_path / "downloads").mkdir()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        hub_is_at(server.url, monkeypatch)
        monkeypatch.setattr("local_models.download.PAUSE_SECONDS", 0.01)
        yield World(server, tmp_path, io.StringIO())


MAIN, MAIN_BYTES = a_wheel("a-model", {"a_model/weights.bin": WEIGHTS, "a_model/config.json": CONFIG})
SECOND, SECOND_BYTES = a_wheel(
    "other-model", {"inner.zip": zipped({"weights.bin": WEIGHTS, "config.json": CONFIG}), "other/__init__.py": b""}
)
PARTS = tuple(
    a_wheel(f"half-{number}", {f"data/weights.{number}": half})
    for number, half in enumerate((WEIGHTS[:1_000_000], WEIGHTS[1_000_000:]))
)
FROM_MAIN = InWheels((Member(MAIN, "a_model/weights.bin"),))
FROM_SECOND = InWheels((Member(SECOND, "weights.bin", archive="inner.zip"),))
FROM_PARTS = InWheels(tuple(Member(wheel, f"data/weights.{number}") for number, (wheel, _) in enumerate(PARTS)))
FROM_HUB = OnHub(REPOSITORY, REVISION, "weights.bin")


def a_model(*sources: InWheels | OnHub, weights: bytes = WEIGHTS) -> FetchedModel:
    return FetchedModel("a-model", "MIT", (ModelFile("weights.bin", len(weights), sha256(weights), sources),))


def test_a_model_is_unzipped_from_its_wheel_and_nothing_else_of_it_is(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES)
    files = (
        ModelFile("weights.bin", len(WEIGHTS), sha256(WEIGHTS), (FROM_MAIN,)),
        ModelFile("sub/config.json", len(CONFIG), sha256(CONFIG), (InWheels((Member(MAIN, "a_model/config.json"),)),)),
    )
    folder = world.fetch(FetchedModel("a-model", "MIT", files))
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop(fetched.STAMP)
    assert found == {"weights.bin": WEIGHTS, "sub/config.json": CONFIG}
    assert world.server.asked_for(MAIN.filename) == [0], "one download for two files"
    assert list(world.downloads.iterdir()) == [], "the wheel is removed, and what was unfinished"


def test_a_file_in_parts_is_joined_from_several_wheels(world: World) -> None:
    for wheel, content in PARTS:
        world.server.add_wheel(wheel, content)
    assert (world.fetch(a_model(FROM_PARTS)) / "weights.bin").read_bytes() == WEIGHTS


def test_a_file_in_an_archive_within_a_wheel_is_found(world: World) -> None:
    world.server.add_wheel(SECOND, SECOND_BYTES)
    assert (world.fetch(a_model(FROM_SECOND)) / "weights.bin").read_bytes() == WEIGHTS


def test_a_file_comes_from_the_hub_at_its_revision(world: World) -> None:
    world.server.files[ON_HUB] = WEIGHTS
    assert (world.fetch(a_model(FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked_for("weights.bin") == [0]


def test_a_model_that_is_there_is_not_fetched_again(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES)
    model = a_model(FROM_MAIN)
    folder = world.fetch(model)
    assert fetched.is_current(model, folder)
    assert fetched.is_current(a_model(FROM_MAIN, FROM_HUB), folder), "another source of the same file"
    assert not fetched.is_current(a_model(FROM_MAIN, weights=CONFIG), folder), "another file"
    with (folder / "weights.bin").open("ab") as file:
        file.write(b"\n")
    assert not fetched.is_current(model, folder), "a file of another size"
    (folder / "weights.bin").unlink()
    assert not fetched.is_current(model, folder)
    world.fetch(model)
    assert fetched.is_current(model, folder)


def test_a_download_that_was_killed_goes_on_where_it_stopped(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES)
    world.server.stops_after = 2_000_000
    target = world.downloads / MAIN.filename
    script = (
        "import httpx2, sys, pathlib; from local_models.download import Download\n"
        "url, size, sha256, target = sys.argv[1:]\n"
        "Download(httpx2.Client(), url, int(size), sha256, lambda _: None).into(pathlib.Path(target))"
    )
    url = f"{world.server.url}/files/{MAIN.filename}"
    command = [sys.executable, "-c", script, url, str(MAIN.size), MAIN.sha256, str(target)]
    with subprocess.Popen(command) as child:
        assert world.server.stopped.wait(60)
        deadline = time.monotonic() + 60
        while not (part_of(target).exists() and part_of(target).stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    there = part_of(target).stat().st_size
    assert 0 < there < MAIN.size
    world.server.stops_after = None
    world.server.asked.clear()
    assert (world.fetch(a_model(FROM_MAIN)) / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked_for(MAIN.filename) == [there], "only the rest is asked for"


def test_a_connection_that_breaks_is_made_again_for_the_rest(world: World) -> None:
    world.server.files[ON_HUB] = WEIGHTS
    world.server.breaks_after = 1_000_000
    assert (world.fetch(a_model(FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked_for("weights.bin") == [0, 1_000_000]


def test_a_download_goes_on_as_long_as_each_connection_brings_more(world: World) -> None:
    world.server.files[ON_HUB] = WEIGHTS
    world.server.breaks_each_after = len(WEIGHTS) // 8
    assert (world.fetch(a_model(FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS
    assert len(world.server.asked_for("weights.bin")) >= 8


def test_a_server_without_ranges_is_asked_for_the_whole_file(world: World) -> None:
    world.server.files[ON_HUB] = WEIGHTS
    world.server.knows_ranges = False
    part = world.downloads / "a-model" / "weights.bin.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS[:500_000])
    assert (world.fetch(a_model(FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("length", [100_000, len(WEIGHTS), len(WEIGHTS) + 1])
def test_a_part_of_another_file_is_thrown_away(world: World, length: int) -> None:
    world.server.files[ON_HUB] = WEIGHTS
    part = world.downloads / "a-model" / "weights.bin.part"
    part.parent.mkdir()
    part.write_bytes(bytes(length))
    assert (world.fetch(a_model(FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS


def test_a_wheel_with_the_wrong_hash_is_removed_and_named(world: World) -> None:
    wrong = MAIN_BYTES[:-1] + b"!"
    world.server.add_wheel(MAIN, wrong, stated=MAIN.sha256)
    with pytest.raises(FetchError) as raised:
        world.fetch(a_model(FROM_MAIN))
    message = str(raised.value)
    assert f"{world.server.url}/simple" in message
    assert sha256(wrong) in message
    assert f"expected {MAIN.sha256}" in message
    assert not (world.folder / "a-model").exists()
    assert list(world.downloads.iterdir()) == [], "nothing wrong is kept"


def test_a_mirror_with_a_wrong_wheel_is_named_before_the_next_place_is_asked(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES[:-1] + b"!", stated=MAIN.sha256)
    with package_server() as other:
        other.add_wheel(MAIN, MAIN_BYTES)
        folder = world.fetch(a_model(FROM_MAIN), **{"extra-index-url": f"{other.url}/simple"})
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert f"{world.server.url}/simple: what came has the wrong SHA-256" in world.said.getvalue()


def test_a_wheel_that_the_index_lists_with_another_hash_is_not_downloaded(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES, stated="0" * 64)
    with pytest.raises(FetchError, match=f"another file of that name.*expected sha256 {MAIN.sha256}"):
        world.fetch(a_model(FROM_MAIN))
    assert world.server.asked_for(MAIN.filename) == []


def test_weights_with_the_wrong_hash_in_a_right_wheel_are_refused(world: World) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES)
    with pytest.raises(FetchError) as raised:
        world.fetch(a_model(FROM_MAIN, weights=WEIGHTS[::-1]))
    assert sha256(WEIGHTS) in str(raised.value)
    assert f"expected {sha256(WEIGHTS[::-1])}" in str(raised.value)
    assert not (world.folder / "a-model").exists()


def test_a_server_that_sends_more_than_the_file_has_is_cut_off(world: World) -> None:
    world.server.files[ON_HUB] = WEIGHTS + bytes(10_000_000)
    with pytest.raises(FetchError, match="more than the 3000000 bytes"):
        world.fetch(a_model(FROM_HUB))
    assert not part_of(world.downloads / "a-model" / "weights.bin").exists()


def test_the_next_source_is_asked_and_a_line_says_so(world: World) -> None:
    world.server.add_wheel(SECOND, SECOND_BYTES)
    assert (world.fetch(a_model(FROM_MAIN, FROM_SECOND, FROM_HUB)) / "weights.bin").read_bytes() == WEIGHTS
    said = world.said.getvalue()
    assert "a-model: not from package a-model 1.0.0: " in said
    assert "404" in said
    assert "Next: package other-model 1.0.0." in said
    assert world.server.asked_for("weights.bin") == [], "the hub was not needed"


def test_where_every_source_is_gone_the_error_says_what_to_do(world: World) -> None:
    with pytest.raises(FetchError) as raised:
        world.fetch(a_model(FROM_MAIN, FROM_SECOND, FROM_HUB))
    message = str(raised.value)
    for told in (
        f"{world.server.url}/simple",
        "some/model on the Hugging Face hub: HTTP 404",
        "pip config list",
        f"{world.folder / 'offline' / MAIN.filename}  sha256 {MAIN.sha256}",
        f"{world.folder / 'offline' / 'a-model' / 'weights.bin'}  sha256 {sha256(WEIGHTS)}",
        "make serve MODELS=tiny",
    ):
        assert told in message
    assert not (world.folder / "a-model").exists()
    assert list(world.downloads.glob(f"{fetched.UNFINISHED}*")) == []


def test_hosts_that_cannot_be_reached_are_named_with_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_is_at("http://127.0.0.1:1", monkeypatch)
    with pytest.raises(FetchError) as raised:
        world.fetch(a_model(FROM_MAIN, FROM_HUB), **{"index-url": "http://127.0.0.1:1/simple"})
    assert "http://127.0.0.1:1/simple: [Errno 111] Connection refused" in str(raised.value)
    assert "some/model on the Hugging Face hub: [Errno 111] Connection refused" in str(raised.value)


def test_the_hub_is_not_asked_where_the_environment_forbids_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE is set"):
        world.fetch(a_model(FROM_HUB))
    assert world.server.asked == []


@pytest.mark.parametrize("name", [MAIN.filename, "a-model/weights.bin"], ids=["wheel", "weights"])
def test_a_file_that_was_put_there_by_hand_needs_no_network_and_stays(world: World, name: str) -> None:
    by_hand = world.folder / "offline" / name
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(MAIN_BYTES if name == MAIN.filename else WEIGHTS)
    assert (world.fetch(a_model(FROM_MAIN)) / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked == []
    assert by_hand.exists()


@pytest.mark.parametrize("name", [MAIN.filename, "a-model/weights.bin"], ids=["wheel", "weights"])
def test_a_wrong_file_that_was_put_there_by_hand_is_named_and_not_used(world: World, name: str) -> None:
    by_hand = world.folder / "offline" / name
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"something else")
    world.server.add_wheel(MAIN, MAIN_BYTES)
    assert (world.fetch(a_model(FROM_MAIN)) / "weights.bin").read_bytes() == WEIGHTS
    assert f"{by_hand} has the wrong SHA-256" in world.said.getvalue()


def test_a_folder_of_wheels_that_pip_knows_will_do(world: World) -> None:
    wheels = world.folder / "wheels"
    wheels.mkdir()
    (wheels / MAIN.filename).write_bytes(MAIN_BYTES)
    settings = {"find-links": str(wheels), "no-index": "true"}
    assert (world.fetch(a_model(FROM_MAIN), **settings) / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked == []
    assert (wheels / MAIN.filename).exists()


def test_pips_own_configuration_says_where_packages_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = world.folder / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://user:password@mirror.example.com/simple\ntimeout = 7\n"
        "[download]\nextra-index-url =\n  https://one.example.com/simple\n  https://two.example.com/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels")
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    settings = pip_settings()
    assert settings["timeout"] == "9", "the environment goes before the file"
    assert [str(place) for place in PackageIndex(settings).places] == [
        "/some/wheels",
        "https://***@mirror.example.com/simple",  # no password is ever printed
        "https://one.example.com/simple",
        "https://two.example.com/simple",
    ]


def test_without_configuration_pip_means_pypi() -> None:
    assert [str(place) for place in PackageIndex({}).places] == ["https://pypi.org/simple"]


def test_a_full_disk_is_found_before_anything_is_downloaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.server.add_wheel(MAIN, MAIN_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9_000_000, 4_000_000, 5_000_000))
    with pytest.raises(FetchError, match=r"a-model needs 6 MB of disk while it is fetched, and .* has 5 MB left"):
        world.fetch(a_model(FROM_MAIN))
    assert world.server.asked == []


def test_what_a_model_is_converted_from_is_kept_for_another_conversion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reverse(folder: Path, source: Path) -> None:
        (folder / "made.bin").write_bytes(source.read_bytes()[::-1])

    world.server.add_wheel(MAIN, MAIN_BYTES)
    monkeypatch.setitem(fetched.CONVERSIONS, "a-model", fetched.Conversion(reverse, ("smollm2.py",)))
    model = a_model(FROM_MAIN)
    folder = world.fetch(model)
    assert (folder / "made.bin").read_bytes() == WEIGHTS[::-1]
    monkeypatch.setitem(fetched.CONVERSIONS, "a-model", fetched.Conversion(reverse, ("gguf.py",)))
    assert not fetched.is_current(model, folder), "the code that converts it is another"
    world.server.asked.clear()
    world.fetch(model)
    assert fetched.is_current(model, folder)
    assert world.server.asked == []


def test_a_conversion_that_fails_leaves_the_model_that_was_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, source: Path) -> None:
        (folder / "half.bin").write_bytes(source.read_bytes()[:10])
        raise ValueError("it is not what it should be")

    world.server.add_wheel(MAIN, MAIN_BYTES)
    folder = world.fetch(a_model(FROM_MAIN))
    monkeypatch.setitem(fetched.CONVERSIONS, "a-model", fetched.Conversion(fail, ("smollm2.py",)))
    with pytest.raises(ValueError, match="not what it should be"):
        world.fetch(a_model(FROM_MAIN))
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == [fetched.STAMP, "weights.bin"]
    assert list(world.downloads.glob(f"{fetched.UNFINISHED}*")) == []


def test_two_downloads_at_once_are_one_after_the_other(world: World) -> None:
    """Two runs of `python -m local_models`: the second waits, and finds the model there."""
    world.server.add_wheel(MAIN, MAIN_BYTES)
    world.server.stops_after = 1_000_000
    model = a_model(FROM_MAIN)
    runs = [threading.Thread(target=fetched.fetch_missing, args=([model], world.folder, world.fetcher())) for _ in "ab"]
    runs[0].start()
    assert world.server.stopped.wait(60)
    runs[1].start()
    world.server.stops_after = None
    world.server.go_on.set()
    for run in runs:
        run.join(60)
    assert (world.folder / "a-model" / "weights.bin").read_bytes() == WEIGHTS
    assert world.server.asked_for(MAIN.filename).count(0) == 1, "the second run downloads nothing"


def test_a_download_error_is_one_line(world: World) -> None:
    import httpx2

    download = Download(httpx2.Client(), f"{world.server.url}/gone", 10, "0" * 64, lambda _: None)
    with pytest.raises(Unavailable, match=r"^HTTP 404 Not Found$"):
        download.into(world.folder / "gone")
