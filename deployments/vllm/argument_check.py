"""`python -m deployments.vllm.argument_check`: reads a list of `engine_kwargs`, and writes what is wrong in each.

For `python -m app check`: vLLM takes seconds to import and prints as it likes, so the answer is the last line.
"""

import sys

import orjson

from deployments.vllm.internals.arguments import argument_faults


def main() -> None:
    asked = orjson.loads(sys.stdin.buffer.read())
    answer = [argument_faults(engine_kwargs) for engine_kwargs in asked]
    sys.stdout.buffer.write(b"\n" + orjson.dumps(answer))


if __name__ == "__main__":
    main()
