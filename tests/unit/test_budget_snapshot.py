"""What the budgets' actor writes every second, and reads when it starts."""

import time
from pathlib import Path

import pytest

from app.budgets.account import Debt
from app.budgets.shards import ONLY
from app.budgets.snapshot import read, read_in_time, write
from contract.private_folder import private_folder
from tests.unit.budget_world import SECOND


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_debts_are_written_and_read(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}{tmp_path}/made/for/it/budgets.json"
    write(url, {})
    write(url, {"key000000000": Debt(0, 120 * SECOND), "key000000001": Debt(1, 0)})
    found = read(url, ONLY)
    assert found is not None
    assert 60 * SECOND < found["key000000000"].tokens < 120 * SECOND, "some of it was paid meanwhile"
    assert found["key000000001"] == (0, 0)
    assert len(list((tmp_path / "made" / "for" / "it").iterdir())) == 1, "a scratch file was left behind"


def test_where_there_is_no_snapshot_there_was_no_store(tmp_path: Path) -> None:
    assert read(f"{tmp_path}/budgets.json", ONLY) is None
    assert read(f"{tmp_path}/no/folder/budgets.json", ONLY) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"debts": {}}'])
def test_without_a_good_snapshot_nothing_is_known_of_the_store_before(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "budgets.json"
    path.write_bytes(content)
    assert read(str(path), ONLY) == {}


def test_one_that_cannot_be_read_in_time_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.budgets.snapshot.TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr("app.budgets.snapshot.read", lambda *_: time.sleep(0.2))
    assert read_in_time("budgets.json", ONLY) == {}


def test_the_default_folder_is_this_user_s_alone(tmp_path: Path) -> None:
    folder = Path(private_folder(str(tmp_path)))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(str(tmp_path)) == str(folder)


def test_a_folder_that_somebody_else_may_write_in_is_refused(tmp_path: Path) -> None:
    folder = Path(private_folder(str(tmp_path)))
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match=r"configure another place"):
        private_folder(str(tmp_path))
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        private_folder(str(tmp_path))
