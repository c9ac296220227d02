"""The pages' examples of `portico check`, which asks vLLM about its arguments."""

from pathlib import Path

import pytest

from tests.pages import CHECKS, run_in_a_shell, the_block


@pytest.mark.parametrize(("page", "word"), sorted(CHECKS))
def test_a_file_is_right_and_fits_the_gpus_that_the_page_names(page: str, word: str, tmp_path: Path) -> None:
    code = the_block(page, word).code
    printed = run_in_a_shell(code, tmp_path)
    assert printed.count(" is right: ") == printed.count("  fits: ") == len(code.splitlines())
