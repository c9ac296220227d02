"""`portico status`."""

from typing import TYPE_CHECKING

from app.cli.arguments import Address, AsJson, Port, Status, end, print_json
from app.cli.service import joined

if TYPE_CHECKING:
    from rich.table import Table

    from app.commands.status import DeploymentState

COLOURS = {"ready": "green", "asleep": "cyan", "failed": "red"}


def status(address: Address = None, port: Port = None, as_json: AsJson = False) -> None:
    """Show how far each model of a running service is.

    Exit codes: 0 every model is ready or asleep; 1 one is starting, updating or failed; 3 no service runs.
    """
    from rich.console import Console

    with joined(address, port) as service:
        from app.commands.status import GOOD, states

        found = states()
    place = {"base_url": service.base_url, "config": service.config, "pid": service.pid} if service else {}
    if as_json:
        print_json(place | {"models": [one.as_data() for one in found]})
    else:
        for name, fact in place.items():
            print(f"{name.replace('_', ' '):9} {fact}")
        Console().print(table(found))
    end(Status.DONE if found and all(one.state in GOOD for one in found) else Status.NOT_RIGHT)


def table(states: "list[DeploymentState]") -> "Table":
    """A line a model."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("model", "state", "replicas"):
        made.add_column(name, no_wrap=True)
    made.add_column("", overflow="fold")
    for one in states:
        replicas = f"{one.running}" + (f" + {one.starting} starting" if one.starting else "")
        made.add_row(Text(one.name), Text(one.state, COLOURS.get(one.state, "yellow")), replicas, Text(one.message))
    return made
