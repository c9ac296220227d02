"""`portico models`."""

from app.cli.arguments import ApiKey, AsJson, BaseUrl, print_json
from app.cli.service import asked


def models(base_url: BaseUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the models that a key may use, and what each can do.

    Exit codes: 1 the service refuses; 3 none answers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with asked(base_url, api_key) as client:
        from app.commands.models import models_of

        found = models_of(client)
    if as_json:
        print_json([one.as_data() for one in found])
        return
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("model", "engine", "can do", "context"):
        made.add_column(name, overflow="fold")
    for one in found:
        context = one.limits.get("context_length")
        made.add_row(
            Text(one.id),
            Text(one.engine),
            Text(", ".join(one.capabilities)),
            "-" if context is None else f"{context:,}",
        )
    Console().print(made)
