"""Imports of large libraries: no search for garbage meanwhile, and without what nobody asked for."""

import gc
import sys
from importlib.util import find_spec

import pytest

from deployments.imports import importing

UNUSED = "sndhdr"  # a module of Python's that nothing here imports


def test_garbage_is_not_looked_for_meanwhile_and_is_again_later() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_left_out_cannot_be_found_meanwhile_and_can_be_later() -> None:
    with importing(without=[UNUSED]):
        assert find_spec(UNUSED) is None
    assert find_spec(UNUSED) is not None
    assert UNUSED not in sys.modules


def test_what_is_there_already_stays() -> None:
    with importing(without=["json"]):
        assert find_spec("json") is not None
    assert "json" in sys.modules


def test_a_failed_import_leaves_nothing_changed() -> None:
    with pytest.raises(ModuleNotFoundError), importing(without=[UNUSED]):
        raise ModuleNotFoundError
    assert gc.isenabled()
    assert UNUSED not in sys.modules
