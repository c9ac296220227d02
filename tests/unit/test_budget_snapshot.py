"""What the budgets' actor writes every second, and reads when it starts."""

import time
from pathlib import Path

import pytest

from app.budgets.actor import _read, _write
from app.budgets.bank import Held


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_debts_are_written_and_read(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}{tmp_path}/made/for/it/budgets.json"
    debts = {"key000000000": Held(0, 120)}
    _write(url, {})
    _write(url, debts)
    written, found = _read(url)
    assert found == debts
    assert abs(time.time() - written) < 60
    assert len(list((tmp_path / "made" / "for" / "it").iterdir())) == 1, "a scratch file was left behind"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"time": 1}'])
def test_without_a_good_snapshot_nothing_is_known(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "budgets.json"
    if content is not None:
        path.write_bytes(content)
    assert _read(str(path)) == (0.0, {})
