"""`python -m deployments.vllm.lora_check`: reads a list of adapters, and writes why each does not fit its model.

For `python -m app check`. One adapter is its folder, the folder of its model or null, and the largest rank.
"""

import sys
from functools import cache
from pathlib import Path

import orjson

from deployments.vllm.lora_files import MisfitError, Shapes, check, shapes_of


@cache
def _shapes(folder: str | None) -> Shapes:
    return {} if folder is None else shapes_of(Path(folder))


def _misfit(folder: str, base: str | None, max_rank: int) -> str:
    """Empty where it fits."""
    try:
        check(Path(folder), _shapes(base), max_rank)
    except MisfitError as error:
        return str(error)
    return ""


def main() -> None:
    asked = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(b"\n" + orjson.dumps([_misfit(*one) for one in asked]))


if __name__ == "__main__":
    main()
