"""`portico chat [MODEL]`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.arguments import ApiKey, BaseUrl, Status, refuse
from app.cli.service import asked

if TYPE_CHECKING:
    from app.commands.chat import Conversation

PROMPT = "> "


def chat(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The id of a model. Left out: the first that chats.")
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="Ask this, show the answer, and end.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(metavar="NUMBER", help="Left out: the model's own.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", help="Of an answer. Left out: no limit.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the answers only.")] = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Talk to a chat model; each answer is shown as it comes.

    What comes on standard input is asked line by line.

    After an answer: its tokens, the time to the first, tokens a second, what was changed in the request, its id. An
    empty line or Ctrl-D ends it.

    Exit codes: 1 the service refuses; 3 none answers.
    """
    options = {"temperature": temperature, "max_tokens": max_tokens}
    with asked(base_url, api_key) as client:
        from app.commands.chat import Conversation, the_chat_model

        talk = Conversation(
            client,
            the_chat_model(client, model),
            system,
            {name: value for name, value in options.items() if value is not None},
        )
        if message is not None:
            _answer(talk, message, quiet=quiet)
            return
        if not quiet:
            print(f"{talk.model} at {client.base_url}", file=sys.stderr)
        _converse(talk, quiet=quiet)


def _converse(talk: "Conversation", *, quiet: bool) -> None:
    from app.commands.service_client import Refused

    typed = sys.stdin.isatty()
    if typed:
        import readline  # noqa: F401 - it lets `input` edit and remember lines
    while True:
        try:
            text = input(PROMPT if typed else "").strip()
        except EOFError:
            return
        if not text:
            return
        try:
            _answer(talk, text, quiet=quiet)
        except Refused as error:
            if not typed:
                refuse(error, Status.NOT_RIGHT)
            print(error, file=sys.stderr)


def _answer(talk: "Conversation", text: str, *, quiet: bool) -> None:
    for piece in talk.ask(text):
        print(piece, end="", flush=True)
    print(flush=True)
    if not quiet:
        print(talk.about, file=sys.stderr)
