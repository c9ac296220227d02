"""`portico tune MODEL --workload FILE`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import checked, end

if TYPE_CHECKING:
    from contract.speculation import Method, Word


def _speculation(text: str) -> "Word | Method":
    from app.commands.tune.candidates import parse_speculation

    return parse_speculation(text)


def _concurrencies(text: str) -> list[int]:
    from app.commands.tune.workload import parse_concurrencies

    return parse_concurrencies(text)


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The id of a chat model of vllm in the config file.")],
    workload: Annotated[
        Path, typer.Option(metavar="FILE", help="A file with a chat body or a `prompt` a line, as JSON.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Serve config file.", show_default="serve_configs/tiny.yaml"),
    ] = None,
    concurrency: Annotated[
        Any, typer.Option(parser=checked(_concurrencies), metavar="N,N", help="Requests at once.")
    ] = "1,4,16",
    draft: Annotated[list[str] | None, typer.Option(metavar="MODEL", help="A draft model to try; repeatable.")] = None,
    candidate: Annotated[
        list[Any] | None,
        typer.Option(
            parser=checked(_speculation),
            metavar="YAML",
            help="Try this block beside `off`, instead of the usual ones, such as '{method: ngram, "
            "num_speculative_tokens: 8}'; repeatable.",
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(metavar="N", help="Of an answer whose line has none.")] = 128,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the winning block into this file too.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table and the chart into this file too.")
    ] = None,
) -> None:
    """Find a model's best speculative method, on your prompts.

    Starts the model once per candidate, sends it the prompts at each concurrency, and prints the `speculation:` block
    to use. The winner has the highest geometric mean of tokens per second over all concurrencies, and must beat `off`
    clearly.
    """
    from app.commands.tune.command import TINY_CONFIG, Tuning, tune_model

    end(
        tune_model(
            Tuning(
                model=model,
                workload=workload,
                config=config or TINY_CONFIG,
                concurrencies=concurrency,
                drafts=tuple(draft or ()),
                candidates=tuple(candidate or ()),
                max_tokens=max_tokens,
                output=output,
                svg=svg,
            )
        )
    )
