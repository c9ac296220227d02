"""What a local service writes is for its owner only, whatever the umask, and nothing of others is taken for its own."""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from app.__main__ import main
from app.budgets import snapshot
from app.budgets.account import Debt
from app.commands import serve
from app.config.limits import KeptImages
from app.gateway.image_store import SECRET_NAME, ImageStore
from contract.fields import ConfigError
from contract.private_folder import private_folder

ANSWER = orjson.dumps({"data": [{"b64_json": base64.b64encode(b"a picture").decode()}], "output_format": "png"})

PORT = 8000


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, in a process whose umask forbids nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.lstat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_every_file_and_folder_is_the_owner_s_alone(temporary: Path) -> None:
    images = ImageStore(KeptImages())
    await images.publish(ANSWER, "127.0.0.1")
    snapshot.write(f"{private_folder()}/budgets-127.0.0.1-6379.json", {"key000000000": Debt(0, 1)})
    keys = temporary / "keys"
    keys.mkdir(mode=0o700)
    main(["keys", "create", "--file", str(keys / "keys.json")])
    found = modes(temporary)
    whose = "two folders of its own, a secret, an image, a snapshot; the folder of the keys, they, their lock and log"
    assert len(found) == 9, whose
    assert {name: mode for name, mode in found.items() if mode not in (0o600, 0o700)} == {}


async def test_in_a_configured_folder_as_well(temporary: Path) -> None:
    location = temporary / "shared"
    location.mkdir(mode=0o755)
    await ImageStore(KeptImages(location=f"file://{location}")).publish(ANSWER, "127.0.0.1")
    assert list(modes(location).values()) == [0o600, 0o600]


def test_what_others_could_read_is_taken_from_them(temporary: Path) -> None:
    folder = Path(private_folder())
    (folder / "images").mkdir()
    (folder / "images" / SECRET_NAME).write_bytes(bytes(32))
    for path, mode in ((folder, 0o755), (folder / "images", 0o755), (folder / "images" / SECRET_NAME, 0o644)):
        path.chmod(mode)
    ImageStore(KeptImages())
    assert set(modes(temporary).values()) == {0o600, 0o700}


@pytest.mark.parametrize("place", ["", "images", f"images/{SECRET_NAME}"])
def test_what_others_could_write_is_refused(place: str) -> None:
    ImageStore(KeptImages())
    path = Path(private_folder()) / place
    path.chmod(0o777)
    with pytest.raises(PermissionError, match="not this user's own"):
        ImageStore(KeptImages())


@pytest.mark.parametrize("place", ["", "images", f"images/{SECRET_NAME}"])
def test_a_link_is_refused(temporary: Path, place: str) -> None:
    ImageStore(KeptImages())
    path = Path(private_folder()) / place
    path.rename(temporary / "elsewhere")
    path.symlink_to(temporary / "elsewhere")
    with pytest.raises(PermissionError, match="not this user's own"):
        ImageStore(KeptImages())


@pytest.mark.parametrize("configured", [False, True])
def test_what_somebody_else_owns_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, *, configured: bool
) -> None:
    """Who may write into the folder could have put a secret there that it knows."""
    config = KeptImages(location=str(temporary / "images")) if configured else KeptImages()
    ImageStore(config)
    somebody = os.getuid() + 1
    if not configured:
        Path(private_folder()).rename(temporary / f"portico-{somebody}")
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(PermissionError, match="not this user's own"):
        ImageStore(config)


def test_the_lock_of_a_key_file_follows_no_link(temporary: Path) -> None:
    (temporary / "keys.json.lock").symlink_to(temporary / "victim")
    assert main(["keys", "create", "--file", str(temporary / "keys.json")]) == 2
    assert not (temporary / "victim").exists()


def test_the_token_with_which_ray_runs_code_is_taken_from_others(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray writes it as the umask says, and keeps the one that is there."""
    monkeypatch.setenv("HOME", str(temporary))
    token = temporary / ".ray" / "auth_token"
    token.parent.mkdir(mode=0o755)
    token.write_text("a token")
    token.chmod(0o644)
    serve.start([sys.executable, "-c", ""], PORT).wait(timeout=20)
    assert token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o666)
    with pytest.raises(ConfigError, match="not this user's own"):
        serve.start([sys.executable, "-c", ""], PORT)


@pytest.mark.parametrize("chosen", [None, "chosen"])
def test_ray_and_all_that_it_starts_write_for_their_owner_only(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    """Ray makes its own folder writable for everybody, so that lies in one that is not."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    if chosen is not None:
        monkeypatch.setenv("RAY_TMPDIR", chosen)
    code = "import os, sys; open(sys.argv[1], 'w'); os.mkdir(sys.argv[2]); print(os.environ['RAY_TMPDIR'])"
    paths = [str(temporary / "file"), str(temporary / "folder")]
    child = serve.start([sys.executable, "-c", code, *paths], PORT, stdout=subprocess.PIPE)
    printed, _ = child.communicate(timeout=20)
    assert printed.decode().strip() == (chosen or private_folder())
    assert set(modes(temporary).values()) == {0o600, 0o700}


@pytest.mark.parametrize("joined", [None, "10.0.0.7:6379"])
def test_a_ray_of_its_own_is_on_loopback_and_one_that_is_joined_is_where_it_is(
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    joined: str | None,
) -> None:
    for name in (*serve.ON_LOOPBACK, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    if joined is not None:
        monkeypatch.setenv("RAY_ADDRESS", joined)
    code = "import os; print(os.environ.get('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'))"
    printed, _ = serve.start([sys.executable, "-c", code], PORT, stdout=subprocess.PIPE).communicate(timeout=20)
    assert printed.decode().strip() == ("0" if joined is None else "None")
