"""How many threads an engine on CPUs has: all cores that the service may have, unless somebody says another number."""

import os
import subprocess
import sys

import pytest

from app.commands import serve

PRINTED = "import os; print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('OPENBLAS_NUM_THREADS'))"


@pytest.mark.parametrize(("own", "seen"), [(None, f"{len(os.sched_getaffinity(0))} 1"), ("3", "3 1")])
def test_what_a_service_starts_has_all_cores_or_the_number_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, own: str | None, seen: str
) -> None:
    for name in (*serve.THREADS, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    printed, _ = serve.start([sys.executable, "-c", PRINTED], 8000, stdout=subprocess.PIPE).communicate(timeout=20)
    assert printed.decode().strip() == seen
